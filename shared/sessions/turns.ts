import { type Sleep, startHeartbeat } from '../core/heartbeat.ts';
import type { ConversationHead, ConversationKey, ConversationTable } from './conversation-records.ts';
import type { ConversationItem, ReadItem, SealedItems } from './sealed-items.ts';
import { conversationLockedError, conversationNotFoundError } from './session-errors.ts';

/** The items of a conversation below a position. They are read by pages, because a conversation may not fit into memory. */
export interface EarlierItems {
  /** The position after the last item. */
  readonly end: number;
  /** Yields the items, oldest first. */
  pages(): AsyncIterable<readonly ReadItem[]>;
  /** Returns those of the ids that items have. */
  findIds(ids: readonly string[]): Promise<ReadonlySet<string>>;
  /** True if the turn has added items. */
  hasTurn(turn: string): Promise<boolean>;
}

/** An open turn. It holds the conversation's lock, so no other turn adds items before it ends. */
export interface Turn {
  /** The conversation's items when the turn began. */
  readonly earlier: EarlierItems;
  /**
   * Adds the turn's items and ends the turn. The items become visible together, or not at all.
   * @throws LambentError `conversation_locked` if the lock expired and another turn has begun; `not_found` if the
   * conversation was deleted during the turn
   * @param countedUntil epoch seconds until which the project's limits count the items. Absent if they don't
   */
  commit(items: readonly ConversationItem[], countedUntil?: number): Promise<void>;
  /** Ends the turn without adding items. Does nothing after `commit`. */
  release(): Promise<void>;
}

/** The turns of conversations: one at a time per conversation. */
export interface ConversationTurns {
  /**
   * Opens the items of a conversation without acquiring the lock.
   * @param end only items below this position. Default: all
   */
  readEarlier(key: ConversationKey, end?: number): Promise<EarlierItems>;
  /**
   * Begins a turn: acquires the conversation's lock, waiting a few seconds if another turn holds it.
   * @param turn a unique id, such as the response's
   * @throws LambentError `conversation_locked` if the other turn doesn't end in time
   */
  beginTurn(key: ConversationKey, turn: string): Promise<Turn>;
  /**
   * Adds the items of a turn that was answered in the background. Idempotent: a turn is added once.
   * @param from the end of the conversation when the turn began: the turn isn't looked for below it
   * @throws LambentError `conversation_locked` if another turn holds the lock; retry later
   */
  appendFinishedTurn(
    key: ConversationKey,
    turn: string,
    items: readonly ConversationItem[],
    from?: number,
  ): Promise<void>;
}

export interface TurnsOptions {
  readonly table: ConversationTable;
  readonly items: SealedItems;
  /** Deletes all items of a conversation, and gives back what is counted for them. */
  readonly deleteItems: (key: ConversationKey) => Promise<void>;
  /** Returns the epoch seconds at which items that are written now expire. */
  readonly expiry: () => number;
  /** Epoch milliseconds. */
  readonly now: () => number;
  /** Returns a number from 0 up to, but not including, 1. */
  readonly random: () => number;
  /** Pauses between two renewals of a lock. Default: real time. */
  readonly sleep?: Sleep | undefined;
}

/** The lock of a holder that crashed expires after this time. A live holder renews its lock three times within it. */
const LOCK_MS = 60_000;
const RENEW_EVERY_MS = LOCK_MS / 3;
/** How long a turn waits for the lock: enough for a short answer to finish, and acceptable to a caller. */
const MAX_WAIT_MS = 3_000;
const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 500;

/** A lock that this environment acquired for a turn. */
interface HeldLock extends ConversationHead {
  readonly turn: string;
  /** Unique name of the lock's owner. */
  readonly owner: string;
}

/** Creates the turns of one environment. */
export function createTurns({
  table,
  items,
  deleteItems,
  expiry,
  now,
  random,
  sleep,
}: TurnsOptions): ConversationTurns {
  /** Acquires the lock, retrying until `MAX_WAIT_MS` have passed. */
  async function acquireLock(key: ConversationKey, turn: string): Promise<HeldLock> {
    const owner = `${turn}#${random()}`;
    const waitUntil = now() + MAX_WAIT_MS;
    for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS)) {
      const result = await table.acquireLock(key, owner, now() + LOCK_MS, now());
      if (result === 'absent') throw conversationNotFoundError(key.id);
      if (result !== 'held') return { ...result.head, turn, owner };
      const jitteredMs = pauseMs * (0.5 + random());
      if (now() + jitteredMs > waitUntil) throw conversationLockedError();
      await new Promise((resolve) => setTimeout(resolve, jitteredMs));
    }
  }

  async function writeAndCommit(
    key: ConversationKey,
    lock: HeldLock,
    added: readonly ConversationItem[],
    countedUntil?: number,
  ): Promise<void> {
    const { nextPosition: from, lockEpoch: epoch, turn, owner } = lock;
    await items.write(key, added, { from, epoch, turn, countedUntil }, expiry());
    if (await table.commitTurn(key, owner, epoch, from + added.length, expiry())) return;
    // The SDK may have retried a commit that had succeeded and whose response was lost; the retry is then refused.
    if (await table.isCommitted(key, from, epoch, now())) return;
    if ((await table.readHead(key, now())) !== undefined) throw conversationLockedError();
    // The conversation was deleted during the turn: remove the items that this turn wrote.
    await deleteItems(key);
    throw conversationNotFoundError(key.id);
  }

  function openTurn(key: ConversationKey, lock: HeldLock): Turn {
    const { nextPosition, lockEpoch, owner } = lock;
    let ended = false;
    const renew = async (): Promise<number> => {
      // A failed renewal needs no handling: if the lock is lost, the commit fails, and nothing is visible before it.
      await table.renewLock(key, owner, lockEpoch, now() + LOCK_MS).catch(() => undefined);
      return RENEW_EVERY_MS;
    };
    const heartbeat = startHeartbeat(RENEW_EVERY_MS, renew, sleep);
    const release = async (): Promise<void> => {
      await heartbeat.stop();
      if (ended) return;
      ended = true;
      await table.releaseLock(key, owner, lockEpoch);
    };
    return {
      earlier: readEarlier(key, nextPosition),
      async commit(added, countedUntil) {
        await writeAndCommit(key, lock, added, countedUntil);
        ended = true;
        await heartbeat.stop();
      },
      release,
    };
  }

  function readEarlier(key: ConversationKey, end: number): EarlierItems {
    return {
      end,
      pages: () => items.readPages(key, { from: 0, to: end, newestFirst: false }),
      findIds: (ids) => table.findIds(key, ids, end),
      hasTurn: (turn) => table.hasTurn(key, turn, 0, end),
    };
  }

  return {
    async readEarlier(key, end) {
      const head = await table.readHead(key, now());
      if (head === undefined) throw conversationNotFoundError(key.id);
      return readEarlier(key, Math.min(end ?? head.nextPosition, head.nextPosition));
    },

    async beginTurn(key, turn) {
      return openTurn(key, await acquireLock(key, turn));
    },

    async appendFinishedTurn(key, turn, added, from = 0) {
      const lock = await acquireLock(key, turn);
      try {
        if (await table.hasTurn(key, turn, from, lock.nextPosition)) return;
        await writeAndCommit(key, lock, added);
      } finally {
        await table.releaseLock(key, lock.owner, lock.lockEpoch);
      }
    },
  };
}
