import { CacheMemory } from './cache-memory.ts';
import { DecodingSet } from './decoding-set.ts';
import { Heap } from './heap.ts';
import { type EngineRequest, isBefore, Sequence } from './sequence.ts';
import { computeStepMs, countHalfPairs, type StepModel } from './step-model.ts';

export interface BatchOptions<Request extends EngineRequest = EngineRequest> {
  readonly model: StepModel;
  /** Maximum number of sequences that run at once; vLLM's `--max-num-seqs`. */
  readonly maxSequences: number;
  /**
   * Maximum tokens of one step, prefill chunks and decoding together; vLLM's `--max-num-batched-tokens`. Must be more
   * than `maxSequences`.
   */
  readonly stepTokens: number;
  /** Tokens of a block of the prefix cache. */
  readonly blockTokens: number;
  /** Called when a sequence has its first token. */
  readonly onFirstToken?: (sequence: Sequence<Request>, at: number) => void;
  /** Called when a sequence has its last token and has left the batch. */
  readonly onFinished?: (sequence: Sequence<Request>, at: number) => void;
}

/** Sums over the life of a batch. */
export interface BatchTotals {
  promptTokens: number;
  /** The part of `promptTokens` that was cached. */
  cachedTokens: number;
  generatedTokens: number;
  /** Tokens of sequences that were cancelled during the step that generated them. */
  generatedAfterCancel: number;
  preemptions: number;
  /** Tokens that were computed again after preemptions. */
  recomputedTokens: number;
  /** Milliseconds during which a step ran. */
  busyMs: number;
}

/**
 * An engine with continuous batching and vLLM's scheduling. Each step gives one token to every decoding sequence and
 * spends the rest of its tokens on chunks of prompts. Waiting sequences are admitted by priority while there are slots
 * and memory. If memory runs out, the latest sequence is preempted: it loses its memory and its prompt is computed
 * again.
 *
 * The batch has no timer. It computes only when `add`, `cancel` or `advance` is called with the current time, in
 * milliseconds of any clock that never goes back. A run of identical steps is computed in one calculation, so the cost
 * does not depend on the simulated time or the batch's size.
 */
export class Batch<Request extends EngineRequest = EngineRequest> {
  readonly #options: BatchOptions<Request>;
  readonly #memory: CacheMemory;
  readonly #waiting = new Heap<Sequence<Request>>(isBefore);
  readonly #decoding: DecodingSet<Request>;
  #prefilling: Sequence<Request>[] = [];
  /** End of the last step that has ended. */
  #clock = 0;
  /** End of the current step; undefined when idle. */
  #stepEndsAt: number | undefined;
  /** True if there was no memory for the next waiting sequence. Stays true until a sequence leaves or is added. */
  #blocked = false;
  #added = 0;
  /** Sequences that got their first or last token in the ending step, and must be reported. */
  #started: Sequence<Request>[] = [];
  #finished: Sequence<Request>[] = [];
  readonly totals: BatchTotals = {
    promptTokens: 0,
    cachedTokens: 0,
    generatedTokens: 0,
    generatedAfterCancel: 0,
    preemptions: 0,
    recomputedTokens: 0,
    busyMs: 0,
  };

  constructor(options: BatchOptions<Request>) {
    if (options.stepTokens <= options.maxSequences) throw new RangeError('stepTokens must be more than maxSequences');
    this.#options = options;
    this.#memory = new CacheMemory(options.model.cacheTokens, options.blockTokens);
    this.#decoding = new DecodingSet(options.model);
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  get running(): number {
    return this.#prefilling.length + this.#decoding.size;
  }

  /** Share of the memory that running sequences hold, 0 to 1. */
  get memoryUse(): number {
    return this.#memory.heldTokens / this.#options.model.cacheTokens;
  }

  /** Returns the number of blocks from a prompt's start that are in memory. */
  countCachedBlocks(blocks: readonly number[]): number {
    return this.#memory.countCachedBlocks(blocks, blocks.length);
  }

  /** Returns true if a request fits into the empty memory. */
  fits({ promptTokens, outputTokens }: EngineRequest): boolean {
    return promptTokens + outputTokens <= this.#options.model.cacheTokens;
  }

  /** Returns the prompt tokens that would be cached if the request were admitted now. */
  countCachedTokens({ promptTokens, blocks = [] }: EngineRequest): number {
    const { blockTokens } = this.#options;
    return this.#memory.countCachedBlocks(blocks, Math.floor((promptTokens - 1) / blockTokens)) * blockTokens;
  }

  /**
   * Adds a request.
   * @throws RangeError if it does not fit into the memory or has no output tokens
   */
  add(request: Request, now: number): Sequence<Request> {
    if (!this.fits(request) || request.outputTokens < 1) throw new RangeError('The request does not fit the engine');
    this.advance(now);
    this.#clock = this.#stepEndsAt === undefined ? now : this.#clock;
    this.#added += 1;
    const sequence = new Sequence(request, now, this.#added);
    this.#waiting.push(sequence);
    this.#blocked = false;
    this.advance(now);
    return sequence;
  }

  /** Cancels a sequence and frees its memory at once. Does nothing if it has ended. */
  cancel(sequence: Sequence<Request>, now: number): void {
    this.advance(now);
    if (sequence.state === 'finished' || sequence.state === 'cancelled') return;
    if (this.#getsTokenInThisStep(sequence)) this.totals.generatedAfterCancel += 1;
    this.#remove(sequence);
    sequence.state = 'cancelled';
    sequence.finishedAt = now;
  }

  /** Returns the tokens that a sequence had generated at the time last passed to the batch. */
  countGenerated(sequence: Sequence<Request>): number {
    const decoded = sequence.state === 'decoding' ? this.#decoding.countDecodedTokens(sequence) : 0;
    return sequence.generatedTokens + decoded;
  }

  /**
   * Returns a time before which no event happens unless a request is added or cancelled; infinity when idle. There may
   * be no event at exactly that time.
   */
  nextEventAt(): number {
    const ends = this.#stepEndsAt;
    if (ends === undefined) return Number.POSITIVE_INFINITY;
    const { size, contextTokens } = this.#decoding;
    if (this.#prefilling.length > 0 || size === 0 || this.#canAdmit()) return ends;
    return ends + this.#decoding.computeDurationMs(this.#countIdenticalSteps() - 1, contextTokens + size);
  }

  /** Runs all steps that end by `now` and reports their events in order. */
  advance(now: number): void {
    for (;;) {
      if (this.#stepEndsAt === undefined) {
        if (this.#waiting.size + this.running === 0) return;
        this.#beginStep(now);
      } else if (this.#stepEndsAt <= now) this.#endStep(this.#stepEndsAt);
      else return;
    }
  }

  /** Begins a step, or skips all steps up to `now` that are identical. */
  #beginStep(now: number): void {
    this.#ensureMemory();
    this.#assignChunks(this.#options.stepTokens - this.#decoding.size);
    if (this.#prefilling.length > 0) {
      let [tokens, halfPairs] = [this.#decoding.size, 0];
      for (const { chunkTokens, computedTokens } of this.#prefilling) {
        tokens += chunkTokens;
        halfPairs += countHalfPairs(chunkTokens, computedTokens);
      }
      this.#stepEndsAt =
        this.#clock + computeStepMs(this.#options.model, tokens, this.#decoding.contextTokens, halfPairs);
    } else if (!this.#skipSteps(now)) this.#stepEndsAt = this.#computeEndOfSteps(1);
  }

  /** Ensures memory for one more token of each decoding sequence, by preempting the latest sequences. */
  #ensureMemory(): void {
    while (this.#memory.availableTokens < this.#decoding.size) {
      let last: Sequence<Request> | undefined;
      for (const each of this.#decoding.values()) if (!last || isBefore(last, each)) last = each;
      for (const each of this.#prefilling) if (!last || isBefore(last, each)) last = each;
      if (last !== undefined) this.#preempt(last);
    }
  }

  #preempt(sequence: Sequence<Request>): void {
    this.#remove(sequence);
    sequence.state = 'waiting';
    sequence.targetTokens = sequence.request.promptTokens + sequence.generatedTokens;
    sequence.preemptions += 1;
    this.totals.preemptions += 1;
    this.#waiting.push(sequence);
  }

  /** Assigns a step's tokens to prompts: first to prefilling sequences, then to waiting ones. */
  #assignChunks(budget: number): void {
    let left = budget;
    for (const sequence of this.#prefilling) left -= sequence.assignChunk(left);
    while (left > 0 && this.#canAdmit()) {
      const next = this.#waiting.first;
      if (next === undefined) return;
      this.#blocked = !this.#admit(next);
      if (!this.#blocked) left -= next.assignChunk(left);
    }
  }

  #canAdmit(): boolean {
    return this.#waiting.size > 0 && !this.#blocked && this.running < this.#options.maxSequences;
  }

  /** Admits a waiting sequence. Returns false if there is no memory for it. */
  #admit(sequence: Sequence<Request>): boolean {
    if (!sequence.allocate(this.#memory, this.#decoding.size)) return false;
    this.#waiting.remove(sequence);
    sequence.state = 'prefilling';
    this.#prefilling.push(sequence);
    if (sequence.preemptions > 0) {
      this.totals.recomputedTokens += sequence.targetTokens - sequence.computedTokens;
      return true;
    }
    sequence.cachedTokens = sequence.computedTokens;
    this.totals.promptTokens += sequence.request.promptTokens;
    this.totals.cachedTokens += sequence.cachedTokens;
    return true;
  }

  /** Runs all steps that end by `now` and only decode. Returns false if there is none. */
  #skipSteps(now: number): boolean {
    let [steps, beyond] = [0, this.#countIdenticalSteps() + 1];
    // Finds the number of steps that end by now: tries all of them first, then bisects.
    let guess = beyond - 1;
    while (beyond - steps > 1) {
      if (this.#computeEndOfSteps(guess) <= now) steps = guess;
      else beyond = guess;
      guess = (steps + beyond) >> 1;
    }
    if (steps === 0) return false;
    const at = this.#computeEndOfSteps(steps);
    this.totals.busyMs += at - this.#clock;
    this.#clock = at;
    this.#decode(steps);
    this.#report(at);
    return true;
  }

  /** Returns the number of coming steps, at least 1, until a sequence finishes or memory runs out at a step's end. */
  #countIdenticalSteps(): number {
    const room = Math.floor(this.#memory.availableTokens / this.#decoding.size);
    return Math.max(1, Math.min(this.#decoding.stepsToDone, room));
  }

  /** Returns the time at which `steps` steps that only decode end. */
  #computeEndOfSteps(steps: number): number {
    return this.#clock + this.#decoding.computeDurationMs(steps, this.#decoding.contextTokens);
  }

  /** Ends the current step. */
  #endStep(at: number): void {
    this.totals.busyMs += at - this.#clock;
    this.#clock = at;
    this.#stepEndsAt = undefined;
    this.#decode(1);
    const computed = this.#prefilling;
    this.#prefilling = [];
    for (const sequence of computed) {
      sequence.computedTokens += sequence.chunkTokens;
      sequence.shareBlocks(this.#memory, Math.min(sequence.computedTokens, sequence.request.promptTokens));
      if (sequence.computedTokens < sequence.targetTokens) this.#prefilling.push(sequence);
      else this.#startDecoding(sequence, at);
    }
    this.#report(at);
  }

  #decode(steps: number): void {
    const tokens = this.#decoding.size * steps;
    this.#memory.allocate(tokens);
    this.#decoding.advance(steps);
    this.totals.generatedTokens += tokens;
    for (let next = this.#decoding.done; next !== undefined; next = this.#decoding.done) this.#finish(next);
  }

  /** Moves a sequence whose prompt is computed to decoding. It has its first token. */
  #startDecoding(sequence: Sequence<Request>, at: number): void {
    sequence.state = 'decoding';
    sequence.generatedTokens += 1;
    this.totals.generatedTokens += 1;
    this.#decoding.join(sequence);
    if (sequence.firstTokenAt === undefined) {
      sequence.firstTokenAt = at;
      this.#started.push(sequence);
    }
    if (sequence.generatedTokens === sequence.request.outputTokens) this.#finish(sequence);
  }

  #finish(sequence: Sequence<Request>): void {
    const { promptTokens, outputTokens } = sequence.request;
    this.#remove(sequence, promptTokens + outputTokens - 1);
    sequence.state = 'finished';
    sequence.finishedAt = this.#clock;
    this.#finished.push(sequence);
  }

  /**
   * Removes a sequence from its queue or set and frees its memory.
   * @param sharedTokens tokens of its text to share with later sequences
   */
  #remove(sequence: Sequence<Request>, sharedTokens = 0): void {
    let decodedTokens = 0;
    if (sequence.state === 'waiting') this.#waiting.remove(sequence);
    if (sequence.state === 'prefilling') this.#prefilling = this.#prefilling.filter((each) => each !== sequence);
    if (sequence.state === 'decoding') {
      decodedTokens = this.#decoding.countDecodedTokens(sequence);
      this.#decoding.leave(sequence);
      sequence.shareBlocks(this.#memory, sharedTokens);
    }
    sequence.free(this.#memory, decodedTokens);
    this.#blocked = false;
  }

  #getsTokenInThisStep({ state, computedTokens, chunkTokens, targetTokens }: Sequence<Request>): boolean {
    if (this.#stepEndsAt === undefined) return false;
    return state === 'decoding' || (state === 'prefilling' && computedTokens + chunkTokens === targetTokens);
  }

  /** Calls the callbacks. They may add and cancel requests, so they run after the step is complete. */
  #report(at: number): void {
    const [started, finished] = [this.#started, this.#finished];
    if (started.length + finished.length === 0) return;
    this.#started = [];
    this.#finished = [];
    for (const sequence of started) this.#options.onFirstToken?.(sequence, at);
    for (const sequence of finished) this.#options.onFinished?.(sequence, at);
  }
}
