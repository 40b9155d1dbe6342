import type { Block, CacheMemory } from './cache-memory.ts';
import type { HeapElement } from './heap.ts';

/** A request to an engine. */
export interface EngineRequest {
  readonly promptTokens: number;
  /** Number of tokens to generate, at least 1. The length of a stand-in's answer is known beforehand. */
  readonly outputTokens: number;
  /** Lower priorities run first. Default 0. */
  readonly priority?: number;
  /**
   * Ids of the full blocks from the start of the prompt. Each id stands for the whole text up to the block's end, so
   * equal ids mean equal prefixes. They may extend into the answer. Without them nothing of the request is cached.
   */
  readonly blocks?: readonly number[];
}

/**
 * - `waiting`: the sequence holds no memory;
 * - `prefilling`: its prompt is being computed in chunks;
 * - `decoding`: it gets a token in each step;
 * - `finished`, `cancelled`.
 */
export type SequenceState = 'waiting' | 'prefilling' | 'decoding' | 'finished' | 'cancelled';

/** A request in an engine. Only the engine's batch changes it. */
export class Sequence<Request extends EngineRequest = EngineRequest> implements HeapElement {
  readonly request: Request;
  readonly arrivedAt: number;
  readonly priority: number;
  /** Position among all requests of the batch, by arrival. */
  readonly order: number;
  state: SequenceState = 'waiting';
  /** Prompt tokens that were cached when the sequence was first admitted. */
  cachedTokens = 0;
  firstTokenAt: number | undefined;
  finishedAt: number | undefined;
  /** Number of preemptions. In each the sequence lost its memory, so that its prompt was computed again. */
  preemptions = 0;

  /** Generated tokens. While the sequence decodes, those since it joined the `DecodingSet` are not included. */
  generatedTokens = 0;
  /**
   * The batch's count of decode steps when this sequence began to decode, and the count at which it gets its last
   * token.
   */
  joinedAtStep = 0;
  lastStep = 0;
  /** Tokens that must be in memory before the next token can be generated. */
  targetTokens: number;
  /** Tokens of the target that are in memory. */
  computedTokens = 0;
  /** Tokens of the target that the current step computes. */
  chunkTokens = 0;
  heapIndex = -1;
  /** Blocks that it shares with other sequences. */
  #blocks: Block[] = [];
  /** Tokens in memory that only this sequence holds. */
  #ownTokens = 0;

  constructor(request: Request, arrivedAt: number, order: number) {
    this.request = request;
    this.arrivedAt = arrivedAt;
    this.priority = request.priority ?? 0;
    this.order = order;
    this.targetTokens = request.promptTokens;
  }

  /**
   * Sets the chunk of the current step.
   * @param budget tokens that are left of the step
   * @returns the chunk's tokens
   */
  assignChunk(budget: number): number {
    this.chunkTokens = Math.min(budget, this.targetTokens - this.computedTokens);
    return this.chunkTokens;
  }

  /**
   * Allocates memory for the target and holds the part of it that is cached.
   * @param reservedTokens tokens that must stay available
   * @returns false if there is not enough memory
   */
  allocate(memory: CacheMemory, reservedTokens: number): boolean {
    const { blocks = [] } = this.request;
    // At least one token must be computed, because the next token comes from its result.
    const cached = memory.countCachedBlocks(blocks, Math.floor((this.targetTokens - 1) / memory.blockTokens));
    const needed = this.targetTokens - cached * memory.blockTokens;
    if (needed + memory.countUnheldTokens(blocks, cached) + reservedTokens > memory.availableTokens) return false;
    for (const id of blocks.slice(0, cached)) this.#blocks.push(memory.hold(id));
    memory.allocate(needed);
    this.#ownTokens = needed;
    this.computedTokens = cached * memory.blockTokens;
    return true;
  }

  /** Shares its full blocks up to `tokens`, which must be computed. */
  shareBlocks(memory: CacheMemory, tokens: number): void {
    const { blocks = [] } = this.request;
    const full = Math.floor(tokens / memory.blockTokens);
    for (const id of blocks.slice(this.#blocks.length, full)) {
      this.#blocks.push(memory.share(id));
      this.#ownTokens -= memory.blockTokens;
    }
  }

  /**
   * Releases all its memory. Blocks that it shared stay cached.
   * @param decodedTokens tokens that were allocated for it since `allocate`
   */
  free(memory: CacheMemory, decodedTokens: number): void {
    memory.release(this.#blocks, this.#ownTokens + decodedTokens);
    this.#blocks = [];
    this.#ownTokens = 0;
  }
}

/** Returns true if `a` is admitted before `b`: by priority, then by arrival. */
export function isBefore(a: Sequence, b: Sequence): boolean {
  return a.priority === b.priority ? a.order < b.order : a.priority < b.priority;
}
