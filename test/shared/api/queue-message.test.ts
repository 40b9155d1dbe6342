import fc from 'fast-check';
import { expect, test } from 'vitest';
import { deriveResponseId, getInboxKey, parseMessage } from '../../../shared/api/queue-message.ts';
import { pointerMessage } from '../../../shared/jobs/pointer-message.ts';

const message = {
  version: 1,
  type: 'generate',
  tenant: 'acme',
  idempotencyKey: 'order-17',
  endpoint: '/v1/responses',
  body: { model: 'default', input: 'Hello' },
};

test('makes the same id of the same tenant and key, as documented', () => {
  // printf '4:acme8:order-17' | sha256sum | cut -c1-40
  expect(deriveResponseId('acme', 'order-17')).toBe('resp_8bab8eddecd23a30d4843212302887a3caeb7d2a');
});

test('makes no two tenants and keys the same id, whatever they are made of', () => {
  const part = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 8 });
  fc.assert(
    fc.property(part, part, part, part, (tenant, key, otherTenant, otherKey) => {
      const same = tenant === otherTenant && key === otherKey;
      expect(deriveResponseId(tenant, key) === deriveResponseId(otherTenant, otherKey)).toBe(same);
    }),
  );
});

test('reads the pointers that it writes, and lets pass what a newer version adds to one', () => {
  const pointer = { tenant: 'acme', id: 'resp_1' };
  expect(parseMessage(pointerMessage(pointer))).toEqual({ version: 1, type: 'job', ...pointer });
  expect(parseMessage(JSON.stringify({ version: 1, type: 'job', ...pointer, tier: 'flex' }))).toMatchObject(pointer);
});

test.each([
  [{ ...message, version: 2 }, 'unsupported_value', 'version'],
  [{ ...message, type: 'dream' }, 'unsupported_value', 'type'],
  [{ ...message, extra: 1 }, 'unknown_parameter', 'extra'],
  [{ ...message, tenant: 'a#b' }, 'invalid_value', 'tenant'],
  [{ ...message, tenant: '../other' }, 'invalid_value', 'tenant'],
  [{ ...message, idempotencyKey: undefined }, 'missing_required_parameter', 'idempotencyKey'],
  [{ ...message, endpoint: '/v1/embeddings' }, 'invalid_value', 'endpoint'],
  [{ ...message, body: undefined }, 'missing_required_parameter', 'body'],
  [{ ...message, bodyPointer: { bucket: 'b', key: 'acme/inbox/x' } }, 'missing_required_parameter', 'body'],
  [{ version: 1, type: 'job', tenant: 'acme', id: '../x' }, 'invalid_value', 'id'],
  [[], 'missing_required_parameter', 'version'],
  ['text', 'invalid_value', undefined],
])('refuses %j', (bad, code, param) => {
  expect(() => parseMessage(JSON.stringify(bad))).toThrow(expect.objectContaining({ code, param }));
});

test('says no more than a stable code of anything at all', () => {
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

test.each([
  ['theirs', 'acme/inbox/x'],
  ['ours', 'other/inbox/x'],
  ['ours', 'acme/inbox/'],
  ['ours', 'acme/job/resp_1/0/input'],
  ['ours', '/acme/inbox/x'],
  ['ours', 'acme2/inbox/x'],
])('reads no body from %s at %s', (bucket, key) => {
  const pointing = parseMessage(JSON.stringify({ ...message, body: undefined, bodyPointer: { bucket, key } }));
  if (pointing.type !== 'generate') throw new Error('unreachable');
  expect(() => getInboxKey(pointing, 'ours')).toThrow(expect.objectContaining({ code: 'invalid_value' }));
});
