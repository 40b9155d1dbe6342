import { findExcess } from '../../../local/dynalite/expression-limits.ts';
import {
  type CounterResult,
  type CounterStore,
  type Counters,
  type CounterWrite,
  LIST_PARTS,
} from '../../../shared/limits/counters.ts';
import { toExpressions } from '../../../shared/limits/dynamodb-counters.ts';

/**
 * The counters of a table, in memory: the same conditional updates, made one after another. It refuses writes that are too large for
 * DynamoDB.
 */
export class MemoryCounters implements CounterStore {
  readonly items = new Map<string, Counters>();

  async write(write: CounterWrite): Promise<CounterResult> {
    return this.apply(write);
  }

  async read(pk: string): Promise<Counters> {
    return this.items.get(pk) ?? {};
  }

  async *list(prefixes: readonly string[], firstPart = 0) {
    const items = [...this.items];
    const start = Math.floor((items.length * firstPart) / LIST_PARTS);
    for (const [pk, counters] of [...items.slice(start), ...items.slice(0, start)]) {
      if (prefixes.some((each) => matches(pk, each))) yield { pk, counters };
    }
  }

  apply(write: CounterWrite): CounterResult {
    refuseExcess(write);
    const { pk, add = {}, set = {}, remove = [], atMost = {}, atLeast = {}, equal = {} } = write;
    const counters = this.items.get(pk) ?? {};
    const holds =
      Object.entries(atMost).every(([name, value]) => (counters[name] ?? value) <= value) &&
      Object.entries(atLeast).every(([name, value]) => (counters[name] ?? value - 1n) >= value) &&
      Object.entries(equal).every(([name, value]) => counters[name] === value);
    if (!holds) return { isWritten: false, counters };
    const added = Object.entries(add).map(([name, value]) => [name, (counters[name] ?? 0n) + value] as const);
    const after: Record<string, bigint> = { ...counters, ...set, ...Object.fromEntries(added) };
    for (const name of remove) delete after[name];
    this.items.set(pk, after);
    return { isWritten: true, counters: after };
  }
}

/** Writes that name fewer counters are never too large: each takes at most 60 bytes and 4 operators of a condition. */
const MANY = 60;

function refuseExcess(write: CounterWrite): void {
  const { add = {}, set = {}, remove = [], atMost = {}, atLeast = {}, equal = {} } = write;
  const named = [add, set, remove, atMost, atLeast, equal].reduce((sum, part) => sum + Object.keys(part).length, 0);
  if (named < MANY) return;
  const excess = findExcess(toExpressions(write));
  if (excess !== undefined) throw new Error(excess);
}

function matches(pk: string, pattern: string): boolean {
  const [prefix = '', part = ''] = pattern.split('*');
  return pk.startsWith(prefix) && pk.includes(part);
}

/** Returns a store that passes requests on to `getStore()`, and the requests that it gets. */
export function recordRequests(getStore: () => CounterStore) {
  const written: CounterWrite[] = [];
  const read: string[] = [];
  const counting: CounterStore = {
    write: (write) => {
      written.push(write);
      return getStore().write(write);
    },
    read: (pk) => {
      read.push(pk);
      return getStore().read(pk);
    },
    list: (...parts) => getStore().list(...parts),
  };
  return { counting, written, read };
}
