import { Heap } from './heap.ts';
import type { EngineRequest, Sequence } from './sequence.ts';
import { computeStepMs, type StepModel } from './step-model.ts';

/**
 * The sequences that get a token with each step. It counts steps and not tokens, so that a step costs the same whatever
 * their number, and any number of steps costs what one does.
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

  /** Contexts of all, together. */
  get contextTokens(): number {
    return this.#contextTokens;
  }

  /** In no order. */
  values(): Iterable<Sequence<Request>> {
    return this.#sequences.values();
  }

  /** Takes one in whose `generatedTokens` include the one that its prompt brought. */
  join(sequence: Sequence<Request>): void {
    sequence.joinedAtStep = this.#steps;
    sequence.lastStep = this.#steps + sequence.request.outputTokens - sequence.generatedTokens;
    this.#contextTokens += sequence.request.promptTokens + sequence.generatedTokens;
    this.#sequences.push(sequence);
  }

  /** Tokens that a sequence got since it joined. */
  decodedTokens({ joinedAtStep }: Sequence<Request>): number {
    return this.#steps - joinedAtStep;
  }

  /** Takes one out, and adds to its tokens those that it got. */
  leave(sequence: Sequence<Request>): void {
    sequence.generatedTokens += this.decodedTokens(sequence);
    this.#contextTokens -= sequence.request.promptTokens + sequence.generatedTokens;
    this.#sequences.remove(sequence);
  }

  /** Gives each a token for each of `steps` steps. */
  advance(steps: number): void {
    this.#steps += steps;
    this.#contextTokens += this.size * steps;
  }

  /** One that has its last token; undefined when there is none. */
  get done(): Sequence<Request> | undefined {
    const { first } = this.#sequences;
    return first !== undefined && first.lastStep <= this.#steps ? first : undefined;
  }

  /** Steps until one has its last token; infinity without any. */
  get stepsToDone(): number {
    const { lastStep = Number.POSITIVE_INFINITY } = this.#sequences.first ?? {};
    return lastStep - this.#steps;
  }

  /**
   * Milliseconds of `steps` steps in which nothing else is done.
   * @param contextTokens of the first of them; they grow with each
   */
  durationMs(steps: number, contextTokens: number): number {
    const grown = (this.size * (steps - 1)) / 2;
    return steps * computeStepMs(this.#model, this.size, contextTokens + grown, 0);
  }
}
