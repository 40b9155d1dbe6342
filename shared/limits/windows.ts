/** The spans of time for which usage is counted, in UTC. `now` has no end: it counts what is in flight. */
export type Span = 'minute' | 'day' | 'month' | 'now';

export const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;

/**
 * Returns the id of the window of a span: its first letter and the number of the minute or day since 1970, or the month.
 * @param at epoch milliseconds
 */
export function getWindow(span: Span, at: number): string {
  switch (span) {
    case 'minute':
      return `m${Math.floor(at / MINUTE_MS)}`;
    case 'day':
      return `d${Math.floor(at / DAY_MS)}`;
    case 'month':
      return `y${new Date(at).toISOString().slice(0, 7)}`;
    case 'now':
      return 'now';
  }
}

/** Returns the epoch milliseconds at which a window ends; infinity for `now`. */
export function getWindowEnd(window: string): number {
  const rest = window.slice(1);
  switch (window[0]) {
    case 'm':
      return (Number(rest) + 1) * MINUTE_MS;
    case 'd':
      return (Number(rest) + 1) * DAY_MS;
    case 'y': {
      const [year = '', month = ''] = rest.split('-');
      return Date.UTC(Number(year), Number(month));
    }
    default:
      return Number.POSITIVE_INFINITY;
  }
}

/** Clocks differ, and a request may take a moment: counters of a window stay for so long after its end. */
const GRACE_MS = 60_000;

/** True if no request counts in the window any more, whatever its clock. */
export function isPast(window: string, now: number): boolean {
  return getWindowEnd(window) + GRACE_MS < now;
}
