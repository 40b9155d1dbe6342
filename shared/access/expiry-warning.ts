import type { KeyRecord } from './keys.ts';

/** How long before a key expires its use is logged, once a day. */
const WARNING_SECONDS = 7 * 86_400;

/**
 * Returns the day (`2027-01-31`) for which it must be recorded that a key expires soon.
 * @param now epoch milliseconds
 * @returns undefined if the key expires later, or if that was recorded for the day
 */
export function getWarningDay({ expiresAt, warnedOn }: KeyRecord, now: number): string | undefined {
  if (expiresAt === undefined || expiresAt * 1000 - now > WARNING_SECONDS * 1000) return undefined;
  const day = new Date(now).toISOString().slice(0, 10);
  return warnedOn === day ? undefined : day;
}
