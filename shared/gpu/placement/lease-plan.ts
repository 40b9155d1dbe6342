import type { RankedWorker } from './placement.ts';

/** An attempt to lease a slot of a worker, which succeeds if the worker then holds at most `cap` leases. */
export interface LeaseAttempt {
  readonly candidate: RankedWorker;
  readonly cap: number;
}

/**
 * Returns the lease attempts to make, in order:
 * 1. the best worker;
 * 2. in random order, the workers that are no worse than queueing behind one request like this on the best worker;
 * 3. on a retry, the best worker again, as the last attempt.
 *
 * Attempts 1 and 2 succeed only if the worker was not leased since the fleet was read. Otherwise simultaneous requests,
 * which read the same fleet, would all lease the same worker. Attempt 3 succeeds as long as the worker has a free slot.
 * @param ranked best first
 * @param maxAttempts 1 or more
 * @param isRetry true if the request has read the fleet before
 * @param random returns 0 up to 1
 */
export function planLeaseAttempts(
  ranked: readonly RankedWorker[],
  maxAttempts: number,
  isRetry: boolean,
  random: () => number,
): LeaseAttempt[] {
  const [best, ...others] = ranked;
  if (best === undefined) return [];
  const scoreOfQueueing = best.score + best.uncachedTokens;
  const goodEnough = others.filter(({ score }) => score <= scoreOfQueueing);
  const ifUnchanged = (candidate: RankedWorker): LeaseAttempt => ({ candidate, cap: candidate.held + 1 });
  const attempts = [best, ...shuffle(goodEnough, random)].map(ifUnchanged);
  if (!isRetry) return attempts.slice(0, maxAttempts);
  return [...attempts.slice(0, maxAttempts - 1), { candidate: best, cap: best.cap }];
}

function shuffle<Item>(items: readonly Item[], random: () => number): Item[] {
  return items
    .map((item) => ({ item, order: random() }))
    .sort((a, b) => a.order - b.order)
    .map(({ item }) => item);
}
