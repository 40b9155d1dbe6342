import type { CounterStore, Counters, CounterWrite } from './counters.ts';

/** What a project stores: sealed bytes, and items. */
export interface Stored {
  readonly bytes: bigint;
  readonly items: bigint;
}

/** Limits of a project. An absent one limits nothing. */
export interface StoredMaxima {
  readonly bytes?: bigint;
  readonly items?: bigint;
}

/** An amount that counts until it expires, or is given back. */
export interface CountedStorage {
  /** Replaces what was reserved by what was stored, once. A failed settling counts as the whole reservation. */
  settle(stored: Stored): Promise<void>;
}

/** A write that a limit doesn't allow. */
export interface StorageRefusal {
  readonly name: 'storedBytes' | 'storedItems';
  readonly max: bigint;
  /** Absent for a write that is larger than the limit itself. */
  readonly left?: bigint;
  readonly requested: bigint;
}

const DAY_S = 86_400;
/** Others may change the item between two requests. */
const MAX_TRIES = 8;
const FIELDS = { bytes: 'B', items: 'I' } as const;
const NAMES = { bytes: 'storedBytes', items: 'storedItems' } as const;
const KINDS = ['bytes', 'items'] as const;

/**
 * Counts what projects store, in one item for each limited project: a total, and its parts by the day on which they expire.
 * Whatever is stored has such a day when it is written, so nothing has to be listed to know what is left.
 *
 * - A write is reserved at its largest size before it is made, on the condition that the total stays at or below the limit.
 *   So the limit is not exceeded.
 * - A function that dies leaves its reservation, and a lost response at most counts something twice: both until that day.
 * - When a day is over, its part is subtracted from the total and removed, in one write that only one caller can make.
 *   So a project is never full of what has expired.
 */
export class StoredAmounts {
  readonly #store: CounterStore;
  readonly #now: () => number;

  constructor(store: CounterStore, now: () => number) {
    this.#store = store;
    this.#now = now;
  }

  /** @param expiresAt epoch seconds. @throws the table's errors; the reservation may have been made then */
  async reserve(
    tenant: string,
    most: Stored,
    expiresAt: number,
    maxima: StoredMaxima,
  ): Promise<CountedStorage | StorageRefusal> {
    const pk = getStoragePartition(tenant);
    const atMost: Record<string, bigint> = {};
    for (const kind of KINDS) {
      const max = maxima[kind];
      if (max === undefined) continue;
      if (most[kind] > max) return { name: NAMES[kind], max, requested: most[kind] };
      atMost[FIELDS[kind]] = max - most[kind];
    }
    for (let tries = 0; ; tries += 1) {
      const { isWritten, counters } = await this.#store.write({ pk, add: change(most, expiresAt, 1n), atMost });
      const pruning = this.#prune(pk, counters);
      if (isWritten) {
        // What can't be removed now is removed by the next write. What was reserved must be settled.
        await pruning.catch(() => {});
        return { settle: (stored) => this.#settle(pk, most, stored, expiresAt) };
      }
      const isPruned = await pruning;
      if (isPruned && tries < MAX_TRIES) continue;
      for (const kind of KINDS) {
        const max = maxima[kind];
        const left = (max ?? 0n) - (counters[FIELDS[kind]] ?? 0n);
        if (max === undefined || left >= most[kind]) continue;
        return { name: NAMES[kind], max, left: left > 0n ? left : 0n, requested: most[kind] };
      }
      if (tries >= MAX_TRIES) throw new Error('Too many writes of a project at once');
    }
  }

  /** Gives back what was counted for something that is deleted. */
  async remove(tenant: string, stored: Stored, expiresAt: number): Promise<void> {
    await this.#subtract(getStoragePartition(tenant), stored, expiresAt);
  }

  async #settle(pk: string, most: Stored, { bytes, items }: Stored, expiresAt: number): Promise<void> {
    await this.#subtract(pk, { bytes: most.bytes - bytes, items: most.items - items }, expiresAt);
  }

  /** Subtracts, unless the day is over and its part gone. */
  async #subtract(pk: string, amount: Stored, expiresAt: number): Promise<void> {
    if (amount.bytes === 0n && amount.items === 0n) return;
    const atLeast = Object.fromEntries(KINDS.map((kind) => [getPartName(kind, expiresAt), amount[kind]]));
    await this.#store.write({ pk, add: change(amount, expiresAt, -1n), atLeast });
  }

  /** Removes the parts of days that are over. Returns whether there were any. */
  async #prune(pk: string, counters: Counters): Promise<boolean> {
    const today = Math.floor(this.#now() / 1000 / DAY_S);
    const days = Object.keys(counters)
      .map((name) => Number(/^B\.(\d+)$/.exec(name)?.[1] ?? Number.NaN))
      .filter((day) => day < today - 1);
    for (const day of days) await this.#store.write(pruneWrite(pk, day, counters));
    return days.length > 0;
  }
}

function pruneWrite(pk: string, day: number, counters: Counters): CounterWrite {
  const [bytes, items] = [`B.${day}`, `I.${day}`];
  return {
    pk,
    add: { B: -(counters[bytes] ?? 0n), I: -(counters[items] ?? 0n) },
    remove: [bytes, items],
    equal: { [bytes]: counters[bytes], [items]: counters[items] },
  };
}

/** The item of a project. Erasing a tenant deletes it. */
export function getStoragePartition(tenant: string): string {
  return `stored#${tenant}`;
}

function getPartName(kind: keyof Stored, expiresAt: number): string {
  return `${FIELDS[kind]}.${Math.floor(expiresAt / DAY_S)}`;
}

function change(amount: Stored, expiresAt: number, sign: 1n | -1n): Counters {
  return Object.fromEntries(
    KINDS.flatMap((kind) => [
      [FIELDS[kind], sign * amount[kind]],
      [getPartName(kind, expiresAt), sign * amount[kind]],
    ]),
  );
}
