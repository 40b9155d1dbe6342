import { setTimeout as sleepFor } from 'node:timers/promises';

/** A heartbeat that was started. */
export interface Heartbeat {
  /** Ends it. Resolves when a beat that is under way has ended. */
  stop(): Promise<void>;
}

/** Resolves after `ms`, or as soon as `signal` aborts. */
export type Sleep = (ms: number, signal: AbortSignal) => Promise<void>;

/**
 * Calls `beat` after a pause, and again after each pause that it returns, until it returns undefined or the heartbeat is stopped.
 * Renews a lease: the policy, such as what a failed renewal means, is the caller's.
 * @param firstPauseMs until the first beat
 * @param beat returns the milliseconds until the next beat, or undefined for none. It must not reject
 * @param sleep by default on real time, without keeping the process alive
 */
export function startHeartbeat(
  firstPauseMs: number,
  beat: () => Promise<number | undefined>,
  sleep: Sleep = sleepInBackground,
): Heartbeat {
  const stopped = new AbortController();
  const beats = sendBeats();

  async function sendBeats(): Promise<void> {
    let pauseMs: number | undefined = firstPauseMs;
    while (pauseMs !== undefined && !stopped.signal.aborted) {
      await sleep(pauseMs, stopped.signal);
      if (!stopped.signal.aborted) pauseMs = await beat();
    }
  }

  return {
    async stop() {
      // A text as the reason: the default one is an error, and making its stack costs more than the rest.
      stopped.abort('stopped');
      await beats;
    },
  };
}

function sleepInBackground(ms: number, signal: AbortSignal): Promise<void> {
  return sleepFor(ms, undefined, { signal, ref: false }).catch(() => {});
}
