/** A thread of the benchmark `backlog`. */
import { serveThread } from '../../test/simulation/threads.ts';
import { simulateCell } from './simulate-cell.ts';

serveThread(simulateCell);
