/** A clock that stands still while code runs, and jumps to the next sleeper's time when all code waits. */
export interface VirtualTime {
  /** Epoch milliseconds. */
  readonly now: () => number;
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>;
  /** Lets time pass until `running` has settled, and returns its result. */
  runUntilSettled<T>(running: Promise<T>): Promise<T>;
  /** Lets `ms` milliseconds pass. */
  pass(ms: number): Promise<void>;
}

/** @param start epoch milliseconds */
export function createVirtualTime(start: number): VirtualTime {
  let time = start;
  const sleepers = new Set<{ readonly at: number; readonly wake: () => void }>();
  const runPendingCode = () => new Promise<void>((resolve) => setImmediate(resolve));

  /** @returns false if no sleeper is due by `until` */
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
    async runUntilSettled(running) {
      let done = false;
      const observed = running.finally(() => {
        done = true;
      });
      observed.catch(() => {});
      for (await runPendingCode(); !done; await runPendingCode()) {
        if (!wakeNext(Number.POSITIVE_INFINITY)) throw new Error('All code waits, and no sleeper is left to wake');
      }
      return observed;
    },
    async pass(ms) {
      const until = time + ms;
      do await runPendingCode();
      while (wakeNext(until));
      time = until;
    },
  };
}
