/** Identifies a conversation. The tenant is part of the key, so another tenant's conversation is simply not found. */
export interface ConversationKey {
  readonly tenant: string;
  readonly id: string;
}

/** The conversation's own row. The holder of its lock may add items from `nextPosition` on. */
export interface ConversationHead {
  /** Epoch milliseconds. */
  readonly createdAt: number;
  /** Items below this position belong to the conversation. Items at or above it were written but not committed. */
  readonly nextPosition: number;
  /** Increases with every lock that is acquired. Each item records the epoch under which it was written. */
  readonly lockEpoch: number;
  /** Sealed; absent if the conversation has none. */
  readonly metadata?: Uint8Array;
}

/** What its project's limits count for a row. */
export interface CountedRow {
  /** Sealed bytes. */
  readonly countedBytes: number;
  /** Epoch seconds until which they count. */
  readonly countedUntil: number;
}

/** One item of a conversation as it is stored in the table. */
export interface ItemRow extends Partial<CountedRow> {
  readonly position: number;
  readonly itemId: string;
  /** Epoch of the lock under which the item was written. */
  readonly epoch: number;
  /** The turn that added the item: a response's id, the id of a request that adds items, or `create`. */
  readonly turn: string;
  /** Absent if the item is too large for the table and is stored in the bucket. */
  readonly sealed?: Uint8Array;
}

/** The head as of the new lock; or `held` if another owner has the lock, `absent` if the conversation doesn't exist. */
export type LockResult = { readonly head: ConversationHead } | 'held' | 'absent';

/**
 * The conversations table. A method sends one request unless its comment says otherwise. Times are epoch milliseconds,
 * except `expiresAt`, which is epoch seconds as DynamoDB's TTL requires.
 */
export interface ConversationTable {
  /** Creates the head; false if the key exists already. */
  create(
    key: ConversationKey,
    head: Omit<ConversationHead, 'lockEpoch'> & Partial<CountedRow>,
    expiresAt: number,
  ): Promise<boolean>;
  /** Reads the head consistently; undefined if it doesn't exist or has expired. */
  readHead(key: ConversationKey, now: number): Promise<ConversationHead | undefined>;
  /** Replaces the metadata; undefined if the conversation doesn't exist. */
  updateMetadata(
    key: ConversationKey,
    metadata: Uint8Array | undefined,
    at: WriteTimes,
  ): Promise<ConversationHead | undefined>;
  /** Deletes the head. Returns what is counted for it, if anything. */
  deleteHead(key: ConversationKey, now: number): Promise<readonly CountedRow[]>;
  /**
   * Deletes all items, uncommitted ones included. Lists the bucket, sends one query per megabyte, and a batch for every 25
   * items, and a request for each that is counted. Returns what is counted for those that this call deleted.
   */
  deleteItems(key: ConversationKey): Promise<readonly CountedRow[]>;
  /** Acquires the lock, or takes over an expired one. Idempotent per owner. Sends a second request if it is refused. */
  acquireLock(key: ConversationKey, owner: string, until: number, now: number): Promise<LockResult>;
  /** Extends the lock to `until`; false if this owner has lost it. */
  renewLock(key: ConversationKey, owner: string, epoch: number, until: number): Promise<boolean>;
  /** Releases the lock. Does nothing if this owner has lost it. */
  releaseLock(key: ConversationKey, owner: string, epoch: number): Promise<void>;
  /** Commits the items below `nextPosition` and releases the lock; false if this owner has lost the lock. */
  commitTurn(
    key: ConversationKey,
    owner: string,
    epoch: number,
    nextPosition: number,
    expiresAt: number,
  ): Promise<boolean>;
  /** True if the item at `position` is committed and was written under the lock's `epoch`. Sends two requests. */
  isCommitted(key: ConversationKey, position: number, epoch: number, now: number): Promise<boolean>;
  /**
   * Writes an item; false if the holder of a later lock wrote at its position. Sealed content above
   * `ITEM_BYTES` goes to the bucket first.
   */
  putItem(key: ConversationKey, row: ItemRow & { readonly sealed: Uint8Array }, expiresAt: number): Promise<boolean>;
  /** Returns an item's sealed bytes, from the bucket if they are stored there; undefined if they are gone. */
  readSealed(key: ConversationKey, row: ItemRow): Promise<Uint8Array | undefined>;
  /** Yields the items of a range of positions, in either direction. Sends one query per megabyte. */
  queryItems(key: ConversationKey, range: PositionRange, now: number): AsyncIterable<ItemRow>;
  /** True if a turn has items from position `from` up to `to`. Sends one query per megabyte, which returns no content. */
  hasTurn(key: ConversationKey, turn: string, from: number, to: number): Promise<boolean>;
  /**
   * Returns those of the ids that items below position `to` have. Sends one query per megabyte and 100 ids, which returns no
   * content.
   */
  findIds(key: ConversationKey, ids: readonly string[], to: number): Promise<ReadonlySet<string>>;
  /** Finds the item with this id below position `to`. Searches from the newest item on, one query per megabyte. */
  findItem(key: ConversationKey, itemId: string, to: number, now: number): Promise<ItemRow | undefined>;
  /**
   * Deletes an item's content and leaves a tombstone, so that a late writer can't write at its position; false if the
   * item was deleted before. An item in the bucket takes three requests.
   */
  markItemDeleted(key: ConversationKey, row: ItemRow): Promise<boolean>;
  /**
   * Completes the deletion of an item in the bucket whose object may not have been removed; false if there is no such item
   * below position `to`. Sends one query per megabyte.
   */
  removeDeletedItem(key: ConversationKey, itemId: string, to: number): Promise<boolean>;
}

export interface WriteTimes {
  /** Epoch milliseconds. */
  readonly now: number;
  /** Epoch seconds. */
  readonly expiresAt: number;
}

/** Positions from `from` up to, and not including, `to`. */
export interface PositionRange {
  readonly from: number;
  readonly to: number;
  readonly newestFirst: boolean;
  /** Maximum number of items per query; absent for a megabyte of them. */
  readonly pageSize?: number;
}
