import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Acts again and again, at intervals that differ as those of independent accidents do, until it is ended.
 * @param meanSeconds between two; 0 for never
 * @param random 0 up to 1
 */
export async function repeatedly(
  meanSeconds: number,
  act: () => void | Promise<void>,
  random: () => number,
  ended: AbortSignal,
): Promise<void> {
  while (meanSeconds > 0 && !ended.aborted) {
    const pauseMs = -Math.log(1 - random()) * meanSeconds * 1000;
    await sleep(pauseMs, undefined, { signal: ended }).catch(() => {});
    if (!ended.aborted) await act();
  }
}
