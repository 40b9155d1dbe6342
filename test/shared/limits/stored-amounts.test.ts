import { beforeEach, describe, expect, it } from 'vitest';
import { StoredAmounts } from '../../../shared/limits/stored-amounts.ts';
import { MemoryCounters } from './memory-counters.ts';

const DAY_MS = 86_400_000;
const MIDNIGHT = Date.UTC(2026, 10, 30);

let now: number;
let store: MemoryCounters;
let amounts: StoredAmounts;
beforeEach(() => {
  now = MIDNIGHT + DAY_MS / 2;
  store = new MemoryCounters();
  amounts = new StoredAmounts(store, () => now);
});

/** Reserves something that expires today. */
async function reserve(bytes: bigint, items: bigint, maxima: { bytes?: bigint; items?: bigint }) {
  return amounts.reserve('acme', { bytes, items }, Math.floor(now / 1000), maxima);
}

describe('what a project stores', () => {
  it('counts until the day after the one on which it expires has ended', async () => {
    await reserve(5n, 1n, { items: 1n });
    now = MIDNIGHT + 2 * DAY_MS - 1;
    expect(await reserve(5n, 1n, { items: 1n })).toMatchObject({ name: 'storedItems', left: 0n });
    now = MIDNIGHT + 2 * DAY_MS;
    expect(await reserve(5n, 1n, { items: 1n })).toHaveProperty('settle');
  });

  it('may fill a limit exactly, and the limit that is exceeded is named', async () => {
    const maxima = { bytes: 10n, items: 1n };
    expect(await reserve(5n, 1n, maxima)).toHaveProperty('settle');
    expect(await reserve(5n, 1n, maxima)).toEqual({ name: 'storedItems', max: 1n, left: 0n, requested: 1n });
    expect(await reserve(11n, 0n, maxima)).toEqual({ name: 'storedBytes', max: 10n, requested: 11n });
    expect(await reserve(6n, 0n, maxima)).toEqual({ name: 'storedBytes', max: 10n, left: 5n, requested: 6n });
  });

  it('is not given back a second time after its day', async () => {
    const first = await reserve(9n, 1n, { items: 2n });
    now += 3 * DAY_MS;
    await reserve(5n, 1n, { items: 2n });
    if ('settle' in first) await first.settle({ bytes: 0n, items: 0n });
    expect(await store.read('stored#acme')).toMatchObject({ B: 5n, I: 1n });
  });

  it('counts in full if it is larger than what was reserved', async () => {
    const reserved = await reserve(5n, 3n, { bytes: 10n });
    if ('settle' in reserved) await reserved.settle({ bytes: 20n, items: 1n });
    expect(await store.read('stored#acme')).toMatchObject({ B: 20n, I: 1n });
    expect(await reserve(1n, 0n, { bytes: 10n })).toMatchObject({ name: 'storedBytes', left: 0n });
  });
});
