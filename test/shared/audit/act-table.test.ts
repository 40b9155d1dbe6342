import { afterAll, beforeAll, expect, it } from 'vitest';
import { listActs, storeActs } from '../../../shared/audit/act-table.ts';
import { appendToChain } from '../../../shared/audit/chain.ts';
import { findChain } from '../../../shared/audit/digest.ts';
import { readEntries } from '../../../shared/audit/entry.ts';
import { type AuditWorld, makeBatch, startAuditWorld } from './audit-world.ts';

let world: AuditWorld;
beforeAll(async () => {
  world = await startAuditWorld();
});
afterAll(() => world[Symbol.asyncDispose]());

it.each([
  ['details', { details: JSON.stringify({ text: 'x'.repeat(420_000) }) }, 'large'],
  ['ids', { requestId: 'x'.repeat(420_000) }, undefined],
])('an act whose %s are too large for an item does not stop its chain', async (_, fields, listed) => {
  const log = await world.newLog();
  const ports: typeof log.ports = { ...log.ports, apply: (_, entries) => storeActs(log.table, entries, 400) };
  const act = { record: 'act', act: 'project.updated' };
  const batches = [
    makeBatch('a', 'stream', [{ ...act, objectId: 'large', ...fields }]),
    makeBatch('b', 'stream', [{ ...act, objectId: 'next', details: '{"title":"New"}' }]),
  ];
  for (const batch of batches) await appendToChain(batch, readEntries(batch).entries, ports);
  const found = new Map<unknown, unknown>();
  for await (const { objectId, details } of listActs(log.table, { newestFirst: false })) found.set(objectId, details);
  expect([...found.keys()].sort()).toEqual(listed === undefined ? ['next'] : [listed, 'next']);
  expect(found.get('next')).toBe('{"title":"New"}');
  if (listed !== undefined)
    expect(found.get(listed)).toMatch(/^\{"omitted":\{"size_bytes":420011,"sha256":"[0-9a-f]{64}"\}\}$/);
  // The audit log has the line as it was.
  const recorded: unknown[] = [];
  const chain = findChain({ logGroup: '/aws/lambda/chat', logStream: 'stream' });
  expect(await log.verify(chain, { onDigest: (_digest, entries) => recorded.push(...entries) })).toBeUndefined();
  expect(recorded).toMatchObject([{ objectId: 'large', ...fields }, { objectId: 'next' }]);
});
