import type { Block, CacheMemory } from './cache-memory.ts';
import type { HeapElement } from './heap.ts';

/** What is asked of an engine. */
export interface EngineRequest {
  readonly promptTokens: number;
  /** Tokens that it will answer with, at least 1: whoever asks knows the answer's length beforehand. */
  readonly outputTokens: number;
  /** Lower ones run first; 0 when absent. */
  readonly priority?: number;
  /**
   * Names of its full blocks from the start of the prompt, each for all the text up to its end: equal names mean equal
   * beginnings. They may go on into the answer. Nothing is found again of a request that has none.
   */
  readonly blocks?: readonly number[];
}

/**
 * - `waiting`: nothing of it is in memory, or no more of it than of anybody's;
 * - `prefilling`: its prompt is being computed, chunk by chunk;
 * - `decoding`: it gets a token with each step;
 * - `finished`, `cancelled`.
 */
export type SequenceState = 'waiting' | 'prefilling' | 'decoding' | 'finished' | 'cancelled';

/** A request on its way through an engine. Only its batch writes it. */
export class Sequence<Request extends EngineRequest = EngineRequest> implements HeapElement {
  readonly request: Request;
  readonly arrivedAt: number;
  readonly priority: number;
  /** Which of all requests of its batch it was. */
  readonly order: number;
  state: SequenceState = 'waiting';
  /** Prompt tokens that it found in memory when it was first taken up. */
  cachedTokens = 0;
  firstTokenAt: number | undefined;
  finishedAt: number | undefined;
  /** How often it had to give its memory to others, and begin its prompt anew. */
  preemptions = 0;

  /** Tokens it had when it began to decode; before that, those that a preemption left it. */
  generatedTokens = 0;
  /** Count of the batch's decode steps when it began to decode, and when it will have its last token. */
  joinedAtStep = 0;
  lastStep = 0;
  /** Tokens to be in memory before the next token can come, those that are, and those of the chunk under way. */
  targetTokens: number;
  computedTokens = 0;
  chunkTokens = 0;
  heapIndex = -1;
  /** Blocks that it uses with others, and tokens in memory that are its own. */
  #blocks: Block[] = [];
  #ownTokens = 0;

  constructor(request: Request, arrivedAt: number, order: number) {
    this.request = request;
    this.arrivedAt = arrivedAt;
    this.priority = request.priority ?? 0;
    this.order = order;
    this.targetTokens = request.promptTokens;
  }

  /** Takes as much of what is left of a step's tokens as it has use for, and says how much that is. */
  assignChunk(left: number): number {
    this.chunkTokens = Math.min(left, this.targetTokens - this.computedTokens);
    return this.chunkTokens;
  }

  /**
   * Takes the memory for its target, in which what others computed of it is found again. False when there is not enough.
   * @param reservedTokens that have to stay available
   */
  allocate(memory: CacheMemory, reservedTokens: number): boolean {
    const { blocks = [] } = this.request;
    // A token has to be computed for the next one to come of it.
    const found = memory.countCachedBlocks(blocks, Math.floor((this.targetTokens - 1) / memory.blockTokens));
    const needed = this.targetTokens - found * memory.blockTokens;
    if (needed + memory.unheldTokens(blocks, found) + reservedTokens > memory.availableTokens) return false;
    for (const id of blocks.slice(0, found)) this.#blocks.push(memory.hold(id));
    memory.allocate(needed);
    this.#ownTokens = needed;
    this.computedTokens = found * memory.blockTokens;
    return true;
  }

  /** Lets others find its full blocks up to `tokens`, which must be computed. */
  shareBlocks(memory: CacheMemory, tokens: number): void {
    const { blocks = [] } = this.request;
    const full = Math.floor(tokens / memory.blockTokens);
    for (const id of blocks.slice(this.#blocks.length, full)) {
      this.#blocks.push(memory.share(id));
      this.#ownTokens -= memory.blockTokens;
    }
  }

  /**
   * Gives all its memory back. What it shared stays, to be found again.
   * @param decodedTokens that were taken for it since `occupy`
   */
  free(memory: CacheMemory, decodedTokens: number): void {
    memory.release(this.#blocks, this.#ownTokens + decodedTokens);
    this.#blocks = [];
    this.#ownTokens = 0;
  }
}

/** Whether `a` is taken up before `b`: by priority, then by who came first. */
export function isBefore(a: Sequence, b: Sequence): boolean {
  return a.priority === b.priority ? a.order < b.order : a.priority < b.priority;
}
