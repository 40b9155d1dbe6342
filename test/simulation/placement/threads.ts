import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { Run, RunResult } from './run.ts';

/** Runs simulations on all cores. */
export interface Threads extends AsyncDisposable {
  /** Runs a simulation, or returns the result of an equal earlier one. */
  run(run: Run): Promise<RunResult>;
}

type Answer = { readonly result: RunResult } | { readonly error: unknown };

/** Starts threads, four at most by default. */
export function startThreads(count = Math.min(4, availableParallelism())): Threads {
  const threads = Array.from({ length: count }, () => new Worker(new URL('./thread.ts', import.meta.url)));
  const idle = [...threads];
  const waiting: ((thread: Worker) => void)[] = [];
  const known = new Map<string, Promise<RunResult>>();

  async function runOnThread(run: Run): Promise<RunResult> {
    const thread = idle.pop() ?? (await new Promise<Worker>((resolve) => waiting.push(resolve)));
    const answer = await runOn(thread, run);
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

function runOn(thread: Worker, run: Run): Promise<Answer> {
  return new Promise((resolve, reject) => {
    thread.once('error', reject);
    thread.once('message', (answer: Answer) => {
      thread.off('error', reject);
      resolve(answer);
    });
    thread.postMessage(run);
  });
}
