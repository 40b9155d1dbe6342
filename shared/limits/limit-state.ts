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

/** The state of limits whose counters were not read. */
export const NO_STATE: LimitState = { requests: undefined, tokens: undefined };

/**
 * Returns the state of a call's limits by the counters of its key's item. What is left of a shared limit is not known before the key
 * has leased a portion in its window.
 * @param refusing the limit that has refused the call
 */
export function describeState(
  own: readonly OwnCap[],
  pools: readonly Pool[],
  counters: Counters,
  now: number,
  refusing?: Cap,
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
      .flatMap(({ cap, window, id }) => {
        const { left, beyond, received } = getChildCounters(id);
        const leased = counters[left] ?? 0n;
        // The key has just asked for more.
        if (cap === refusing) return [describe(cap, leased, window)];
        return counters[received] === undefined ? [] : [describe(cap, leased + (counters[beyond] ?? 0n), window)];
      });
    const [lowest] = [...ofKey, ...shared].sort((a, b) => a.remaining - b.remaining || b.resetMs - a.resetMs);
    return lowest;
  };
  return { requests: findLowest('requests'), tokens: findLowest('tokens') };
}
