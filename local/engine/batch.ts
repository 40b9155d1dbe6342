import { CacheMemory } from './cache-memory.ts';
import { DecodingSet } from './decoding-set.ts';
import { Heap } from './heap.ts';
import { type EngineRequest, isBefore, Sequence } from './sequence.ts';
import { computeStepMs, countHalfPairs, type StepModel } from './step-model.ts';

export interface BatchOptions<Request extends EngineRequest = EngineRequest> {
  readonly model: StepModel;
  /** Sequences that run at once; vLLM's `--max-num-seqs`. */
  readonly maxSequences: number;
  /** Tokens of one step, prefill chunks and decoding together; vLLM's `--max-num-batched-tokens`. More than `maxSequences`. */
  readonly stepTokens: number;
  /** Tokens of a block, by which beginnings of prompts are found again. */
  readonly blockTokens: number;
  /** A sequence has its first token. */
  readonly onFirstToken?: (sequence: Sequence<Request>, at: number) => void;
  /** A sequence has its last token, and its place is free. */
  readonly onFinished?: (sequence: Sequence<Request>, at: number) => void;
}

/** Sums over the life of a batch. */
export interface BatchTotals {
  promptTokens: number;
  /** Of `promptTokens`, those that were in memory. */
  cachedTokens: number;
  generatedTokens: number;
  /** Tokens of a step that was under way when their sequence was cancelled. */
  generatedAfterCancel: number;
  preemptions: number;
  /** Tokens that were computed once more because of them. */
  recomputedTokens: number;
  /** Milliseconds that it computed. */
  busyMs: number;
}

/**
 * An engine with continuous batching, as vLLM schedules it: each step gives one token to every sequence that decodes, and
 * spends what is left of the step's tokens on prompts, in chunks; who waits is taken up by priority when there is a place and
 * memory; when memory runs out in the middle, who came last gives theirs and begins anew.
 *
 * It computes nothing but time, which is passed in: `add`, `cancel` and `advance` take the time of now, never an earlier one
 * than before, in milliseconds of any clock. Between events it leaps over steps that are alike, so that time in it costs
 * nothing, whatever the batch.
 */
export class Batch<Request extends EngineRequest = EngineRequest> {
  readonly #options: BatchOptions<Request>;
  readonly #memory: CacheMemory;
  readonly #waiting = new Heap<Sequence<Request>>(isBefore);
  readonly #decoding: DecodingSet<Request>;
  #prefilling: Sequence<Request>[] = [];
  /** The end of the last step that has ended. */
  #clock = 0;
  /** The end of the step under way; none when idle. */
  #stepEndsAt: number | undefined;
  /** Whether whoever is next found no memory: it stays so until somebody leaves. */
  #blocked = false;
  #added = 0;
  /** Who got their first or last token in the step that ends, and is to be told of. */
  #begun: Sequence<Request>[] = [];
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

  /** How many of a prompt's blocks are in memory, from its start. */
  countCachedBlocks(blocks: readonly number[]): number {
    return this.#memory.countCachedBlocks(blocks, blocks.length);
  }

  /** Whether a request has room in memory when it is alone. */
  fits({ promptTokens, outputTokens }: EngineRequest): boolean {
    return promptTokens + outputTokens <= this.#options.model.cacheTokens;
  }

  /** Tokens of a request's prompt that it would find in memory, were it taken up now. */
  countCachedTokens({ promptTokens, blocks = [] }: EngineRequest): number {
    const { blockTokens } = this.#options;
    return this.#memory.countCachedBlocks(blocks, Math.floor((promptTokens - 1) / blockTokens)) * blockTokens;
  }

  /**
   * Takes a request.
   * @throws RangeError when it doesn't fit, or asks for no token
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

  /** Frees what a sequence holds, at once. Does nothing to one that has ended. */
  cancel(sequence: Sequence<Request>, now: number): void {
    this.advance(now);
    if (sequence.state === 'finished' || sequence.state === 'cancelled') return;
    if (this.#getsTokenInThisStep(sequence)) this.totals.generatedAfterCancel += 1;
    this.#withdraw(sequence);
    sequence.state = 'cancelled';
    sequence.finishedAt = now;
  }

  /** Tokens that a sequence has, at the time that was last passed in. */
  countGenerated(sequence: Sequence<Request>): number {
    const decoded = sequence.state === 'decoding' ? this.#decoding.decodedTokens(sequence) : 0;
    return sequence.generatedTokens + decoded;
  }

  /**
   * The next time at which something may happen, if nothing is added or cancelled before; infinity when idle. Something may
   * turn out to be nothing.
   */
  nextEventAt(): number {
    const ends = this.#stepEndsAt;
    if (ends === undefined) return Number.POSITIVE_INFINITY;
    const { size, contextTokens } = this.#decoding;
    if (this.#prefilling.length > 0 || size === 0 || this.#mayAdmit()) return ends;
    return ends + this.#decoding.durationMs(this.#alikeSteps() - 1, contextTokens + size);
  }

  /** Ends all steps that end by `now`, and tells of what happened in them, in order. */
  advance(now: number): void {
    for (;;) {
      if (this.#stepEndsAt === undefined) {
        if (this.#waiting.size + this.running === 0) return;
        this.#begin(now);
      } else if (this.#stepEndsAt <= now) this.#end(this.#stepEndsAt);
      else return;
    }
  }

  /** Begins a step; or, if those until `now` are alike, leaps over them. */
  #begin(now: number): void {
    this.#makeRoom();
    this.#handOut(this.#options.stepTokens - this.#decoding.size);
    if (this.#prefilling.length > 0) {
      let [tokens, halfPairs] = [this.#decoding.size, 0];
      for (const { chunkTokens, computedTokens } of this.#prefilling) {
        tokens += chunkTokens;
        halfPairs += countHalfPairs(chunkTokens, computedTokens);
      }
      this.#stepEndsAt =
        this.#clock + computeStepMs(this.#options.model, tokens, this.#decoding.contextTokens, halfPairs);
    } else if (!this.#leap(now)) this.#stepEndsAt = this.#decodingUntil(1);
  }

  /** Sees to it that each sequence that decodes has memory for one more token. */
  #makeRoom(): void {
    while (this.#memory.availableTokens < this.#decoding.size) {
      let last: Sequence<Request> | undefined;
      for (const each of this.#decoding.values()) if (!last || isBefore(last, each)) last = each;
      for (const each of this.#prefilling) if (!last || isBefore(last, each)) last = each;
      if (last !== undefined) this.#preempt(last);
    }
  }

  #preempt(sequence: Sequence<Request>): void {
    this.#withdraw(sequence);
    sequence.state = 'waiting';
    sequence.targetTokens = sequence.request.promptTokens + sequence.generatedTokens;
    sequence.preemptions += 1;
    this.totals.preemptions += 1;
    this.#waiting.push(sequence);
  }

  /** Gives a step's tokens to prompts: first to those that have begun, then to those that wait. */
  #handOut(budget: number): void {
    let left = budget;
    for (const sequence of this.#prefilling) left -= sequence.assignChunk(left);
    while (left > 0 && this.#mayAdmit()) {
      const next = this.#waiting.first;
      if (next === undefined) return;
      this.#blocked = !this.#takeUp(next);
      if (!this.#blocked) left -= next.assignChunk(left);
    }
  }

  #mayAdmit(): boolean {
    return this.#waiting.size > 0 && !this.#blocked && this.running < this.#options.maxSequences;
  }

  /** Begins with a waiting sequence's prompt. False when there is no memory for it. */
  #takeUp(sequence: Sequence<Request>): boolean {
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

  /** Ends all steps that end by `now` and in which nothing happens but decoding. False when not even one does. */
  #leap(now: number): boolean {
    let [steps, beyond] = [0, this.#alikeSteps() + 1];
    // The most that end by now: first a guess that they all do, then halves.
    let guess = beyond - 1;
    while (beyond - steps > 1) {
      if (this.#decodingUntil(guess) <= now) steps = guess;
      else beyond = guess;
      guess = (steps + beyond) >> 1;
    }
    if (steps === 0) return false;
    const at = this.#decodingUntil(steps);
    this.totals.busyMs += at - this.#clock;
    this.#clock = at;
    this.#decode(steps);
    this.#tell(at);
    return true;
  }

  /** Steps from here on, at least 1, at the end of none but the last of which somebody is finished or memory runs out. */
  #alikeSteps(): number {
    const room = Math.floor(this.#memory.availableTokens / this.#decoding.size);
    return Math.max(1, Math.min(this.#decoding.stepsToDone, room));
  }

  /** When so many steps of nothing but decoding end. */
  #decodingUntil(steps: number): number {
    return this.#clock + this.#decoding.durationMs(steps, this.#decoding.contextTokens);
  }

  /** Ends the step under way. */
  #end(at: number): void {
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
      else this.#join(sequence, at);
    }
    this.#tell(at);
  }

  #decode(steps: number): void {
    const tokens = this.#decoding.size * steps;
    this.#memory.allocate(tokens);
    this.#decoding.advance(steps);
    this.totals.generatedTokens += tokens;
    for (let next = this.#decoding.done; next !== undefined; next = this.#decoding.done) this.#finish(next);
  }

  /** The prompt is computed, and a token with it: from now on each step brings one. */
  #join(sequence: Sequence<Request>, at: number): void {
    sequence.state = 'decoding';
    sequence.generatedTokens += 1;
    this.totals.generatedTokens += 1;
    this.#decoding.join(sequence);
    if (sequence.firstTokenAt === undefined) {
      sequence.firstTokenAt = at;
      this.#begun.push(sequence);
    }
    if (sequence.generatedTokens === sequence.request.outputTokens) this.#finish(sequence);
  }

  #finish(sequence: Sequence<Request>): void {
    const { promptTokens, outputTokens } = sequence.request;
    this.#withdraw(sequence, promptTokens + outputTokens - 1);
    sequence.state = 'finished';
    sequence.finishedAt = this.#clock;
    this.#finished.push(sequence);
  }

  /**
   * Takes a sequence out of wherever it is.
   * @param sharedTokens of its text that others may find from now on
   */
  #withdraw(sequence: Sequence<Request>, sharedTokens = 0): void {
    let decodedTokens = 0;
    if (sequence.state === 'waiting') this.#waiting.remove(sequence);
    if (sequence.state === 'prefilling') this.#prefilling = this.#prefilling.filter((each) => each !== sequence);
    if (sequence.state === 'decoding') {
      decodedTokens = this.#decoding.decodedTokens(sequence);
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

  /** Only now that all is as it is after the step: who is told may add and cancel. */
  #tell(at: number): void {
    const [begun, finished] = [this.#begun, this.#finished];
    if (begun.length + finished.length === 0) return;
    this.#begun = [];
    this.#finished = [];
    for (const sequence of begun) this.#options.onFirstToken?.(sequence, at);
    for (const sequence of finished) this.#options.onFinished?.(sequence, at);
  }
}
