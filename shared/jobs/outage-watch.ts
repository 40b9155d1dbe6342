import { isAwsError } from '../aws/outage.ts';
import type { JobStore } from './ports.ts';

/** A job store, and when it was last not available to this process. */
export interface WatchedStore {
  readonly store: JobStore;
  /** Returns the epoch milliseconds of the last failed request of an outage; minus infinity if there was none. */
  readonly lastOutageAt: () => number;
}

/** So many failed requests in a row are an outage. Single ones occur always, and say nothing about other processes. */
const OUTAGE_FAILURES = 3;

/**
 * Watches a job store for outages. While a store is not available no holder can renew its lease, so that a lease that ended
 * during an outage doesn't show that its holder is dead. A policy that refuses requests delays jobs as an outage does.
 * @param now epoch milliseconds
 * @param onFailure called for each failed request, for metrics
 */
export function watchOutages(
  store: JobStore,
  now: () => number,
  onFailure: (thrown: unknown) => void = () => {},
): WatchedStore {
  let lastOutageAt = Number.NEGATIVE_INFINITY;
  let failures = 0;
  const watched = new Proxy(store, {
    get(target, name) {
      const method: unknown = Reflect.get(target, name);
      if (typeof method !== 'function') return method;
      return async (...parameters: unknown[]): Promise<unknown> => {
        try {
          const result: unknown = await Reflect.apply(method, target, parameters);
          failures = 0;
          return result;
        } catch (thrown) {
          if (isAwsError(thrown)) {
            failures += 1;
            onFailure(thrown);
          }
          if (failures >= OUTAGE_FAILURES) lastOutageAt = now();
          throw thrown;
        }
      };
    },
  });
  return { store: watched, lastOutageAt: () => lastOutageAt };
}
