import { Batch, type BatchOptions, type BatchTotals } from './batch.ts';
import type { EngineRequest, Sequence } from './sequence.ts';

export interface EngineOptions extends Pick<BatchOptions, 'model' | 'maxSequences' | 'stepTokens' | 'blockTokens'> {
  /** How many times faster than the model's own pace it runs. */
  readonly speed: number;
}

/** What an engine has done for a request, in tokens. */
export interface Work {
  readonly promptTokens: number;
  /** Of the prompt: found in memory. */
  readonly cachedTokens: number;
  /** Of the prompt: computed. What was computed again after a preemption counts once. */
  readonly computedTokens: number;
  readonly generatedTokens: number;
}

/** A request that an engine is at work on. */
export interface Generation {
  /** What has been done for it by now. */
  readonly work: Work;
  /** Frees its place. Does nothing to one that has ended. */
  cancel(): void;
}

export interface GenerationOptions {
  /** Hears how many tokens there are by now, the last time when there are all of them. */
  readonly onTokens: (count: number) => void;
  /** Whether somebody reads along; else `onTokens` is called at the end only. */
  readonly streamed: boolean;
}

/** Milliseconds between looks at those that decode: a reader sees no difference, and a laptop stays cool. */
const LOOK_EVERY_MS = 25;

/** A batch that runs on this machine's clock. It does nothing while nothing happens. */
export class Engine {
  readonly #batch: Batch;
  readonly #speed: number;
  readonly #live = new Map<Sequence, GenerationOptions & { told: number }>();
  #timer: NodeJS.Timeout | undefined;
  #cancelled = 0;

  constructor({ speed, ...options }: EngineOptions) {
    this.#speed = speed;
    this.#batch = new Batch(options);
  }

  get running(): number {
    return this.#batch.running;
  }

  get waiting(): number {
    return this.#batch.waiting;
  }

  get memoryUse(): number {
    return this.#batch.memoryUse;
  }

  get totals(): Readonly<BatchTotals> {
    this.#batch.advance(this.#now());
    return this.#batch.totals;
  }

  /** Generations that were cancelled before their end. */
  get cancelled(): number {
    return this.#cancelled;
  }

  /** @throws RangeError when the request is larger than the memory */
  start(request: EngineRequest, options: GenerationOptions): Generation {
    const sequence = this.#batch.add(request, this.#now());
    this.#live.set(sequence, { ...options, told: 0 });
    this.#lookLater();
    const workOf = () => this.#workOf(sequence);
    return {
      get work() {
        return workOf();
      },
      cancel: () => {
        this.#batch.cancel(sequence, this.#now());
        if (sequence.state !== 'cancelled' || !this.#live.delete(sequence)) return;
        this.#cancelled += 1;
        this.#lookLater();
      },
    };
  }

  /** Stops its clock. */
  close(): void {
    clearTimeout(this.#timer);
    this.#live.clear();
  }

  #workOf(sequence: Sequence): Work {
    const { request, cachedTokens } = sequence;
    const { promptTokens } = request;
    return {
      promptTokens,
      cachedTokens,
      computedTokens: Math.max(0, Math.min(sequence.computedTokens, promptTokens) - cachedTokens),
      generatedTokens: this.#batch.countGenerated(sequence),
    };
  }

  /** Tells of the tokens that have come. */
  #look(): void {
    this.#batch.advance(this.#now());
    for (const [sequence, options] of this.#live) this.#tell(sequence, options);
    this.#lookLater();
  }

  /** Looks when there may be more tokens; at once when somebody has ended and wasn't told. */
  #lookLater(): void {
    clearTimeout(this.#timer);
    let inMs = (this.#batch.nextEventAt() - this.#now()) / this.#speed;
    for (const [{ state }, { streamed }] of this.#live) {
      if (state === 'decoding' && streamed) inMs = Math.min(inMs, LOOK_EVERY_MS);
      if (state === 'finished') inMs = 0;
    }
    // A timer that fires early by a fraction would find nothing, so a millisecond is the least.
    if (inMs < Number.POSITIVE_INFINITY) this.#timer = setTimeout(() => this.#look(), Math.max(1, Math.ceil(inMs)));
  }

  #tell(sequence: Sequence, options: GenerationOptions & { told: number }): void {
    const count = this.#batch.countGenerated(sequence);
    const ended = sequence.state === 'finished';
    if (ended) this.#live.delete(sequence);
    if (count === options.told || !(ended || options.streamed)) return;
    options.told = count;
    options.onTokens(count);
  }

  /** Milliseconds of the batch's clock. */
  #now(): number {
    return performance.now() * this.#speed;
  }
}
