import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Calls `act` at exponentially distributed intervals, as independent faults occur, until `ended` aborts.
 * @param meanSeconds mean interval; 0 for never
 * @param random 0 up to 1
 */
export async function repeatRandomly(
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
