/** A block of a prompt whose keys and values are in memory. */
export interface Block {
  readonly id: number;
  /** Number of sequences that hold it. At 0 it stays cached until its memory is needed. */
  holders: number;
  older: Block | undefined;
  newer: Block | undefined;
}

/**
 * An engine's memory for keys and values, counted in tokens. It contains the tokens that single sequences hold, blocks
 * that sequences share, and cached blocks without a holder, which a later sequence with the same prefix can hold again.
 * The cached block that was unused the longest is evicted first. The memory that paging wastes, less than a block per
 * sequence, is not modelled.
 */
export class CacheMemory {
  readonly blockTokens: number;
  readonly #capacityTokens: number;
  readonly #blocks = new Map<number, Block>();
  #heldTokens = 0;
  #unheldBlocks = 0;
  #oldest: Block | undefined;
  #newest: Block | undefined;

  constructor(capacityTokens: number, blockTokens: number) {
    this.#capacityTokens = capacityTokens;
    this.blockTokens = blockTokens;
  }

  /** Tokens that sequences hold. Shared blocks count once. */
  get heldTokens(): number {
    return this.#heldTokens;
  }

  /** Tokens of cached blocks without a holder. */
  get unheldTokens(): number {
    return this.#unheldBlocks * this.blockTokens;
  }

  /** Tokens that can be allocated, evicting cached blocks if necessary. */
  get availableTokens(): number {
    return this.#capacityTokens - this.#heldTokens;
  }

  /** Returns the number of blocks at the start of `chain` that are in memory, at most `most`. */
  countCachedBlocks(chain: readonly number[], most: number): number {
    let count = 0;
    for (const id of chain) {
      if (count >= most || !this.#blocks.has(id)) break;
      count += 1;
    }
    return count;
  }

  /**
   * Returns the tokens by which `availableTokens` decreases if the first `count` blocks of a chain are held: those of
   * blocks without a holder. The blocks must be in memory.
   */
  countUnheldTokens(chain: readonly number[], count: number): number {
    let unheld = 0;
    let index = 0;
    for (const id of chain) {
      if (index >= count) break;
      if (this.#blocks.get(id)?.holders === 0) unheld += 1;
      index += 1;
    }
    return unheld * this.blockTokens;
  }

  /**
   * Adds a holder to a block.
   * @throws RangeError if the block is not in memory
   */
  hold(id: number): Block {
    const block = this.#blocks.get(id);
    if (block === undefined) throw new RangeError(`There is no block ${id}`);
    if (block.holders === 0) {
      this.#unlink(block);
      this.#heldTokens += this.blockTokens;
    }
    block.holders += 1;
    return block;
  }

  /**
   * Turns a block's worth of tokens that one sequence holds into a shared block. If the block exists already, adds a
   * holder to it and releases the tokens.
   */
  share(id: number): Block {
    this.#heldTokens -= this.blockTokens;
    if (this.#blocks.has(id)) return this.hold(id);
    const block: Block = { id, holders: 1, older: undefined, newer: undefined };
    this.#blocks.set(id, block);
    this.#heldTokens += this.blockTokens;
    return block;
  }

  /** Allocates tokens for one sequence, at most `availableTokens`. */
  allocate(tokens: number): void {
    this.#heldTokens += tokens;
    while (this.#heldTokens + this.unheldTokens > this.#capacityTokens) this.#evictOldest();
  }

  /**
   * Releases the memory of a sequence.
   * @param blocks its blocks in the order of its text. They are released from the end, and so evicted from the end,
   * because fewer prompts share the later blocks.
   * @param ownTokens tokens that only this sequence held
   */
  release(blocks: readonly Block[], ownTokens: number): void {
    this.#heldTokens -= ownTokens;
    for (let index = blocks.length - 1; index >= 0; index -= 1) {
      const block = blocks[index];
      if (block === undefined) continue;
      block.holders -= 1;
      if (block.holders > 0) continue;
      this.#heldTokens -= this.blockTokens;
      this.#link(block);
    }
  }

  #evictOldest(): void {
    const oldest = this.#oldest;
    if (oldest === undefined) throw new RangeError('More tokens were allocated than are available');
    this.#unlink(oldest);
    this.#blocks.delete(oldest.id);
  }

  #link(block: Block): void {
    block.older = this.#newest;
    if (this.#newest === undefined) this.#oldest = block;
    else this.#newest.newer = block;
    this.#newest = block;
    this.#unheldBlocks += 1;
  }

  #unlink(block: Block): void {
    if (block.older === undefined) this.#oldest = block.newer;
    else block.older.newer = block.newer;
    if (block.newer === undefined) this.#newest = block.older;
    else block.newer.older = block.older;
    block.older = undefined;
    block.newer = undefined;
    this.#unheldBlocks -= 1;
  }
}
