import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LambentError } from '../../../shared/core/errors.ts';
import type { GenerationRequest } from '../../../shared/inference/generation.ts';
import { parseChatRequest } from '../../../shared/openai/chat/request.ts';
import { chatParameters } from '../../../shared/openai/chat/schema.ts';
import { encodeErrorBody } from '../../../shared/openai/errors.ts';
import { parseResponsesRequest } from '../../../shared/openai/responses/request.ts';
import { responsesParameters } from '../../../shared/openai/responses/schema.ts';
import { httpStatusFor } from '../../../shared/wire/error-responses.ts';
import { createTestRegistry, TENANT } from '../api/service.ts';

const context = { registry: createTestRegistry({}, { imageHosts: ['*.example.com'] }), tenant: TENANT };
const parsers = {
  chat: { parse: (body: unknown) => parseChatRequest(body, context).generation, fields: Object.keys(chatParameters) },
  responses: {
    parse: (body: unknown) => parseResponsesRequest(body, context).generation,
    fields: Object.keys(responsesParameters),
  },
};

/** Strings that occur in the schemas, and keys such as __proto__. */
const words = fc.constantFrom(
  'role',
  'type',
  'content',
  'user',
  'system',
  'assistant',
  'tool',
  'text',
  'function',
  'name',
  'id',
  'call_id',
  'arguments',
  'tool_calls',
  'tool_call_id',
  'image_url',
  'url',
  'input_text',
  'input_image',
  'output_text',
  'refusal',
  'message',
  'function_call',
  'function_call_output',
  'reasoning',
  'summary',
  'output',
  'format',
  'json_schema',
  'schema',
  'strict',
  'auto',
  'required',
  'allowed_tools',
  'tools',
  'data:image/png;base64,AAAA',
  'https://a.example.com/x',
  '__proto__',
  'constructor',
  'toString',
);
const { json } = fc.letrec((tie) => ({
  json: fc.oneof(
    { depthSize: 'medium', withCrossShrink: true },
    fc.oneof(
      words,
      fc.string({ unit: 'binary' }),
      fc.double(),
      fc.integer(),
      fc.boolean(),
      fc.constant(null),
      fc.constant(Number.POSITIVE_INFINITY),
    ),
    fc.array(tie('json'), { maxLength: 4 }),
    fc.array(fc.tuple(fc.oneof({ weight: 4, arbitrary: words }, fc.string()), tie('json')), { maxLength: 5 }).map(
      // Like JSON.parse, this creates an own property for `__proto__`.
      (entries) => Object.fromEntries(entries),
    ),
  ),
}));

function check(parse: (body: unknown) => GenerationRequest, body: unknown): void {
  try {
    const request = parse(body);
    expect(request.model).toBe('default');
    expect(request.messages.length).toBeGreaterThan(0);
    // The request can be serialized.
    expect(JSON.parse(JSON.stringify(request))).toMatchObject({ model: 'default' });
  } catch (thrown) {
    expect(thrown).toBeInstanceOf(LambentError);
    if (!(thrown instanceof LambentError)) return;
    expect(httpStatusFor(thrown)).toBeGreaterThanOrEqual(400);
    expect(httpStatusFor(thrown)).toBeLessThan(500);
    expect(encodeErrorBody(thrown).error.message).toMatch(/\S/);
    expect(thrown.message.length).toBeLessThan(2_000);
  }
}

describe.each(Object.entries(parsers))('parsing requests of the %s API', (name, { parse, fields }) => {
  it('any JSON body is parsed or rejected with a client error', () => {
    fc.assert(
      fc.property(json, (body) => check(parse, body)),
      { numRuns: 500 },
    );
  });

  it('any JSON value of a parameter is parsed or rejected with a client error', () => {
    const body = fc.tuple(fc.constantFrom(...fields), json, json).map(([field, value, subject]) => ({
      model: 'default',
      ...(name === 'chat'
        ? { messages: [{ role: 'user', content: subject }] }
        : { input: [{ role: 'user', content: subject }] }),
      [field]: value,
    }));
    fc.assert(
      fc.property(body, (value) => check(parse, value)),
      { numRuns: 1_000 },
    );
  });

  it('any messages are parsed or rejected with a client error', () => {
    const item = fc.record(
      {
        role: fc.constantFrom('user', 'system', 'assistant', 'tool', 'developer'),
        type: fc.constantFrom('message', 'function_call', 'function_call_output', 'reasoning'),
        content: fc.oneof(fc.string(), fc.array(json, { maxLength: 3 })),
        tool_calls: fc.array(
          fc.record({
            id: fc.constantFrom('a', 'b'),
            type: fc.constant('function'),
            function: fc.record({ name: fc.constant('f'), arguments: fc.string() }),
          }),
          { maxLength: 2 },
        ),
        tool_call_id: fc.constantFrom('a', 'b'),
        call_id: fc.constantFrom('a', 'b'),
        name: fc.constant('f'),
        arguments: fc.string(),
        output: fc.string(),
        summary: fc.constant([]),
        encrypted_content: fc.oneof(
          fc.string(),
          json.map((value) => `lambent1.${Buffer.from(JSON.stringify(value) ?? '').toString('base64url')}`),
        ),
      },
      { requiredKeys: [] },
    );
    const body = fc
      .array(item, { maxLength: 6 })
      .map((items) => ({ model: 'default', [name === 'chat' ? 'messages' : 'input']: items }));
    fc.assert(
      fc.property(body, (value) => check(parse, value)),
      { numRuns: 1_000 },
    );
  });

  it('large bodies are parsed or rejected with a client error within the test timeout', () => {
    const many = Array.from({ length: 20_000 }, (_, index) => ({
      role: index % 2 === 0 ? 'user' : 'assistant',
      content: `Message ${index}`,
    }));
    const image = `data:image/png;base64,${'A'.repeat(5_000_000)}`;
    const part =
      name === 'chat' ? { type: 'image_url', image_url: { url: image } } : { type: 'input_image', image_url: image };
    const field = name === 'chat' ? 'messages' : 'input';
    check(parse, { model: 'default', [field]: many });
    check(parse, { model: 'default', [field]: [{ role: 'user', content: [part] }] });
    check(parse, { model: 'default', [field]: [{ role: 'user', content: [{ ...part, image_url: `${image}!` }] }] });
    check(parse, {
      model: 'default',
      [field]: Array.from({ length: 100_000 }, () => ({ role: 'user', content: 7 })),
    });
    check(parse, Object.fromEntries(Array.from({ length: 200_000 }, (_, index) => [`field${index}`, index])));
  });
});
