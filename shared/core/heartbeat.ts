import { setTimeout as sleepFor } from 'node:timers/promises';

/** A running heartbeat. */
export interface Heartbeat {
  /** Stops the heartbeat. Resolves when a beat in progress has ended. */
  stop(): Promise<void>;
}

/** Resolves after `ms`, or as soon as `signal` aborts. */
export type Sleep = (ms: number, signal: AbortSignal) => Promise<void>;

/**
 * Calls `beat` after a pause, and again after each pause that it returns, until it returns undefined or the heartbeat
 * is stopped. Leases are renewed with it; the caller decides what a failed renewal means.
 * @param firstPauseMs milliseconds until the first beat
 * @param beat returns the milliseconds until the next beat, or undefined to stop. Must not reject
 * @param sleep default: real time, without keeping the process alive
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
      // The default reason is an Error, whose stack trace costs more than everything else here.
      stopped.abort('stopped');
      await beats;
    },
  };
}

/** Sleeps in real time, without keeping the process alive. */
export function sleepInBackground(ms: number, signal: AbortSignal): Promise<void> {
  return sleepFor(ms, undefined, { signal, ref: false }).catch(() => {});
}
