/** Lambda's own limits of a mapping's maximum concurrency. */
export const MIN_CONCURRENCY = 2;
export const MAX_CONCURRENCY = 1_000;
/** Lowered only when this much of it would do: a fleet that breathes should not change it every minute. */
const LOWER_BELOW = 0.8;

/** Batch slots of a fleet's ready workers: what is left beside the reserve for interactive work. */
export function countBatchSlots(workers: readonly { readonly slots: number }[], reserve: number): number {
  return workers.reduce((total, { slots }) => total + Math.floor(slots * (1 - reserve)), 0);
}

/**
 * How many dispatchers may run at once, so that they hold about as many jobs as there are slots for them: more would
 * wait inside functions that are paid for by time.
 * @param slots batch slots of all fleets
 * @param batchSize messages that one dispatcher gets at most
 * @param most what the account has for them, 2 to 1000, however many slots there are
 * @returns undefined when it may stay as it is
 */
export function decideConcurrency(
  current: number | undefined,
  slots: number,
  batchSize: number,
  most: number,
): number | undefined {
  const wanted = Math.min(Math.max(Math.ceil(slots / batchSize), MIN_CONCURRENCY), most);
  if (current === undefined || current > most || wanted > current) return wanted;
  return wanted < current * LOWER_BELOW ? wanted : undefined;
}
