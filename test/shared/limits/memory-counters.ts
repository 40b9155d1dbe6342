import type { CounterResult, CounterStore, Counters, CounterWrite } from '../../../shared/limits/counters.ts';

/** The counters of a table, in memory: the same conditional updates, made one after another. */
export class MemoryCounters implements CounterStore {
  readonly items = new Map<string, Counters>();

  async write(write: CounterWrite): Promise<CounterResult> {
    return this.apply(write);
  }

  async read(pk: string): Promise<Counters> {
    return this.items.get(pk) ?? {};
  }

  async *list(prefixes: readonly string[]) {
    for (const [pk, counters] of this.items) {
      if (prefixes.some((prefix) => pk.startsWith(prefix))) yield { pk, counters };
    }
  }

  apply({ pk, add = {}, set = {}, remove = [], atMost = {}, atLeast = {}, equal = {} }: CounterWrite): CounterResult {
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
