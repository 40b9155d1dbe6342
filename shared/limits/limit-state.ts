import type { Cap, Metric } from './caps.ts';
import type { Counters } from './counters.ts';
import { getChildCounters, type OwnCap, type Pool } from './pools.ts';
import { getWindowEnd } from './windows.ts';

/** What is left of the limits on requests and on tokens that are closest to their end. */
export interface LimitState {
  readonly requests: Remaining | undefined;
  readonly tokens: Remaining | undefined;
}

export interface Remaining {
  readonly limit: number;
  readonly remaining: number;
  /** Milliseconds until all of it is available again. */
  readonly resetMs: number;
}

/** Returns the state of a call's limits by the counters of its key's item. */
export function describeState(
  own: readonly OwnCap[],
  pools: readonly Pool[],
  counters: Counters,
  now: number,
): LimitState {
  const describe = ({ max }: Cap, left: bigint, window: string): Remaining => ({
    limit: Number(max),
    remaining: Math.max(0, Number(left)),
    resetMs: getWindowEnd(window) - now,
  });
  const findLowest = (metric: Metric): Remaining | undefined => {
    const ofKey = own
      .filter(({ cap }) => cap.metric === metric)
      .map(({ cap, window, counter }) => describe(cap, cap.max - (counters[counter] ?? 0n), window));
    const shared = pools
      .filter(({ cap }) => cap.metric === metric)
      .map(({ cap, window, id }) => {
        const { left, beyond } = getChildCounters(id);
        return describe(cap, (counters[left] ?? 0n) + (counters[beyond] ?? 0n), window);
      });
    const [lowest] = [...ofKey, ...shared].sort((a, b) => a.remaining - b.remaining || b.resetMs - a.resetMs);
    return lowest;
  };
  return { requests: findLowest('requests'), tokens: findLowest('tokens') };
}
