/** A block of a prompt whose keys and values are in memory. */
export interface Block {
  readonly id: number;
  /** Sequences that use it; with none it stays until its place is needed. */
  holders: number;
  older: Block | undefined;
  newer: Block | undefined;
}

/**
 * The memory for keys and values, counted in tokens: what sequences hold for themselves, blocks that they share, and blocks
 * that nobody uses any more and that are found again by whoever comes with the same beginning. The one unused for longest goes
 * first. An engine's paging wastes less than a block for each sequence, which is left out here.
 */
export class CacheMemory {
  readonly blockTokens: number;
  readonly #capacityTokens: number;
  readonly #blocks = new Map<number, Block>();
  #heldTokens = 0;
  #unusedBlocks = 0;
  #oldest: Block | undefined;
  #newest: Block | undefined;

  constructor(capacityTokens: number, blockTokens: number) {
    this.#capacityTokens = capacityTokens;
    this.blockTokens = blockTokens;
  }

  /** Tokens that sequences hold, shared blocks once. */
  get heldTokens(): number {
    return this.#heldTokens;
  }

  /** Tokens of blocks that nobody uses. */
  get unusedTokens(): number {
    return this.#unusedBlocks * this.blockTokens;
  }

  /** Tokens that can be had, by dropping unused blocks if it must be. */
  get availableTokens(): number {
    return this.#capacityTokens - this.#heldTokens;
  }

  /** How many blocks of this chain are here, from its start; at most `most`. */
  countCachedBlocks(chain: readonly number[], most: number): number {
    let count = 0;
    for (const id of chain) {
      if (count >= most || !this.#blocks.has(id)) break;
      count += 1;
    }
    return count;
  }

  /** Tokens of the first `count` blocks of a chain, which are here, that nobody holds: to hold them takes as many. */
  unheldTokens(chain: readonly number[], count: number): number {
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
   * Holds a block that is here.
   * @throws RangeError when it isn't
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

  /** Makes a block of what a sequence holds for itself; one of that name that is here already takes its place. */
  share(id: number): Block {
    this.#heldTokens -= this.blockTokens;
    if (this.#blocks.has(id)) return this.hold(id);
    const block: Block = { id, holders: 1, older: undefined, newer: undefined };
    this.#blocks.set(id, block);
    this.#heldTokens += this.blockTokens;
    return block;
  }

  /** Takes tokens for a sequence alone. At most `availableTokens`. */
  allocate(tokens: number): void {
    this.#heldTokens += tokens;
    while (this.#heldTokens + this.unusedTokens > this.#capacityTokens) this.#dropOldest();
  }

  /**
   * Gives back what a sequence held.
   * @param blocks in the order of its text: the end of a text is of use to fewer, so it goes first
   * @param ownTokens what it had for itself
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

  #dropOldest(): void {
    const oldest = this.#oldest;
    if (oldest === undefined) throw new RangeError('More tokens were taken than there are');
    this.#unlink(oldest);
    this.#blocks.delete(oldest.id);
  }

  #link(block: Block): void {
    block.older = this.#newest;
    if (this.#newest === undefined) this.#oldest = block;
    else this.#newest.newer = block;
    this.#newest = block;
    this.#unusedBlocks += 1;
  }

  #unlink(block: Block): void {
    if (block.older === undefined) this.#oldest = block.newer;
    else block.older.newer = block.newer;
    if (block.newer === undefined) this.#newest = block.older;
    else block.newer.older = block.older;
    block.older = undefined;
    block.newer = undefined;
    this.#unusedBlocks -= 1;
  }
}
