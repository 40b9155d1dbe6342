import { Batch, type BatchTotals } from '../../../local/engine/batch.ts';
import type { EngineRequest, Sequence } from '../../../local/engine/sequence.ts';
import type { StepModel } from '../../../local/engine/step-model.ts';
import { BLOCK_TOKENS } from './trace.ts';
import type { VirtualTime } from './virtual-time.ts';

/** How the engines of a fleet are set up. */
export interface EngineSettings {
  readonly model: StepModel;
  /** vLLM's `--max-num-batched-tokens`. */
  readonly stepTokens: number;
  /** vLLM's `--max-num-seqs`. */
  readonly maxSequences: number;
}

/** What a worker is given to do. */
export interface Work extends EngineRequest {
  readonly blocks: readonly number[];
  /** The first token has come; so many of the prompt's were found in the cache. */
  onFirstToken(cachedTokens: number): void;
  onEnd(): void;
}

/** A worker on virtual time: the laptop's engine, and what a scheduler with perfect knowledge would see of it. */
export class SimulatedWorker {
  readonly index: number;
  readonly #batch: Batch<Work>;
  readonly #time: VirtualTime;
  /** Those without a token yet, with the prompt tokens that were not cached when they came. */
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

  /** Requests that it has. */
  get requests(): number {
    return this.#batch.waiting + this.#batch.running;
  }

  /** Those of them that wait inside it. */
  get waiting(): number {
    return this.#batch.waiting;
  }

  /** Share of its memory that sequences hold, 0 to 1. */
  get memoryUse(): number {
    return this.#batch.memoryUse;
  }

  /** Prompt tokens of requests that have no token yet, whatever is cached of them. */
  get promptTokens(): number {
    let tokens = 0;
    for (const { request } of this.#unbegun.keys()) tokens += request.promptTokens;
    return tokens;
  }

  /** Prompt tokens that it has yet to compute. */
  get uncomputedTokens(): number {
    let tokens = 0;
    for (const [{ state, targetTokens, computedTokens }, uncached] of this.#unbegun)
      tokens += state === 'waiting' ? uncached : targetTokens - computedTokens;
    return tokens;
  }

  /** Prompt tokens that it has in its cache. */
  cachedTokens({ blocks, promptTokens }: Pick<Work, 'blocks' | 'promptTokens'>): number {
    return Math.min(this.#batch.countCachedBlocks(blocks) * BLOCK_TOKENS, promptTokens - 1);
  }

  submit(work: Work): void {
    const uncached = work.promptTokens - this.cachedTokens(work);
    this.#unbegun.set(this.#batch.add(work, this.#time.now()), uncached);
    this.#plan();
  }

  /** Sees to it that time stops where something happens in the engine. */
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

/** Workers that are all alike. */
export function createFleet(size: number, time: VirtualTime, engine: EngineSettings): SimulatedWorker[] {
  return Array.from({ length: size }, (_, index) => new SimulatedWorker(index, time, engine));
}
