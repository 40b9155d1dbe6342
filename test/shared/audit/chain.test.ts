import type { UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { appendToChain, type ChainPorts } from '../../../shared/audit/chain.ts';
import { CHAINS, type Digest } from '../../../shared/audit/digest.ts';
import { readEntries } from '../../../shared/audit/entry.ts';
import type { LogBatch } from '../../../shared/lambda/log-event.ts';
import { addSums, NO_USAGE, parseDollars, type UsageSums } from '../../../shared/usage/usage-row.ts';
import { addUsage, readBucket } from '../../../shared/usage/usage-table.ts';
import { type AuditLog, type AuditWorld, makeBatch, startAuditWorld } from './audit-world.ts';

let world: AuditWorld;
beforeAll(async () => {
  world = await startAuditWorld();
});
afterAll(() => world[Symbol.asyncDispose]());

const record = (batch: LogBatch, ports: ChainPorts) => appendToChain(batch, readEntries(batch).entries, ports);

/** Returns the digests of all chains, after a check that the chains are in order. */
async function readDigests({ verify }: AuditLog): Promise<Digest[]> {
  const digests: Digest[] = [];
  for (let chain = 0; chain < CHAINS; chain += 1) {
    expect(await verify(chain, { onDigest: (digest) => digests.push(digest) })).toBeUndefined();
  }
  return digests;
}

const sumAll = (sums: readonly UsageSums[]) => sums.reduce(addSums, NO_USAGE);

async function readUsage({ table }: AuditLog, width: '1m' | '1h' | '1d', start: string): Promise<UsageSums> {
  const usage = await readBucket(table, width, Date.parse(start) / 1000);
  return sumAll(usage.map(({ sums }) => sums));
}

it('batches of one log stream are recorded in their order, each with its entries', async () => {
  const log = await world.newLog();
  for (const id of ['a', 'b', 'c']) await record(makeBatch(id, 'stream', [{ requestId: id }]), log.ports);
  const recorded: unknown[] = [];
  const [{ chain } = { chain: 0 }] = await readDigests(log);
  await log.verify(chain, { onDigest: ({ sequence }, [entry]) => recorded.push([sequence, entry?.['requestId']]) });
  expect(recorded).toEqual([
    [1, 'a'],
    [2, 'b'],
    [3, 'c'],
  ]);
});

/** A port that ends its recorder at its `left`th call, before or after the call has an effect. */
function endAt(left: { calls: number; after: boolean }, { ports, table }: AuditLog): ChainPorts {
  const wrap =
    <Args extends unknown[], Result>(run: (...args: Args) => Promise<Result>) =>
    async (...args: Args): Promise<Result> => {
      left.calls -= 1;
      if (left.calls < 0 || (left.calls === 0 && !left.after)) throw new Error('killed');
      const result = await run(...args);
      if (left.calls === 0) throw new Error('killed');
      return result;
    };
  const { store, objects } = ports;
  return {
    ...ports,
    store: {
      readHead: wrap(store.readHead),
      advance: wrap(store.advance),
      markSettled: wrap(store.markSettled),
      isRecorded: wrap(store.isRecorded),
      markRecorded: wrap(store.markRecorded),
    },
    objects: { putNew: wrap(objects.putNew), get: wrap(objects.get) },
    sign: wrap(ports.sign),
    // Ends between the rows, too.
    apply: (digest, entries) => {
      const send = wrap((command: UpdateItemCommand) => table.client.send(command));
      const client = new Proxy(table.client, {
        get: (target, name) => (name === 'send' ? send : Reflect.get(target, name)),
      });
      return addUsage({ client, name: table.name }, digest, entries);
    },
  };
}

const call = fc.record({
  tenant: fc.constantFrom('acme', 'globex'),
  keyId: fc.constantFrom('key_1', 'key_2'),
  model: fc.constantFrom('default', 'fast'),
  inputTokens: fc.nat(100_000),
  outputTokens: fc.nat(10_000),
  costUsd: fc.bigInt(0n, 10n ** 13n).map((picodollars) => `0.${String(picodollars % 10n ** 12n).padStart(12, '0')}`),
});
/** The calls of one batch, its log stream, and where its deliveries end; the last delivery isn't ended. */
const delivered = fc.record({
  calls: fc.array(call, { minLength: 1, maxLength: 4 }),
  stream: fc.constantFrom('one', 'two'),
  kills: fc.array(fc.record({ calls: fc.integer({ min: 1, max: 20 }), after: fc.boolean() }), { maxLength: 2 }),
  twice: fc.boolean(),
});

it('each batch is recorded and added up once, although it is delivered repeatedly and recorders are killed', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(delivered, { minLength: 1, maxLength: 8 }), async (batches) => {
      const log = await world.newLog();
      await Promise.all(
        batches.map(async ({ calls, stream, kills, twice }, index) => {
          const batch = makeBatch(`batch${index}`, stream, calls);
          for (const kill of kills) await record(batch, endAt({ ...kill }, log)).catch(() => undefined);
          await Promise.all([record(batch, log.ports), twice && record(batch, log.ports)]);
        }),
      );
      const digests = await readDigests(log);
      expect(digests.map(({ batch }) => batch).sort()).toEqual(batches.map((_, index) => `batch${index}`).sort());
      const calls = batches.flatMap((batch) => batch.calls);
      const expected = sumAll(
        calls.map(({ inputTokens, outputTokens, costUsd }) => ({
          ...NO_USAGE,
          requests: 1n,
          inputTokens: BigInt(inputTokens),
          outputTokens: BigInt(outputTokens),
          picodollars: parseDollars(costUsd),
        })),
      );
      expect(await readUsage(log, '1m', '2026-11-30T10:20Z')).toEqual(expected);
      expect(await readUsage(log, '1h', '2026-11-30T10:00Z')).toEqual(expected);
      expect(await readUsage(log, '1d', '2026-11-30T00:00Z')).toEqual(expected);
    }),
    { numRuns: 15 },
  );
});
