import type { KeyRecord } from './keys.ts';

const DAY_MS = 86_400_000;
/** How long before a key expires it is reported, once a day. */
const WARNING_DAYS = 7;

/** Returns the day (`2027-01-31`) of a time in epoch milliseconds. */
export function getDay(time: number): string {
  return new Date(time).toISOString().slice(0, 10);
}

/**
 * Returns the day (`2027-01-31`) for which it must be recorded that a key expires soon.
 * @param now epoch milliseconds
 * @returns undefined if the key expires later, or if that was recorded for the day
 */
export function getWarningDay({ expiresAt, warnedOn }: KeyRecord, now: number): string | undefined {
  if (expiresAt === undefined || expiresAt * 1000 - now > WARNING_DAYS * DAY_MS) return undefined;
  const day = getDay(now);
  return warnedOn === day ? undefined : day;
}

/** Lists the days on which the keys expire that are reported at `now`. */
export function listWarnedDays(now: number): string[] {
  return Array.from({ length: WARNING_DAYS + 1 }, (_, days) => getDay(now + days * DAY_MS));
}
