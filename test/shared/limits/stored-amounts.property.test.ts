import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { CounterStore } from '../../../shared/limits/counters.ts';
import { StoredAmounts } from '../../../shared/limits/stored-amounts.ts';
import { MemoryCounters } from './memory-counters.ts';

const DAY_MS = 86_400_000;

/** A store whose requests fail: before they are made, or after it, with a lost response. */
function makeFaulty(store: CounterStore, random: () => number, faults: number): CounterStore {
  const fail = async <T>(request: () => Promise<T>): Promise<T> => {
    await new Promise((resolve) => setImmediate(resolve));
    if (random() < faults / 2) throw new Error('not sent');
    const result = await request();
    if (random() < faults / 2) throw new Error('response lost');
    return result;
  };
  return {
    write: (write) => fail(() => store.write(write)),
    read: (pk) => fail(() => store.read(pk)),
    list: (prefixes) => store.list(prefixes),
  };
}

it('what a project stores never exceeds its limits, and nothing stays full after it has expired', async () => {
  const options = fc.record({
    bytes: fc.bigInt({ min: 1n, max: 20_000n }),
    items: fc.bigInt({ min: 1n, max: 60n }),
    faults: fc.constantFrom(0, 0.05, 0.3),
    seeds: fc.infiniteStream(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })),
  });
  await fc.assert(
    fc.asyncProperty(options, async ({ bytes, items, faults, seeds }) => {
      const random = () => seeds.next().value as number;
      let now = Date.UTC(2026, 10, 30);
      const store = new MemoryCounters();
      const amounts = new StoredAmounts(makeFaulty(store, random, faults), () => now);
      const stored = new Set<{ bytes: bigint; expiresAt: number }>();
      const write = async () => {
        const most = BigInt(1 + Math.floor(random() * 1_000));
        const expiresAt = Math.floor(now / 1000) + 86_400 * (1 + Math.floor(random() * 5));
        const reserved = await amounts.reserve('acme', { bytes: most, items: 1n }, expiresAt, { bytes, items });
        if (!('settle' in reserved)) return;
        // It dies before or after it has stored something.
        if (random() < faults) return;
        const each = { bytes: BigInt(Math.floor(Number(most) * random())), expiresAt };
        stored.add(each);
        if (random() < faults) return;
        await reserved.settle({ bytes: each.bytes, items: 1n });
        if (random() < 0.7) return;
        stored.delete(each);
        await amounts.remove('acme', { bytes: each.bytes, items: 1n }, expiresAt);
      };
      for (let day = 0; day < 8; day += 1) {
        await Promise.allSettled(Array.from({ length: 25 }, write));
        for (const each of stored) if (each.expiresAt * 1000 <= now) stored.delete(each);
        expect(BigInt(stored.size)).toBeLessThanOrEqual(items);
        expect([...stored].reduce((sum, each) => sum + each.bytes, 0n)).toBeLessThanOrEqual(bytes);
        now += DAY_MS;
      }
      now += 10 * DAY_MS;
      const calm = new StoredAmounts(store, () => now);
      const all = { bytes, items };
      const reserved = await calm.reserve('acme', all, Math.floor(now / 1000) + 86_400, all);
      expect(reserved).toHaveProperty('settle');
    }),
    { numRuns: 40 },
  );
});

it('a reservation holds although what has expired before it can not be removed', async () => {
  let now = Date.UTC(2026, 10, 30);
  const store = new MemoryCounters();
  const write: CounterStore['write'] = async (change) => {
    if (change.remove !== undefined) throw new Error('throttled');
    return store.write(change);
  };
  const amounts = new StoredAmounts({ write, read: store.read.bind(store), list: store.list.bind(store) }, () => now);
  const reserve = () => amounts.reserve('acme', { bytes: 1n, items: 1n }, now / 1000, { items: 9n });
  await reserve();
  now += 3 * DAY_MS;
  expect(await reserve()).toHaveProperty('settle');
});
