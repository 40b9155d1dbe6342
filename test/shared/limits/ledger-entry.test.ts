import { expect, it } from 'vitest';
import {
  computeSums,
  encodeEntry,
  getEntryName,
  getPageName,
  getPoolId,
  getSumName,
  type LedgerEntry,
  listEmptySums,
  listEntries,
  listPages,
  renewEntry,
} from '../../../shared/limits/ledger-entry.ts';
import { QUEUE_METRICS, type QueueMetric } from '../../../shared/limits/queue-caps.ts';

const LARGEST = { jobs: 1n, bytes: 10n ** 11n - 1n, weight: 10n ** 14n - 1n };
const SUBSETS: readonly (readonly QueueMetric[])[] = [[], ['jobs'], ['bytes'], ['weight'], ['jobs', 'weight']];

it.each(SUBSETS.map((leased) => [leased]))(
  'an entry that has leased %j is read as it was written, with and without a key',
  (leased) => {
    for (const amounts of [LARGEST, { jobs: 1n, bytes: 0n, weight: 0n }, { jobs: 1n, bytes: 1n, weight: 0n }])
      for (const keyId of ['one', 'key.with.dots', undefined])
        for (const minute of [0, 29_600_000, 10 ** 9 - 1]) {
          const entry: LedgerEntry = { id: 'resp_1', leased, minute, amounts, ...(keyId !== undefined && { keyId }) };
          const [name, value] = [getEntryName(entry), encodeEntry(entry)];
          expect(listEntries({ [name]: value, 'p.j': 1n })).toEqual([{ name, value, entry }]);
          // A number of DynamoDB.
          expect(String(value).length).toBeLessThanOrEqual(38);
        }
  },
);

it('entries and pages are listed in the order of their names, whatever the order of the item', () => {
  const ids = ['c', 'a', 'e', 'b', 'd'];
  const sorted = [...ids].sort();
  const entries = Object.fromEntries(ids.map((id) => [getEntryName({ id }), 0n]));
  const pages = Object.fromEntries(ids.map((id, index) => [getPageName(id), BigInt(index)]));
  const counters = { ...entries, 'p.j': 5n, ...pages };
  expect(listEntries(counters).map(({ entry }) => entry.id)).toEqual(sorted);
  expect(listPages(counters)).toEqual(sorted.map((id) => ({ id, bits: BigInt(ids.indexOf(id)) })));
});

it('an entry is renewed to a later minute, and never to an earlier one', () => {
  const entry: LedgerEntry = { id: 'resp_1', leased: ['jobs', 'bytes'], minute: 100, amounts: LARGEST };
  const value = encodeEntry(entry);
  expect(renewEntry(value, 107)).toBe(encodeEntry({ ...entry, minute: 107 }));
  expect(renewEntry(value, 100)).toBe(value);
  expect(renewEntry(value, 93)).toBe(value);
});

it('each metric has sums and a pool of its own, and sums of a key are apart from those of the tenant', () => {
  const names = QUEUE_METRICS.flatMap((metric) => [getSumName(metric), getSumName(metric, 'one'), getPoolId(metric)]);
  expect(new Set(names).size).toBe(names.length);
});

it('an entry is part of the sums of what it takes, for the tenant and, if it has a key, for the key', () => {
  const amounts = { jobs: 1n, bytes: 20n, weight: 0n };
  expect(computeSums({ amounts })).toEqual({ 'p.j': 1n, 'p.b': 20n });
  expect(computeSums({ amounts: { ...amounts, weight: 3n }, keyId: 'one' })).toEqual({
    ...{ 'p.j': 1n, 'p.b': 20n, 'p.w': 3n },
    ...{ 'k.j.one': 1n, 'k.b.one': 20n, 'k.w.one': 3n },
  });
});

it('only sums of keys that are zero are listed as empty', () => {
  expect(listEmptySums({ 'k.j.one': 0n, 'k.j.two': 1n, 'p.j': 0n, 'L.k.': 0n })).toEqual(['k.j.one']);
});
