/** A thread of `startPlacementThreads`. */
import { serveThread } from '../threads.ts';
import { runSimulation } from './run.ts';

serveThread(runSimulation);
