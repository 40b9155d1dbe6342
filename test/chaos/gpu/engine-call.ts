import type { Work } from '../../../local/engine/engine.ts';

/** A request that a worker got, and what it did for it. */
export interface EngineCall extends Work {
  /** Name of the worker's process: `gpu-2.3` is the third that served at the address `gpu-2`. */
  readonly start: string;
  /** Which of that process's calls it was. */
  readonly call: number;
  /** Undefined for what is no job's: chat, and probes. */
  readonly job: number | undefined;
  /** Epoch milliseconds. */
  readonly begunAt: number;
  /** `whole`: sent to its last token; `closed`: its client went away before; `dead`: the process did. */
  readonly end: 'whole' | 'closed' | 'dead';
  /** Epoch milliseconds; undefined of one that died with its process. */
  readonly endedAt: number | undefined;
}
