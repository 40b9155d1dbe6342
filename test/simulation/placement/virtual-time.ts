/** A moment that has been asked for; without its action once it has been taken off. */
interface Moment {
  readonly at: number;
  /** Moments of one time come in the order in which they were asked for. */
  readonly order: number;
  action: Action | undefined;
}

/** Something that is done at a time. What it rejects with ends the run. */
type Action = () => void | Promise<void>;

/**
 * A clock that stands still while code runs and jumps to what comes next when all of it waits. Code that knows nothing of
 * it (promises, with its `sleep` for a pause) runs on it as on a real one, hours in a second, and always the same way.
 */
export interface VirtualTime {
  /** Milliseconds since the start. */
  now(): number;
  /** Does something at a time, now at the earliest. Returns what takes it off again. */
  at(ms: number, action: Action): () => void;
  /** Resolves after `ms`, or as soon as `signal` aborts. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** Lets promises that have been settled by hand be acted upon before time goes on. */
  settled(): void;
  /**
   * Runs until nothing is left to come.
   * @throws what an action threw or rejected with
   */
  run(): Promise<void>;
}

/** A clock at 0. */
export function createVirtualTime(): VirtualTime {
  const heap: Moment[] = [];
  let now = 0;
  let asked = 0;
  let isSettling = false;
  let failure: { readonly thrown: unknown } | undefined;

  const at = (ms: number, action: Action) => {
    const moment: Moment = { at: Math.max(now, ms), order: asked++, action };
    push(heap, moment);
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
          await allSettled();
        }
        if (failure !== undefined) throw failure.thrown;
        const next = pop(heap);
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

/** Returns once everything has run that promises had ready: immediates come after all microtasks. */
function allSettled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function isBefore(a: Moment, b: Moment): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}

function push(heap: Moment[], moment: Moment): void {
  let index = heap.length;
  heap.push(moment);
  while (index > 0) {
    const parent = (index - 1) >> 1;
    const above = heap[parent];
    if (above === undefined || !isBefore(moment, above)) break;
    heap[index] = above;
    index = parent;
  }
  heap[index] = moment;
}

function pop(heap: Moment[]): Moment | undefined {
  const first = heap[0];
  const last = heap.pop();
  if (last === undefined || heap.length === 0) return first;
  let index = 0;
  for (;;) {
    let child = 2 * index + 1;
    let below = heap[child];
    const other = heap[child + 1];
    if (below !== undefined && other !== undefined && isBefore(other, below)) {
      child += 1;
      below = other;
    }
    if (below === undefined || !isBefore(below, last)) break;
    heap[index] = below;
    index = child;
  }
  heap[index] = last;
  return first;
}
