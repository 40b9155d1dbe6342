import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseQueuedRequest } from '../../../shared/api/queued-request.ts';
import { LambentError } from '../../../shared/core/errors.ts';
import { parseChatRequest } from '../../../shared/openai/chat/request.ts';
import { encodeErrorBody } from '../../../shared/openai/errors.ts';
import { parseResponsesRequest } from '../../../shared/openai/responses/request.ts';
import { httpStatusFor } from '../../../shared/wire/error-responses.ts';
import { checkSchemas } from '../../../shared/wire/json-schema.ts';
import { createTestRegistry, TENANT } from '../api/service.ts';

type Schema = Record<string, unknown>;

/** Returns the message of the error; undefined if the schema is accepted. */
function refuse(schema: Schema, strict: boolean): string | undefined {
  try {
    checkSchemas([{ schema, strict, subject: 'S', param: 'p', code: 'invalid_json_schema' }]);
    return undefined;
  } catch (error) {
    if (!(error instanceof LambentError)) throw error;
    expect(error).toMatchObject({ code: 'invalid_json_schema', param: 'p' });
    return error.message;
  }
}

const object = (properties: Schema): Schema => ({ type: 'object', properties });
/** Returns a schema whose innermost member is `levels` below the root. */
function nest(levels: number, wrap: (inner: Schema) => Schema = (inner) => object({ a: inner })): Schema {
  let schema: Schema = { type: 'string' };
  for (let level = 0; level < levels; level += 1) schema = wrap(schema);
  return schema;
}
const name = (index: number, length = 1) => String(index).padStart(length, '0');
const members = (count: number, length?: number) =>
  object(Object.fromEntries(Array.from({ length: count }, (_, index) => [name(index, length), { type: 'null' }])));
const values = (count: number, length?: number) => Array.from({ length: count }, (_, index) => name(index, length));

describe('a strict schema', () => {
  it.each<[string, (inner: Schema) => Schema]>([
    ['members', (inner: Schema) => object({ a: inner })],
    ['items', (inner: Schema) => ({ type: 'array', items: inner })],
    ['patterns of members', (inner: Schema) => ({ patternProperties: { '^a': inner } })],
    ...['prefixItems', 'additionalItems', 'additionalProperties', 'contains', 'unevaluatedItems'].map(
      (keyword): [string, (inner: Schema) => Schema] => [keyword, (inner) => ({ [keyword]: inner })],
    ),
    ['members of a definition', (inner: Schema) => ({ $defs: { d: inner }, ...object({ a: inner }) })],
  ])('a strict schema may have 10 levels of %s', (_case, wrap) => {
    expect(refuse(nest(10, wrap), true)).toBeUndefined();
    expect(refuse(nest(11, wrap), true)).toBe('Invalid schema for S: 11 levels of nesting exceeds limit of 10.');
  });

  it('alternatives, definitions and references of a strict schema are not levels', () => {
    const alternatives = nest(20, (inner) => ({ anyOf: [inner, { type: 'null' }] }));
    expect(refuse(object({ a: alternatives }), true)).toBeUndefined();
    const $defs = Object.fromEntries(values(20).map((each) => [each, object({ next: { $ref: `#/$defs/${each}` } })]));
    expect(refuse({ ...object({ a: { $ref: '#' } }), $defs }, true)).toBeUndefined();
  });

  it.each(['anyOf', 'oneOf', 'allOf', 'not', 'if', 'then', 'else'])(
    'the levels of a strict schema count in %s too',
    (keyword) => {
      expect(refuse(object({ a: { [keyword]: nest(9) } }), true)).toBeUndefined();
      expect(refuse(object({ a: { [keyword]: [nest(10)] } }), true)).toMatch(/11 levels of nesting/);
    },
  );

  it('the levels of a strict schema count in dependent schemas too', () => {
    expect(refuse({ dependentSchemas: { a: nest(10) } }, true)).toBeUndefined();
    expect(refuse({ dependentSchemas: { a: nest(11) } }, true)).toMatch(/11 levels of nesting/);
  });

  it.each(['$defs', 'definitions'])('the levels of a schema in %s are counted from there', (keyword) => {
    const inner = (levels: number) => nest(5, (each) => object({ a: each, b: { [keyword]: { d: nest(levels) } } }));
    expect(refuse(inner(10), true)).toBeUndefined();
    expect(refuse(inner(11), true)).toMatch(/11 levels of nesting/);
  });

  it('a strict schema may have 5,000 object properties in total', () => {
    const inner = members(2_499);
    expect(refuse(object({ a: inner, b: inner }), true)).toBeUndefined();
    expect(refuse(object({ a: inner, b: inner, c: {} }), true)).toBe(
      "Invalid schema for S: Expected at most 5000 object properties in total within a single schema when using structured outputs, but received 5001. Consider reducing the number of object properties, or use 'strict: false' to opt out of structured outputs.",
    );
  });

  it('a strict schema may have 1,000 enum values in total', () => {
    const inner = { enum: values(200) };
    expect(refuse(object({ a: inner, b: inner, c: inner, d: inner, e: inner }), true)).toBeUndefined();
    expect(refuse(object({ a: inner, b: inner, c: inner, d: inner, e: inner, f: { enum: [1] } }), true)).toMatch(
      /Expected at most 1000 enum values .* received 1001/,
    );
  });

  it('an enum of more than 250 values may have 15,000 characters', () => {
    expect(refuse(object({ a: { enum: values(300, 50) } }), true)).toBeUndefined();
    expect(refuse(object({ a: { enum: values(300, 51) } }), true)).toMatch(
      /at most 15000 characters .* received 15300/,
    );
    expect(refuse(object({ a: { enum: values(250, 400) } }), true)).toBeUndefined();
  });

  it('names, enum values and const values of a strict schema may have 120,000 characters', () => {
    const text = 'x'.repeat(39_998);
    const parts = (rest: string) => ({
      ...object({ [text]: { const: text }, a: { enum: [`${text}`] }, b: {} }),
      $defs: { abc: {}, [rest]: {} },
    });
    expect(refuse(parts('d'), true)).toBeUndefined();
    expect(refuse(parts('dd'), true)).toMatch(/at most 120000 characters .* received 120001/);
  });

  it('a schema that is not strict is not limited by these', () => {
    for (const schema of [
      nest(30),
      members(5_001),
      object({ a: { enum: values(1_001) } }),
      { const: 'x'.repeat(130_000) },
    ]) {
      expect(refuse(schema, false)).toBeUndefined();
    }
  });
});

describe('any schema', () => {
  it('a schema may have 64 levels of JSON', () => {
    const wrap = (inner: Schema) => ({ not: inner });
    expect(refuse(nest(62, wrap), false)).toBeUndefined();
    for (const levels of [64, 10_000, 1_000_000]) {
      for (const strict of [true, false])
        expect(refuse(nest(levels, wrap), strict)).toMatch(/At most 64 levels of JSON/);
    }
    let list: unknown = [];
    for (let level = 0; level < 100_000; level += 1) list = [list];
    expect(refuse({ default: list }, true)).toMatch(/At most 64 levels/);
  });

  it('a schema may have 256 Ki characters, and those of a request 1 Mi together', () => {
    // Beside the text: two braces, the name with its quotes, colon and comma, and the quotes of the text.
    const around = 2 + 'description'.length + 4 + 2;
    expect(refuse({ description: 'x'.repeat(262_144 - around) }, false)).toBeUndefined();
    expect(refuse({ description: 'x'.repeat(262_145 - around) }, false)).toMatch(/At most 262144 characters/);
    for (const schema of [
      { description: 'x'.repeat(262_144) },
      { ['x'.repeat(262_144)]: 1 },
      { enum: Array.from({ length: 262_144 }, () => 1) },
      Object.fromEntries(values(100_000).map((each) => [each, 1])),
    ]) {
      expect(refuse(schema, true)).toMatch(/At most 262144 characters/);
    }
    const each = {
      schema: { a: 'x'.repeat(200_000) },
      strict: false,
      subject: 'S',
      code: 'invalid_json_schema',
    } as const;
    const schemas = Array.from({ length: 6 }, (_, index) => ({ ...each, param: `p${index}` }));
    expect(() => checkSchemas(schemas.slice(1))).not.toThrow();
    expect(() => checkSchemas(schemas)).toThrow(
      expect.objectContaining({ param: 'p5', message: expect.stringMatching(/1048576/) }),
    );
  });

  it('any JSON object is accepted or refused with status 400', () => {
    const keyword = fc.constantFrom(
      'properties',
      'items',
      'anyOf',
      '$defs',
      'enum',
      'const',
      '$ref',
      'not',
      '__proto__',
    );
    const { schema } = fc.letrec((tie) => ({
      schema: fc.oneof(
        { depthSize: 'large', withCrossShrink: true },
        fc.jsonValue(),
        fc.array(tie('schema'), { maxLength: 4 }),
        fc.dictionary(fc.oneof(keyword, fc.string()), tie('schema'), { maxKeys: 4 }),
      ),
    }));
    fc.assert(
      fc.property(fc.dictionary(keyword, schema), fc.boolean(), (each, strict) => {
        const message = refuse(each, strict);
        if (message !== undefined) expect(message).toMatch(/^Invalid schema for S: /);
      }),
    );
  });
});

describe('the schemas of a request', () => {
  const context = { registry: createTestRegistry(), tenant: TENANT };
  const messages = [{ role: 'user', content: 'Hi' }];
  const deep = nest(11);
  const deeper = nest(40);
  const chatFormat = (schema: Schema, strict?: boolean) => ({
    messages,
    response_format: { type: 'json_schema', json_schema: { name: 'answer', schema, strict } },
  });
  const chatTools = (parameters: Schema, strict?: boolean) => ({
    messages,
    tools: [
      { type: 'function', function: { name: 'good', parameters: {} } },
      { type: 'function', function: { name: 'search', parameters, strict } },
    ],
  });
  const responsesFormat = (schema: Schema, strict?: boolean) => ({
    input: 'Hi',
    text: { format: { type: 'json_schema', name: 'answer', schema, strict } },
  });
  const responsesTools = (parameters: Schema, strict?: boolean) => ({
    input: 'Hi',
    tools: [
      { type: 'function', name: 'good' },
      { type: 'function', name: 'search', parameters, strict },
    ],
  });
  const FORMAT = { subject: "response_format 'answer'", code: 'invalid_json_schema' };
  const TOOL = { subject: "function 'search'", code: 'invalid_function_parameters' };

  it.each([
    ['/v1/chat/completions', chatFormat, { ...FORMAT, param: 'response_format' }],
    ['/v1/chat/completions', chatTools, { ...TOOL, param: 'tools[1].function.parameters' }],
    ['/v1/responses', responsesFormat, { ...FORMAT, param: 'text.format.schema' }],
    ['/v1/responses', responsesTools, { ...TOOL, param: 'tools[1].parameters' }],
  ] as const)(
    '%s refuses a schema at %o with OpenAI’s error, from a queue too',
    (endpoint, create, { subject, code, param }) => {
      const parse = endpoint === '/v1/responses' ? parseResponsesRequest : parseChatRequest;
      for (const run of [
        (body: object) => parse({ model: 'default', ...body }, context),
        (body: object) => parseQueuedRequest(endpoint, { model: 'default', ...body }, context),
      ]) {
        run(create(deep));
        run(create(nest(10), true));
        for (const [body, text] of [
          [create(deep, true), '11 levels of nesting exceeds limit of 10.'],
          [create(deeper), 'At most 64 levels of JSON are accepted.'],
        ] as const) {
          let thrown: unknown;
          try {
            run(body);
          } catch (error) {
            thrown = error;
          }
          if (!(thrown instanceof LambentError)) throw new Error('No LambentError was thrown');
          expect(httpStatusFor(thrown)).toBe(400);
          const message = `Invalid schema for ${subject}: ${text}`;
          expect(encodeErrorBody(thrown)).toEqual({ error: { message, type: 'invalid_request_error', param, code } });
        }
      }
    },
  );
});
