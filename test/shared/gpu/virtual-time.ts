/** A clock that stands still until everything that can happen has happened, and then goes to the next thing that sleeps. */
export interface VirtualTime {
  /** Epoch milliseconds. */
  readonly now: () => number;
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>;
  /** Lets time pass until `running` has settled. */
  during<T>(running: Promise<T>): Promise<T>;
  /** Lets so much time pass. */
  pass(ms: number): Promise<void>;
}

export function virtualTime(start: number): VirtualTime {
  let time = start;
  const sleepers = new Set<{ readonly at: number; readonly wake: () => void }>();
  const settled = () => new Promise<void>((resolve) => setImmediate(resolve));

  /** @returns whether there was somebody to wake by then */
  function wakeNext(until: number): boolean {
    const [first] = [...sleepers].sort((a, b) => a.at - b.at);
    if (first === undefined || first.at > until) return false;
    time = Math.max(time, first.at);
    first.wake();
    return true;
  }

  return {
    now: () => time,
    sleep(ms, signal) {
      return new Promise((resolve) => {
        const sleeper = { at: time + ms, wake: () => wake() };
        const wake = (): void => {
          sleepers.delete(sleeper);
          signal.removeEventListener('abort', wake);
          resolve();
        };
        if (signal.aborted) return resolve();
        signal.addEventListener('abort', wake);
        sleepers.add(sleeper);
      });
    },
    async during(running) {
      let done = false;
      const watched = running.finally(() => {
        done = true;
      });
      watched.catch(() => {});
      for (await settled(); !done; await settled()) {
        if (!wakeNext(Number.POSITIVE_INFINITY)) throw new Error('Nothing is left to happen');
      }
      return watched;
    },
    async pass(ms) {
      const until = time + ms;
      do await settled();
      while (wakeNext(until));
      time = until;
    },
  };
}
