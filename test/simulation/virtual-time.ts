import { Heap } from './heap.ts';

/** A scheduled action. */
interface ScheduledAction {
  readonly at: number;
  /** Actions of the same time run in the order of scheduling. */
  readonly order: number;
  /** Undefined once cancelled. */
  action: Action | undefined;
}

/** An action. Its rejection ends the run. */
type Action = () => void | Promise<void>;

/**
 * A clock that stands still while code runs, and jumps to the next action when all code waits. Asynchronous code that
 * waits with `sleep` runs as on a real clock, but hours take a second and every run is the same.
 */
export interface VirtualTime {
  /** Milliseconds since the start. */
  now(): number;
  /** Schedules an action at `ms`, or now if that is past. Returns a function that cancels the action. */
  at(ms: number, action: Action): () => void;
  /** Resolves after `ms`, or as soon as `signal` aborts. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** Lets the code that waits for settled promises run before time advances. Call it after settling a promise. */
  settled(): void;
  /**
   * Runs until no action is left.
   * @throws whatever an action throws
   */
  run(): Promise<void>;
}

/** Creates a clock at 0. */
export function createVirtualTime(): VirtualTime {
  const heap = new Heap<ScheduledAction>(isBefore);
  let now = 0;
  let scheduledCount = 0;
  let isSettling = false;
  let failure: { readonly thrown: unknown } | undefined;

  const at = (ms: number, action: Action) => {
    const moment: ScheduledAction = { at: Math.max(now, ms), order: scheduledCount++, action };
    heap.push(moment);
    return () => {
      moment.action = undefined;
    };
  };
  return {
    now: () => now,
    at,
    sleep(ms, signal) {
      return new Promise((resolve) => {
        if (signal?.aborted) return resolve();
        const onAbort = () => {
          cancel();
          isSettling = true;
          resolve();
        };
        const cancel = at(now + ms, () => {
          signal?.removeEventListener('abort', onAbort);
          isSettling = true;
          resolve();
        });
        signal?.addEventListener('abort', onAbort, { once: true });
      });
    },
    settled() {
      isSettling = true;
    },
    async run() {
      for (;;) {
        if (isSettling) {
          isSettling = false;
          await runMicrotasks();
        }
        if (failure !== undefined) throw failure.thrown;
        const next = heap.pop();
        if (next === undefined) return;
        if (next.action === undefined) continue;
        now = next.at;
        const running = next.action();
        if (!(running instanceof Promise)) continue;
        isSettling = true;
        running.catch((thrown: unknown) => {
          failure ??= { thrown };
        });
      }
    },
  };
}

/** Resolves after all ready microtasks, because immediates run after them. */
function runMicrotasks(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function isBefore(a: ScheduledAction, b: ScheduledAction): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}
