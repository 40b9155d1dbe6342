import { type Schema, Validator } from '@cfworker/json-schema';
import { describe, expect, it } from 'vitest';
import { createMinimalInstance } from '../../../local/bedrock/schema-instance.ts';
import { toGrammarSchema } from '../../../shared/inference/providers/bedrock/schemas.ts';

const text = 'Text that is longer than most limits allow.';

/** Schemas as callers write them, with limits that Bedrock's grammar doesn't enforce. */
const PROPERTIES: Readonly<Record<string, Schema>> = {
  'a text of a length': { type: 'string', minLength: 60, maxLength: 70 },
  'a short text': { type: 'string', maxLength: 3 },
  'a text with a pattern': { type: 'string', pattern: '^[A-Z]{2,3}-\\d{4}$' },
  'a pattern with a length': { type: 'string', pattern: '^[a-z]+$', minLength: 2, maxLength: 4 },
  'a pattern with quotes and commas': { type: 'string', pattern: '^"[^",]+", \\(x\\)$' },
  'a date': { type: 'string', format: 'date' },
  'an address': { type: 'string', format: 'ipv4' },
  'an integer of a range': { type: 'integer', minimum: 5, maximum: 9 },
  'an integer above another': { type: 'integer', exclusiveMinimum: 10 },
  'a number below another': { type: 'number', exclusiveMaximum: 0 },
  'a fraction': { type: 'number', exclusiveMinimum: 0, maximum: 1 },
  'a negative number': { type: 'integer', maximum: -3 },
  'a multiple': { type: 'integer', minimum: 7, multipleOf: 5 },
  'several items': { type: 'array', items: { type: 'string' }, minItems: 3 },
  'different texts': { type: 'array', items: { type: 'string' }, minItems: 3, uniqueItems: true },
  'different values of an enum': { type: 'array', items: { enum: ['a', 'b', 'c'] }, minItems: 3, uniqueItems: true },
  'a description with a bracket': { type: 'integer', description: 'How many (of all)', minimum: 4 },
};

describe('createMinimalInstance', () => {
  for (const [name, property] of Object.entries(PROPERTIES)) {
    const schema: Schema & Record<string, unknown> = {
      type: 'object',
      properties: { value: property },
      required: ['value'],
      additionalProperties: false,
    };
    const isValid = (instance: unknown): boolean => new Validator(schema).validate(instance).valid;

    it(`the instance of a schema with ${name} is valid`, () => {
      expect(isValid(createMinimalInstance(schema, { text }))).toBe(true);
    });

    it(`the instance of a schema with ${name} is valid when a description has the limits`, () => {
      const sent = toGrammarSchema(schema, { strict: true, closes: false });
      expect(isValid(createMinimalInstance(sent, { text }))).toBe(true);
    });
  }

  it('a preferred text that matches the pattern is kept', () => {
    expect(createMinimalInstance({ type: 'string', pattern: '^Text' }, { text })).toBe(text);
  });

  it('a pattern that is no regular expression is not followed', () => {
    expect(createMinimalInstance({ type: 'string', pattern: '(' }, { text })).toBe(text);
  });
});
