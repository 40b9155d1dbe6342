import { Heap } from './heap.ts';
import type { EngineRequest, Sequence } from './sequence.ts';
import { computeStepMs, type StepModel } from './step-model.ts';

/**
 * The sequences that get a token in each step. The set counts steps instead of each sequence's tokens, so that
 * advancing it costs the same for any number of sequences and steps.
 */
export class DecodingSet<Request extends EngineRequest> {
  readonly #model: StepModel;
  readonly #sequences = new Heap<Sequence<Request>>((a, b) => a.lastStep < b.lastStep);
  #steps = 0;
  #contextTokens = 0;

  constructor(model: StepModel) {
    this.#model = model;
  }

  get size(): number {
    return this.#sequences.size;
  }

  /** Tokens in the contexts of all sequences together. */
  get contextTokens(): number {
    return this.#contextTokens;
  }

  /** Returns all sequences, in undefined order. */
  values(): Iterable<Sequence<Request>> {
    return this.#sequences.values();
  }

  /** Adds a sequence. Its `generatedTokens` must include the token that came with its prompt. */
  join(sequence: Sequence<Request>): void {
    sequence.joinedAtStep = this.#steps;
    sequence.lastStep = this.#steps + sequence.request.outputTokens - sequence.generatedTokens;
    this.#contextTokens += sequence.request.promptTokens + sequence.generatedTokens;
    this.#sequences.push(sequence);
  }

  /** Returns the tokens that a sequence got since it joined. */
  countDecodedTokens({ joinedAtStep }: Sequence<Request>): number {
    return this.#steps - joinedAtStep;
  }

  /** Removes a sequence and adds the tokens that it got to its `generatedTokens`. */
  leave(sequence: Sequence<Request>): void {
    sequence.generatedTokens += this.countDecodedTokens(sequence);
    this.#contextTokens -= sequence.request.promptTokens + sequence.generatedTokens;
    this.#sequences.remove(sequence);
  }

  /** Gives each sequence `steps` tokens. */
  advance(steps: number): void {
    this.#steps += steps;
    this.#contextTokens += this.size * steps;
  }

  /** A sequence that has its last token; undefined if there is none. */
  get done(): Sequence<Request> | undefined {
    const { first } = this.#sequences;
    return first !== undefined && first.lastStep <= this.#steps ? first : undefined;
  }

  /** Steps until the next sequence has its last token; infinity for an empty set. */
  get stepsToDone(): number {
    const { lastStep = Number.POSITIVE_INFINITY } = this.#sequences.first ?? {};
    return lastStep - this.#steps;
  }

  /**
   * Returns the duration of `steps` steps without any prefill, in milliseconds.
   * @param contextTokens of the first step; they grow with each step
   */
  computeDurationMs(steps: number, contextTokens: number): number {
    const meanGrowth = (this.size * (steps - 1)) / 2;
    return steps * computeStepMs(this.#model, this.size, contextTokens + meanGrowth, 0);
  }
}
