import fc from 'fast-check';
import { expect, it } from 'vitest';
import { deriveResponseId, getInboxKey, parseMessage } from '../../../shared/api/queue-message.ts';
import { encodeTicket } from '../../../shared/jobs/ticket-message.ts';

const MESSAGE = {
  version: 1,
  type: 'generate',
  tenant: 'acme',
  idempotencyKey: 'order-17',
  endpoint: '/v1/responses',
  body: { model: 'default', input: 'Hello' },
};

it('a response id is derived from tenant and key as documented', () => {
  // printf '4:acme8:order-17' | sha256sum | cut -c1-40
  expect(deriveResponseId('acme', 'order-17')).toBe('resp_8bab8eddecd23a30d4843212302887a3caeb7d2a');
});

it('response ids are equal exactly if tenant and key are equal', () => {
  const part = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 8 });
  fc.assert(
    fc.property(part, part, part, part, (tenant, key, otherTenant, otherKey) => {
      const same = tenant === otherTenant && key === otherKey;
      expect(deriveResponseId(tenant, key) === deriveResponseId(otherTenant, otherKey)).toBe(same);
    }),
  );
});

it('a ticket parses to itself, and so does the pointer of an earlier version', () => {
  const pointer = { tenant: 'acme', id: 'resp_1' };
  const ticket = { ...pointer, tier: 'default', model: 'default', bytes: 100 } as const;
  expect(parseMessage(encodeTicket(ticket))).toEqual({ version: 1, type: 'job', ...ticket });
  const earlier = { version: 1, type: 'job', ...pointer, delaySeconds: 60, added: true };
  expect(parseMessage(JSON.stringify(earlier))).toMatchObject(pointer);
});

it('members of a message’s body and metadata are kept whatever their names', () => {
  const text = JSON.stringify({ ...MESSAGE, metadata: { constructor: 'x' } });
  const message = text.replace('"input":', '"__proto__":1,"constructor":2,"input":');
  expect(parseMessage(message)).toMatchObject({
    body: JSON.parse('{"model":"default","__proto__":1,"constructor":2,"input":"Hello"}'),
    metadata: { constructor: 'x' },
  });
  expect(JSON.stringify(parseMessage(message))).toContain('"__proto__":1,"constructor":2');
});

it.each([
  [{ ...MESSAGE, metadata: { a: 1 } }, 'invalid_value', 'metadata'],
  [{ ...MESSAGE, metadata: [] }, 'invalid_value', 'metadata'],
  [{ ...MESSAGE, body: [] }, 'invalid_value', 'body'],
  [{ ...MESSAGE, version: 2 }, 'unsupported_value', 'version'],
  [{ ...MESSAGE, type: 'dream' }, 'unsupported_value', 'type'],
  [{ ...MESSAGE, extra: 1 }, 'unknown_parameter', 'extra'],
  [{ ...MESSAGE, tenant: 'a#b' }, 'invalid_value', 'tenant'],
  [{ ...MESSAGE, tenant: '../other' }, 'invalid_value', 'tenant'],
  [{ ...MESSAGE, idempotencyKey: undefined }, 'missing_required_parameter', 'idempotencyKey'],
  [{ ...MESSAGE, endpoint: '/v1/embeddings' }, 'invalid_value', 'endpoint'],
  [{ ...MESSAGE, body: undefined }, 'missing_required_parameter', 'body'],
  [{ ...MESSAGE, bodyPointer: { bucket: 'b', key: 'acme/inbox/x' } }, 'missing_required_parameter', 'body'],
  [{ version: 1, type: 'job', tenant: 'acme', id: '../x' }, 'invalid_value', 'id'],
  [[], 'missing_required_parameter', 'version'],
  ['text', 'invalid_value', undefined],
])('the message %j is rejected', (invalid, code, param) => {
  expect(() => parseMessage(JSON.stringify(invalid))).toThrow(expect.objectContaining({ code, param }));
});

it('any text is parsed or rejected with a stable error code', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
      try {
        parseMessage(text);
      } catch (thrown) {
        expect(thrown).toMatchObject({ name: 'LambentError', code: expect.not.stringMatching('internal') });
      }
    }),
  );
});

it.each([
  ['theirs', 'acme/inbox/x'],
  ['ours', 'other/inbox/x'],
  ['ours', 'acme/inbox/'],
  ['ours', 'acme/job/resp_1/0/input'],
  ['ours', '/acme/inbox/x'],
  ['ours', 'acme2/inbox/x'],
])('a body pointer to bucket %s and key %s is rejected', (bucket, key) => {
  const message = parseMessage(JSON.stringify({ ...MESSAGE, body: undefined, bodyPointer: { bucket, key } }));
  if (message.type !== 'generate') throw new Error('unreachable');
  expect(() => getInboxKey(message, 'ours')).toThrow(expect.objectContaining({ code: 'invalid_value' }));
});

it('a body pointer to a key of more than 1,024 bytes is rejected', () => {
  const parseKey = (name: string) =>
    parseMessage(
      JSON.stringify({ ...MESSAGE, body: undefined, bodyPointer: { bucket: 'ours', key: `acme/inbox/${name}` } }),
    );
  for (const name of ['x'.repeat(1013), '语'.repeat(337), '🌍'.repeat(253)])
    expect(parseKey(name)).toMatchObject({ type: 'generate' });
  for (const name of ['x'.repeat(1014), '语'.repeat(338), '🌍'.repeat(254)])
    expect(() => parseKey(name)).toThrow(expect.objectContaining({ code: 'invalid_value', param: 'bodyPointer.key' }));
});
