/** A worker thread of `threads.ts`: runs each simulation that it receives. */
import { parentPort } from 'node:worker_threads';
import { type Run, runSimulation } from './run.ts';

parentPort?.on('message', async (run: Run) => {
  try {
    parentPort?.postMessage({ result: await runSimulation(run) });
  } catch (error) {
    parentPort?.postMessage({ error });
  }
});
