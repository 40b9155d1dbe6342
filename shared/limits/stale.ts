import { listEmptyBuckets } from './bucket.ts';
import type { Counters } from './counters.ts';
import { isPast } from './windows.ts';

/** The counters of a key's item that have a window: its own, those of pools, and marks of alerts. */
const WINDOWED = /^(?:(?:[LRQF]\.)?[kpma]\.[a-z]|A)\.(now|[mdy][\d-]+)(?:\.|$)/;

/** Lists the counters of a key's item that no call needs any more, those of `model` first. */
export function listStale(counters: Counters, now: number, model: string): string[] {
  const past = Object.keys(counters).filter((name) => {
    const window = WINDOWED.exec(name)?.[1];
    return window !== undefined && isPast(window, now);
  });
  const stale = [...past, ...listEmptyBuckets(counters, now)];
  const isOfModel = (name: string): boolean => name.endsWith(`.${model}`);
  return [...stale.filter(isOfModel), ...stale.filter((name) => !isOfModel(name))];
}
