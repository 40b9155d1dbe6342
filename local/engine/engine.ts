import { Batch, type BatchOptions, type BatchTotals } from './batch.ts';
import type { EngineRequest, Sequence } from './sequence.ts';

export interface EngineOptions extends Pick<BatchOptions, 'model' | 'maxSequences' | 'stepTokens' | 'blockTokens'> {
  /** Factor by which the engine is faster than its step model. */
  readonly speed: number;
}

/** The tokens that an engine has processed for a request. */
export interface Work {
  readonly promptTokens: number;
  /** Prompt tokens that were cached. */
  readonly cachedTokens: number;
  /** Prompt tokens that were computed. Tokens that were computed again after a preemption count once. */
  readonly computedTokens: number;
  readonly generatedTokens: number;
}

/** A request that an engine runs. */
export interface Generation {
  /** The work up to now. */
  readonly work: Work;
  /** Stops the request. Does nothing if it has ended. */
  cancel(): void;
}

export interface GenerationOptions {
  /** Called with the number of tokens generated so far. The last call has all of them. */
  readonly onTokens: (count: number) => void;
  /** If false, `onTokens` is called at the end only. */
  readonly streamed: boolean;
}

/**
 * Milliseconds between polls of decoding sequences: too short for a reader to notice, and long enough to keep the CPU
 * idle.
 */
const POLL_MS = 25;

type LiveOptions = GenerationOptions & { reportedTokens: number };

/** Runs a batch on this machine's clock. It uses no CPU between events. */
export class Engine {
  readonly #batch: Batch;
  readonly #speed: number;
  readonly #live = new Map<Sequence, LiveOptions>();
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

  /** Number of requests that were cancelled before their end. */
  get cancelled(): number {
    return this.#cancelled;
  }

  /**
   * Starts a request.
   * @throws RangeError if it is larger than the memory
   */
  start(request: EngineRequest, options: GenerationOptions): Generation {
    const sequence = this.#batch.add(request, this.#now());
    this.#live.set(sequence, { ...options, reportedTokens: 0 });
    this.#schedulePoll();
    const measureWork = () => this.#measureWork(sequence);
    return {
      get work() {
        return measureWork();
      },
      cancel: () => {
        this.#batch.cancel(sequence, this.#now());
        if (sequence.state !== 'cancelled' || !this.#live.delete(sequence)) return;
        this.#cancelled += 1;
        this.#schedulePoll();
      },
    };
  }

  /** Stops all requests without reporting anything. */
  close(): void {
    clearTimeout(this.#timer);
    this.#live.clear();
  }

  #measureWork(sequence: Sequence): Work {
    const { request, cachedTokens } = sequence;
    const { promptTokens } = request;
    return {
      promptTokens,
      cachedTokens,
      computedTokens: Math.max(0, Math.min(sequence.computedTokens, promptTokens) - cachedTokens),
      generatedTokens: this.#batch.countGenerated(sequence),
    };
  }

  #poll(): void {
    this.#batch.advance(this.#now());
    for (const [sequence, options] of this.#live) this.#report(sequence, options);
    this.#schedulePoll();
  }

  /**
   * Schedules the next poll for when there may be new tokens, or at once if a finished sequence was not reported yet.
   */
  #schedulePoll(): void {
    clearTimeout(this.#timer);
    let inMs = (this.#batch.nextEventAt() - this.#now()) / this.#speed;
    for (const [{ state }, { streamed }] of this.#live) {
      if (state === 'decoding' && streamed) inMs = Math.min(inMs, POLL_MS);
      if (state === 'finished') inMs = 0;
    }
    // At least a millisecond: a timer that fires a fraction too early would find no change.
    if (inMs < Number.POSITIVE_INFINITY) this.#timer = setTimeout(() => this.#poll(), Math.max(1, Math.ceil(inMs)));
  }

  #report(sequence: Sequence, options: LiveOptions): void {
    const count = this.#batch.countGenerated(sequence);
    const isFinished = sequence.state === 'finished';
    if (isFinished) this.#live.delete(sequence);
    if (count === options.reportedTokens || !(isFinished || options.streamed)) return;
    options.reportedTokens = count;
    options.onTokens(count);
  }

  /** Milliseconds on the batch's clock. */
  #now(): number {
    return performance.now() * this.#speed;
  }
}
