import { expect, it } from 'vitest';
import type { Policy } from '../../../shared/access/policy.ts';
import { encodeRestrictions } from '../../../shared/access/policy-schema.ts';
import { toJob } from '../../../shared/api/admit.ts';
import { MessageRejectedError } from '../../../shared/lambda/queue-pipeline.ts';
import { httpStatusFor } from '../../../shared/wire/error-responses.ts';
import { checkSchemas } from '../../../shared/wire/json-schema.ts';
import { createReceiverPorts } from './receiver-ports.ts';
import { createTestRegistry } from './service.ts';

// One letter has two bytes.
const schema = { type: 'object', properties: { ä: { enum: ['b'] } } };
const function_ = { name: 'find', parameters: schema };

/** Returns the reason for which a queued request is rejected, or undefined if it becomes a job. */
function submit(policy: Policy, endpoint: string, body: object) {
  const message = { tenant: 'acme', endpoint, idempotencyKey: 'k' };
  const ports = { ...createReceiverPorts({ now: 0 }), registry: createTestRegistry(), onError: () => {} };
  try {
    toJob(message as never, { model: 'default', ...body }, { tenant: 'acme', keyId: 'orders', policy }, ports as never);
    return undefined;
  } catch (thrown) {
    if (!(thrown instanceof MessageRejectedError)) throw thrown;
    return thrown.reason;
  }
}

const chat = { messages: [{ role: 'user', content: 'Hi' }] };
const format = { type: 'json_schema', name: 'answer', schema };

it.each([
  [
    '/v1/chat/completions',
    { ...chat, tools: [{ type: 'function', function: function_ }] },
    'tools[0].function.parameters',
  ],
  [
    '/v1/chat/completions',
    { ...chat, response_format: { type: 'json_schema', json_schema: { name: 'answer', schema } } },
    'response_format',
  ],
  ['/v1/responses', { input: 'Hi', tools: [{ type: 'function', ...function_ }] }, 'tools[0].parameters'],
  ['/v1/responses', { input: 'Hi', text: { format } }, 'text.format.schema'],
])('a queued request of %s is rejected if a schema is above a limit of any level: %j', (endpoint, body, param) => {
  const bytes = Buffer.byteLength(JSON.stringify(schema));
  for (const [level, owner] of [
    ['account', 'this deployment'],
    ['project', 'the project'],
    ['key', 'this key'],
  ] as const) {
    const limit = (limits: object): Policy => ({ [level]: { limits } });
    expect(submit(limit({ schemaBytes: bytes, schemaDepth: 5 }), endpoint, body)).toBeUndefined();
    const tooLarge = submit(limit({ schemaBytes: bytes - 1 }), endpoint, body);
    expect(tooLarge).toMatchObject({
      param,
      message: expect.stringContaining(`It has ${bytes} bytes, but schemaBytes of ${owner} is ${bytes - 1}.`),
    });
    expect(submit(limit({ schemaDepth: 4 }), endpoint, body)?.message).toContain(
      `It has 5 levels of JSON, but schemaDepth of ${owner} is 4.`,
    );
  }
});

it('the strictest of several limits on schemas decides', () => {
  const body = { input: 'Hi', text: { format } };
  const policy: Policy = { key: { limits: { schemaDepth: 9 } }, account: { limits: { schemaDepth: 2 } } };
  const reason = submit(policy, '/v1/responses', body);
  expect(reason?.message).toContain('schemaDepth of this deployment is 2.');
  expect(reason === undefined ? 0 : httpStatusFor(reason)).toBe(400);
});

it('a policy can only lower what is accepted of any caller', () => {
  const check = (value: object) =>
    checkSchemas([{ schema: { a: value }, strict: false, subject: 'S', param: 'p', code: 'invalid_json_schema' }]);
  const nest = (levels: number): object => (levels === 1 ? {} : { a: nest(levels - 1) });
  check({ text: 'x'.repeat(256 * 1024 - 100) });
  expect(() => check({ text: 'x'.repeat(256 * 1024) })).toThrow('At most 262144 characters');
  check(nest(63));
  expect(() => check(nest(64))).toThrow('At most 64 levels');
  expect(encodeRestrictions('key', { limits: { schemaBytes: 256 * 1024, schemaDepth: 64 } })).toBeDefined();
  for (const limits of [{ schemaBytes: 256 * 1024 + 1 }, { schemaDepth: 65 }, { schemaBytes: 0 }, { schemaDepth: 1.5 }])
    expect(() => encodeRestrictions('project', { limits }), JSON.stringify(limits)).toThrow(/Invalid 'limits.schema/);
});
