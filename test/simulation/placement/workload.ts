import { seededRandom } from '../../../local/faults/random.ts';
import type { Trace, TraceRequest } from './trace.ts';

/** A request as it arrives at a fleet, at a time of the simulation. */
export type Arrival = TraceRequest;

/** How a trace becomes load. */
export interface Load {
  /** By how much faster than in the trace requests come. */
  readonly scale: number;
  /** Spread over the ticks that the trace's times stand on. */
  readonly jitter: boolean;
  /**
   * So many of it at once, each beginning at another place of it and with blocks of its own: a large fleet's load. Together
   * they have no more than twice the trace's requests, so that a large fleet takes no longer to simulate, only less of its time.
   */
  readonly copies: number;
  readonly seed: number;
}

/** Workers that one copy of a trace is for. */
const WORKERS_PER_COPY = 8;

/** Copies of a trace that keep a fleet of so many workers as busy as one of eight, or of fewer, is with one. */
export function copiesFor(workers: number): number {
  return Math.max(1, Math.ceil(workers / WORKERS_PER_COPY));
}

/** The requests that come, in the order in which they do. */
export function arrivals({ requests, blockCount, tickMs }: Trace, { scale, jitter, copies, seed }: Load): Arrival[] {
  const random = seededRandom(seed);
  const spanMs = (requests.at(-1)?.atMs ?? 0) + tickMs;
  const each = Math.ceil(requests.length * Math.min(1, 2 / copies));
  const made: Arrival[] = [];
  for (let copy = 0; copy < copies; copy++) {
    const start = Math.floor((copy * requests.length) / copies);
    const startMs = requests[start]?.atMs ?? 0;
    const ofThisCopy = (block: number) => block + copy * blockCount;
    for (let index = start; index < start + each; index++) {
      const request = requests[index % requests.length];
      if (request === undefined) continue;
      const { atMs, blocks, ...lengths } = request;
      const sinceMs = atMs - startMs + (index < requests.length ? 0 : spanMs) + (jitter ? tickMs * random() : 0);
      made.push({ ...lengths, atMs: sinceMs / scale, blocks: copy === 0 ? blocks : blocks.map(ofThisCopy) });
    }
  }
  return made.sort((a, b) => a.atMs - b.atMs);
}
