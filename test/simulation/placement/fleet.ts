import { Batch, type BatchTotals } from '../../../local/engine/batch.ts';
import type { EngineRequest, Sequence } from '../../../local/engine/sequence.ts';
import type { StepModel } from '../../../local/engine/step-model.ts';
import type { VirtualTime } from '../virtual-time.ts';
import { BLOCK_TOKENS } from './trace.ts';

/** Settings of a fleet's engines. */
export interface EngineSettings {
  readonly model: StepModel;
  /** vLLM's `--max-num-batched-tokens`. */
  readonly stepTokens: number;
  /** vLLM's `--max-num-seqs`. */
  readonly maxSequences: number;
}

/** A request to a worker, with callbacks. */
export interface Work extends EngineRequest {
  readonly blocks: readonly number[];
  /** Called at the first token, with the number of prompt tokens found in the cache. */
  onFirstToken(cachedTokens: number): void;
  onEnd(): void;
}

/** A worker on virtual time: the local engine, with the state that a policy with exact knowledge reads. */
export class SimulatedWorker {
  readonly index: number;
  readonly #batch: Batch<Work>;
  readonly #time: VirtualTime;
  /** Requests that have no token yet, and the number of their prompt tokens that were not cached on arrival. */
  readonly #unbegun = new Map<Sequence<Work>, number>();
  #wakesAt = Number.POSITIVE_INFINITY;
  #cancelWake = () => {};

  constructor(index: number, time: VirtualTime, engine: EngineSettings) {
    this.index = index;
    this.#time = time;
    this.#batch = new Batch<Work>({
      ...engine,
      blockTokens: BLOCK_TOKENS,
      onFirstToken: (sequence) => {
        this.#unbegun.delete(sequence);
        sequence.request.onFirstToken(sequence.cachedTokens);
      },
      onFinished: ({ request }) => request.onEnd(),
    });
  }

  get totals(): BatchTotals {
    return this.#batch.totals;
  }

  /** Number of the worker's unfinished requests. */
  get requests(): number {
    return this.#batch.waiting + this.#batch.running;
  }

  /** Number of requests that wait inside the engine. */
  get waiting(): number {
    return this.#batch.waiting;
  }

  /** Share of its memory that sequences use, from 0 to 1. */
  get memoryUse(): number {
    return this.#batch.memoryUse;
  }

  /** Prompt tokens of the requests that have no token yet, cached or not. */
  get promptTokens(): number {
    let tokens = 0;
    for (const { request } of this.#unbegun.keys()) tokens += request.promptTokens;
    return tokens;
  }

  /** Prompt tokens still to be computed. */
  get uncomputedTokens(): number {
    let tokens = 0;
    for (const [{ state, targetTokens, computedTokens }, uncached] of this.#unbegun)
      tokens += state === 'waiting' ? uncached : targetTokens - computedTokens;
    return tokens;
  }

  /** Returns how many tokens of a prompt are in the worker's cache. */
  cachedTokens({ blocks, promptTokens }: Pick<Work, 'blocks' | 'promptTokens'>): number {
    return Math.min(this.#batch.countCachedBlocks(blocks) * BLOCK_TOKENS, promptTokens - 1);
  }

  submit(work: Work): void {
    const uncached = work.promptTokens - this.cachedTokens(work);
    this.#unbegun.set(this.#batch.add(work, this.#time.now()), uncached);
    this.#plan();
  }

  /** Schedules the engine's next event on the virtual clock. */
  #plan(): void {
    const at = this.#batch.nextEventAt();
    if (at === this.#wakesAt) return;
    this.#cancelWake();
    this.#wakesAt = at;
    if (at === Number.POSITIVE_INFINITY) return;
    this.#cancelWake = this.#time.at(at, () => {
      this.#wakesAt = Number.POSITIVE_INFINITY;
      this.#batch.advance(this.#time.now());
      this.#plan();
    });
  }
}

/** Creates identical workers. */
export function createFleet(size: number, time: VirtualTime, engine: EngineSettings): SimulatedWorker[] {
  return Array.from({ length: size }, (_, index) => new SimulatedWorker(index, time, engine));
}
