import type { Work } from '../../../local/engine/engine.ts';

/** A request to a worker, and the work done for it. */
export interface EngineCall extends Work {
  /** Name of the worker's process: `gpu-2.3` is the third process at the address `gpu-2`. */
  readonly start: string;
  /** Number of the call within that process. */
  readonly call: number;
  /** Undefined for chat and probes. */
  readonly job: number | undefined;
  /** Epoch milliseconds. */
  readonly startedAt: number;
  /**
   * `whole`: the last token was sent; `closed`: the client closed the connection before; `dead`: the process died
   * before.
   */
  readonly end: 'whole' | 'closed' | 'dead';
  /** Epoch milliseconds. Undefined if the process died. */
  readonly endedAt: number | undefined;
}
