/** Names a conversation: the tenant is part of the key, so that another's is not there rather than refused. */
export interface ConversationKey {
  readonly tenant: string;
  readonly id: string;
}

/** The conversation's own item. Whoever holds its lock may add items from `nextPosition` on. */
export interface ConversationHead {
  /** Epoch milliseconds. */
  readonly createdAt: number;
  /** Positions below it are part of the conversation; what lies at it or above was never finished. */
  readonly nextPosition: number;
  /** Rises with every lock that is taken; an item says under which it was written. */
  readonly lockEpoch: number;
  /** Sealed; absent when there is none. */
  readonly metadata?: Uint8Array;
}

/** One item of a conversation as it lies in the table. */
export interface ItemRow {
  readonly position: number;
  readonly itemId: string;
  /** The lock's epoch under which it was written. */
  readonly epoch: number;
  /** Whose turn added it: a response's id, or a call's that added items by hand. */
  readonly turn: string;
  /** Absent when it is too large for a table, and lies in the bucket. */
  readonly sealed?: Uint8Array;
}

/** What the lock answers: its holder's view of the conversation, or why there is none. */
export type LockResult = { readonly head: ConversationHead } | 'held' | 'absent';

/** The conversations' table: one request a method, unless it says otherwise. Times are epoch milliseconds. */
export interface ConversationTable {
  /** False when there is one under this key already. */
  create(key: ConversationKey, head: Omit<ConversationHead, 'lockEpoch'>, expiresAt: number): Promise<boolean>;
  /** The head, strongly read; undefined when it isn't there or has expired. */
  readHead(key: ConversationKey, now: number): Promise<ConversationHead | undefined>;
  /** Replaces the metadata. Undefined when the conversation isn't there. */
  updateMetadata(
    key: ConversationKey,
    metadata: Uint8Array | undefined,
    at: WriteTimes,
  ): Promise<ConversationHead | undefined>;
  /** False when it wasn't there. */
  deleteHead(key: ConversationKey, now: number): Promise<boolean>;
  /** Removes the items of a conversation, shown or not: a listing of the bucket, a query, and a batch for every 25. */
  deleteItems(key: ConversationKey): Promise<void>;
  /** Takes the lock, or takes an expired one over: one request, two when it is refused. Again is no harm. */
  acquireLock(key: ConversationKey, owner: string, until: number, now: number): Promise<LockResult>;
  /** Keeps the lock until `until`; false when it is another's by now. */
  renewLock(key: ConversationKey, owner: string, epoch: number, until: number): Promise<boolean>;
  releaseLock(key: ConversationKey, owner: string, epoch: number): Promise<void>;
  /** Shows the items up to `nextPosition` and gives the lock back; false when the lock is another's by now. */
  commitTurn(
    key: ConversationKey,
    owner: string,
    epoch: number,
    nextPosition: number,
    expiresAt: number,
  ): Promise<boolean>;
  /** Whether the item at a position was written under the lock of `epoch` and is part of the conversation: two requests. */
  isCommitted(key: ConversationKey, position: number, epoch: number, now: number): Promise<boolean>;
  /** Writes an item, of 300 KB or more to the bucket first; false when a later lock's holder has been at its place. */
  putItem(key: ConversationKey, row: ItemRow & { readonly sealed: Uint8Array }, expiresAt: number): Promise<boolean>;
  /** An item's sealed bytes, from the bucket where they lie there; undefined when they are gone. */
  readSealed(key: ConversationKey, row: ItemRow): Promise<Uint8Array | undefined>;
  /** Items at positions from `from` up to but without `to`, in either direction; a query for every megabyte. */
  queryItems(key: ConversationKey, range: PositionRange, now: number): AsyncIterable<ItemRow>;
  /** The item with this id at a position below `to`: it is looked for from the newest on. */
  findItem(key: ConversationKey, itemId: string, to: number, now: number): Promise<ItemRow | undefined>;
  /** Takes the content out of an item. Its place stays taken, lest a late writer fill it. */
  markItemDeleted(key: ConversationKey, row: ItemRow): Promise<boolean>;
}

export interface WriteTimes {
  readonly now: number;
  /** Epoch seconds. */
  readonly expiresAt: number;
}

export interface PositionRange {
  readonly from: number;
  readonly to: number;
  readonly newestFirst: boolean;
  /** Items that a query reads at once; a megabyte of them when absent. */
  readonly pageSize?: number;
}
