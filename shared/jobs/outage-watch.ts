import type { JobStore } from './ports.ts';
import { isAwsError } from './verdict.ts';

/** A job store, and when it was last not available to this process. */
export interface WatchedStore {
  readonly store: JobStore;
  /** Returns the epoch milliseconds of the last request that failed; minus infinity if none has. */
  readonly lastOutageAt: () => number;
}

/**
 * Watches a job store for outages. While a store is not available no holder can renew its lease, so that a lease that ended
 * during an outage doesn't show that its holder is dead.
 * @param now epoch milliseconds
 */
export function watchOutages(store: JobStore, now: () => number): WatchedStore {
  let lastOutageAt = Number.NEGATIVE_INFINITY;
  const watched = new Proxy(store, {
    get(target, name) {
      const method: unknown = Reflect.get(target, name);
      if (typeof method !== 'function') return method;
      return async (...parameters: unknown[]): Promise<unknown> => {
        try {
          return await Reflect.apply(method, target, parameters);
        } catch (thrown) {
          if (isAwsError(thrown)) lastOutageAt = now();
          throw thrown;
        }
      };
    },
  });
  return { store: watched, lastOutageAt: () => lastOutageAt };
}
