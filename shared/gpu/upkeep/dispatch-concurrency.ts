/** Lambda's limits for the maximum concurrency of an event source mapping. */
export const MIN_CONCURRENCY = 2;
export const MAX_CONCURRENCY = 1_000;
/**
 * The concurrency is lowered only below this share of its value, so that small changes of the fleet don't change it
 * each minute.
 */
const LOWER_BELOW = 0.8;

/** Returns the batch slots of workers: their slots without the reserve for interactive work. */
export function countBatchSlots(workers: readonly { readonly slots: number }[], reserve: number): number {
  return workers.reduce((total, { slots }) => total + Math.floor(slots * (1 - reserve)), 0);
}

/**
 * Returns how many dispatchers may run at once: enough to hold about one job per batch slot. More of them would wait
 * for slots in functions that are billed by time.
 * @param slots batch slots of all fleets
 * @param batchSize maximum number of messages per dispatcher
 * @param maxConcurrency the account's limit for dispatchers, 2 to 1000
 * @returns undefined if the current value is good enough
 */
export function decideConcurrency(
  current: number | undefined,
  slots: number,
  batchSize: number,
  maxConcurrency: number,
): number | undefined {
  const wanted = Math.min(Math.max(Math.ceil(slots / batchSize), MIN_CONCURRENCY), maxConcurrency);
  if (current === undefined || current > maxConcurrency || wanted > current) return wanted;
  return wanted < current * LOWER_BELOW ? wanted : undefined;
}
