import { availableParallelism } from 'node:os';
import { parentPort, Worker } from 'node:worker_threads';

/** Runs simulations on all cores. */
export interface Threads<Run, Result> extends AsyncDisposable {
  /** Runs a simulation, or returns the result of an equal earlier one. */
  run(run: Run): Promise<Result>;
}

type Answer<Result> = { readonly result: Result } | { readonly error: unknown };

/**
 * Starts threads, four at most by default.
 * @param file the threads' code, which passes a function to `serveThread`
 */
export function startThreads<Run, Result>(
  file: URL,
  count = Math.min(4, availableParallelism()),
): Threads<Run, Result> {
  const threads = Array.from({ length: count }, () => new Worker(file));
  const idle = [...threads];
  const waiting: ((thread: Worker) => void)[] = [];
  const known = new Map<string, Promise<Result>>();

  async function runOnThread(run: Run): Promise<Result> {
    const thread = idle.pop() ?? (await new Promise<Worker>((resolve) => waiting.push(resolve)));
    const answer = await runOn<Result>(thread, run);
    const next = waiting.shift();
    if (next === undefined) idle.push(thread);
    else next(thread);
    if ('error' in answer) throw answer.error;
    return answer.result;
  }
  return {
    run(run) {
      const key = JSON.stringify(run);
      const before = known.get(key);
      if (before !== undefined) return before;
      const running = runOnThread(run);
      known.set(key, running);
      return running;
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(threads.map((thread) => thread.terminate()));
    },
  };
}

function runOn<Result>(thread: Worker, run: unknown): Promise<Answer<Result>> {
  return new Promise((resolve, reject) => {
    thread.once('error', reject);
    thread.once('message', (answer: Answer<Result>) => {
      thread.off('error', reject);
      resolve(answer);
    });
    thread.postMessage(run);
  });
}

/** Answers the requests to this thread. A thread serves one at a time. */
export function serveThread<Run, Result>(run: (request: Run) => Promise<Result>): void {
  parentPort?.on('message', async (request: Run) => {
    try {
      parentPort?.postMessage({ result: await run(request) });
    } catch (error) {
      parentPort?.postMessage({ error });
    }
  });
}
