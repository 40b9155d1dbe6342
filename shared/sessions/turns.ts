import type { ConversationHead, ConversationKey, ConversationTable } from './conversation-records.ts';
import type { ConversationItem, SealedItems } from './sealed-items.ts';
import { conversationLockedError, conversationNotFoundError } from './session-errors.ts';

/** A turn that goes on: nobody else adds to the conversation before it ends. */
export interface Turn {
  /** All items, oldest first. */
  readonly items: readonly ConversationItem[];
  /**
   * Adds the turn's items and ends it. They become visible together, or not at all.
   * @throws LambentError `conversation_locked` when the turn was taken for dead and another one has begun, `not_found` when the
   * conversation has been deleted meanwhile
   */
  commit(items: readonly ConversationItem[]): Promise<void>;
  /** Ends the turn without a trace. Harmless after `commit`. */
  release(): Promise<void>;
}

/** The turns of conversations: one at a time in each. */
export interface ConversationTurns {
  /**
   * Begins a turn, after waiting a little for another's to end.
   * @param turn the response's id, or any other word that nobody else uses
   * @throws LambentError `conversation_locked` when it goes on
   */
  beginTurn(key: ConversationKey, turn: string): Promise<Turn>;
  /**
   * Adds the items of a turn that ended elsewhere. Again is no harm: a turn is added once.
   * @throws LambentError `conversation_locked` when somebody else's turn goes on: try later
   */
  appendFinishedTurn(key: ConversationKey, turn: string, items: readonly ConversationItem[]): Promise<void>;
}

export interface TurnsOptions {
  readonly table: ConversationTable;
  readonly items: SealedItems;
  /** Epoch seconds after which what is written now is gone. */
  readonly expiry: () => number;
  /** Epoch milliseconds. */
  readonly now: () => number;
  /** 0 up to 1. */
  readonly random: () => number;
}

/** A holder that was killed is taken over after this time; one that lives renews its lock three times within it. */
const LOCK_MS = 60_000;
const RENEW_EVERY_MS = LOCK_MS / 3;
/** How long a turn waits for another's: long enough for a quick answer's last moments, short enough for a caller. */
const PATIENCE_MS = 3_000;
const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 500;

/** A lock that was taken: whose turn it is, and what its holder is called, as nobody else is. */
interface HeldLock extends ConversationHead {
  readonly turn: string;
  readonly holder: string;
}

/** Makes the turns of one environment. */
export function createTurns({ table, items, expiry, now, random }: TurnsOptions): ConversationTurns {
  /** Takes the lock, or says that it is held; waits for it until `PATIENCE_MS` are over. */
  async function lock(key: ConversationKey, turn: string): Promise<HeldLock> {
    const holder = `${turn}#${random()}`;
    const until = now() + PATIENCE_MS;
    for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS)) {
      const taken = await table.acquireLock(key, holder, now() + LOCK_MS, now());
      if (taken === 'absent') throw conversationNotFoundError(key.id);
      if (taken !== 'held') return { ...taken.head, turn, holder };
      const jitteredMs = pauseMs * (0.5 + random());
      if (now() + jitteredMs > until) throw conversationLockedError();
      await new Promise((resolve) => setTimeout(resolve, jitteredMs));
    }
  }

  async function write(key: ConversationKey, held: HeldLock, added: readonly ConversationItem[]): Promise<void> {
    const { nextPosition: from, lockEpoch: epoch, turn, holder } = held;
    await items.write(key, added, { from, epoch, turn }, expiry());
    if (await table.commitTurn(key, holder, epoch, from + added.length, expiry())) return;
    // A refusal may be the answer to a repetition of what was carried out, and whose first answer was lost.
    if (await table.isCommitted(key, from, epoch, now())) return;
    if ((await table.readHead(key, now())) !== undefined) throw conversationLockedError();
    // Deleted while the turn went on: what it wrote would be left behind.
    await table.deleteItems(key);
    throw conversationNotFoundError(key.id);
  }

  /** A turn whose lock was just taken. */
  async function begun(key: ConversationKey, held: HeldLock): Promise<Turn> {
    const { nextPosition, lockEpoch, holder } = held;
    let ended = false;
    const renewal = setInterval(() => {
      // A renewal that fails shows when the turn commits: nothing is visible before.
      table.renewLock(key, holder, lockEpoch, now() + LOCK_MS).catch(() => undefined);
    }, RENEW_EVERY_MS);
    renewal.unref();
    const release = async (): Promise<void> => {
      clearInterval(renewal);
      if (ended) return;
      ended = true;
      await table.releaseLock(key, holder, lockEpoch);
    };
    try {
      return {
        items: await items.read(key, { from: 0, to: nextPosition, newestFirst: false }),
        async commit(added) {
          await write(key, held, added);
          clearInterval(renewal);
          ended = true;
        },
        release,
      };
    } catch (error) {
      await release();
      throw error;
    }
  }

  return {
    async beginTurn(key, turn) {
      return begun(key, await lock(key, turn));
    },

    async appendFinishedTurn(key, turn, added) {
      const held = await lock(key, turn);
      try {
        const range = { from: 0, to: held.nextPosition, newestFirst: true };
        for await (const row of table.queryItems(key, range, now())) if (row.turn === turn) return;
        await write(key, held, added);
      } finally {
        await table.releaseLock(key, held.holder, held.lockEpoch);
      }
    },
  };
}
