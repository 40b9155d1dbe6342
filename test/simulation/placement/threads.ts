import { startThreads, type Threads } from '../threads.ts';
import type { Run, RunResult } from './run.ts';

export type PlacementThreads = Threads<Run, RunResult>;

/** Starts threads that simulate placement. */
export function startPlacementThreads(): PlacementThreads {
  return startThreads(new URL('./thread.ts', import.meta.url));
}
