import { createSeededRandom } from '../../../local/faults/random.ts';
import type { Trace, TraceRequest } from './trace.ts';

/** A request that arrives at a fleet, in simulated time. */
export type Arrival = TraceRequest;

/** How a trace is converted to load. */
export interface Load {
  /** Arrival rate as a multiple of the trace's. */
  readonly scale: number;
  /** True to spread arrivals over the rounding interval of the trace's times. */
  readonly jitter: boolean;
  /**
   * Number of concurrent copies of the trace, each with its own start and blocks: the load of a large fleet. Together
   * they have at most twice the trace's requests, so that a large fleet takes no longer to simulate.
   */
  readonly copies: number;
  readonly seed: number;
}

/** Workers per copy of a trace. */
const WORKERS_PER_COPY = 8;

/** Returns the number of copies of a trace that load a fleet as one copy loads a fleet of eight. */
export function countCopies(workers: number): number {
  return Math.max(1, Math.ceil(workers / WORKERS_PER_COPY));
}

/** Returns the requests that arrive, in order of time. */
export function generateArrivals(
  { requests, blockCount, tickMs }: Trace,
  { scale, jitter, copies, seed }: Load,
): Arrival[] {
  const random = createSeededRandom(seed);
  const spanMs = (requests.at(-1)?.atMs ?? 0) + tickMs;
  const requestsPerCopy = Math.ceil(requests.length * Math.min(1, 2 / copies));
  const made: Arrival[] = [];
  for (let copy = 0; copy < copies; copy++) {
    const start = Math.floor((copy * requests.length) / copies);
    const startMs = requests[start]?.atMs ?? 0;
    const toCopyBlock = (block: number) => block + copy * blockCount;
    for (let index = start; index < start + requestsPerCopy; index++) {
      const request = requests[index % requests.length];
      if (request === undefined) continue;
      const { atMs, blocks, ...lengths } = request;
      const sinceMs = atMs - startMs + (index < requests.length ? 0 : spanMs) + (jitter ? tickMs * random() : 0);
      made.push({ ...lengths, atMs: sinceMs / scale, blocks: copy === 0 ? blocks : blocks.map(toCopyBlock) });
    }
  }
  return made.sort((a, b) => a.atMs - b.atMs);
}
