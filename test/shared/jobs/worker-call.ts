import type { WorkerCall } from '../../../shared/jobs/worker-ports.ts';
import { HOUR_MS, START } from './jobs.ts';

/** Returns a call of a worker in an invocation that has just begun, in an environment that runs nothing else. */
export function makeWorkerCall(changes: Partial<WorkerCall> = {}): WorkerCall {
  return {
    shutdown: new AbortController().signal,
    deadlineAt: START + HOUR_MS,
    isWhole: () => true,
    runAlone: (run) => run(),
    mayHide: () => true,
    ...changes,
  };
}
