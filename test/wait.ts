import { setTimeout as sleep } from 'node:timers/promises';

/** Pause between two calls of `look`. */
const INTERVAL_MS = 20;
/** Shorter than the time limit of a test, so that the failure names the awaited state. */
const LONGEST_MS = 300_000;

/**
 * Waits until `look` returns a truthy value, and returns that value. The only limit is close to the test's own, because
 * a busy machine is slow but not wrong.
 * @param what the awaited state as a sentence, for the error message
 * @throws Error that names `what` if the state isn't reached in time
 */
export async function waitUntil<T>(
  what: string,
  look: () => T | Promise<T>,
): Promise<Exclude<T, undefined | null | false | 0 | ''>> {
  const until = performance.now() + LONGEST_MS;
  for (;;) {
    const found = await look();
    if (found) return found as Exclude<T, undefined | null | false | 0 | ''>;
    if (performance.now() > until) throw new Error(`Not true after ${LONGEST_MS / 1000} s: ${what}`);
    await sleep(INTERVAL_MS);
  }
}

const SPANS_MS = { hour: 3_600_000, day: 86_400_000 };

/**
 * Waits for the next hour or day in UTC if less than `neededMs` milliseconds of this one are left. What a test then does in that
 * time is counted together where the service counts by the hour, the day or the month.
 */
export async function stayWithin(span: keyof typeof SPANS_MS, neededMs = 30_000): Promise<void> {
  const leftMs = SPANS_MS[span] - (Date.now() % SPANS_MS[span]);
  // A timer may end a little early.
  if (leftMs < neededMs) await sleep(leftMs + 100);
}
