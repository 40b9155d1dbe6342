import { setTimeout as sleep } from 'node:timers/promises';

/** Milliseconds between two looks. */
const INTERVAL_MS = 20;
/** Below the time limit of a test, so that the failure names what did not happen. */
const LONGEST_MS = 100_000;

/**
 * Waits until `look` returns something truthy, and returns it. There is no shorter limit than the test's own: a busy
 * machine makes things slow, not wrong.
 * @param what the awaited state, for the error message
 * @throws Error naming `what` if it does not come about
 */
export async function waitUntil<T>(
  what: string,
  look: () => T | Promise<T>,
): Promise<Exclude<T, undefined | null | false | 0 | ''>> {
  const until = performance.now() + LONGEST_MS;
  for (;;) {
    const found = await look();
    if (found) return found as Exclude<T, undefined | null | false | 0 | ''>;
    if (performance.now() > until) throw new Error(`${what}: not after ${LONGEST_MS / 1000} s`);
    await sleep(INTERVAL_MS);
  }
}
