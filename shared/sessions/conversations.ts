import { LambentError } from '../runtime/errors.ts';
import type { Vault } from '../vault/vault.ts';
import type { ConversationKey, ConversationTable, Head, Range, Row } from './conversation-records.ts';
import { bytesOf, isStrings, itemName, metadataName, parsed } from './conversation-seal.ts';

/** A conversation as its caller sees it. */
export interface Conversation {
  readonly id: string;
  /** Epoch milliseconds. */
  readonly createdAt: number;
  readonly metadata: Readonly<Record<string, string>>;
}

/** One item: what is in it is its API's business, and sealed. */
export interface ConversationItem {
  readonly id: string;
  readonly content: unknown;
}

/** What may be asked of a list of items. */
export interface Listing {
  readonly newestFirst: boolean;
  /** Id of the item after which the page begins. */
  readonly after?: string;
  readonly limit: number;
}

export interface Page {
  readonly items: readonly ConversationItem[];
  readonly hasMore: boolean;
}

/** A turn that goes on: nobody else adds to the conversation before it ends. */
export interface Turn {
  /** All items, oldest first. */
  readonly items: readonly ConversationItem[];
  /**
   * Adds the turn's items and ends it. They become visible together, or not at all.
   * @throws LambentError `conversation_locked` when the turn was taken for dead and another one has begun
   */
  commit(items: readonly ConversationItem[]): Promise<void>;
  /** Ends the turn without a trace. Harmless after `commit`. */
  release(): Promise<void>;
}

/**
 * The conversations of all tenants. Every method that names one throws LambentError `not_found` when it isn't there,
 * has expired, or is another tenant's: nobody can tell which.
 */
export interface Conversations {
  create(
    key: ConversationKey,
    metadata: Conversation['metadata'],
    items: readonly ConversationItem[],
  ): Promise<Conversation>;
  retrieve(key: ConversationKey): Promise<Conversation>;
  update(key: ConversationKey, metadata: Conversation['metadata']): Promise<Conversation>;
  delete(key: ConversationKey): Promise<void>;
  list(key: ConversationKey, listing: Listing): Promise<Page>;
  item(key: ConversationKey, itemId: string): Promise<ConversationItem>;
  deleteItem(key: ConversationKey, itemId: string): Promise<Conversation>;
  /** All items, oldest first, without taking a turn. */
  items(key: ConversationKey): Promise<readonly ConversationItem[]>;
  /**
   * Begins a turn, after waiting a little for another's to end.
   * @param owner the response's id, or any other word that nobody else uses
   * @throws LambentError `conversation_locked` when it goes on
   */
  begin(key: ConversationKey, owner: string): Promise<Turn>;
  /**
   * Adds the items of a turn that ended elsewhere. Again is no harm: a turn is added once.
   * @throws LambentError `conversation_locked` when somebody else's turn goes on: try later
   */
  settle(key: ConversationKey, owner: string, items: readonly ConversationItem[]): Promise<void>;
}

export interface ConversationsOptions {
  readonly table: ConversationTable;
  readonly vault: Vault;
  readonly retentionDays: number;
  /** Epoch milliseconds. */
  readonly now?: () => number;
  /** 0 up to 1. */
  readonly random?: () => number;
}

/** A holder that was killed is taken over after this time; one that lives renews its lock three times within it. */
const LOCK_MS = 60_000;
const RENEW_EVERY_MS = LOCK_MS / 3;
/** How long a turn waits for another's: long enough for a quick answer's last moments, short enough for a caller. */
const PATIENCE_MS = 3_000;
const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 500;
/** What the caller of a locked conversation is told to wait. */
const RETRY_AFTER_MS = 5_000;
/** Items written at once. */
const WRITES_AT_ONCE = 16;
const DAY_SECONDS = 86_400;

/** Makes the conversations of one environment. */
export function createConversations(options: ConversationsOptions): Conversations {
  const { table, vault, retentionDays, now = Date.now, random = Math.random } = options;
  const expiry = (): number => Math.floor(now() / 1000) + retentionDays * DAY_SECONDS;

  async function shown(key: ConversationKey, { createdAt, metadata }: Head): Promise<Conversation> {
    const opened = metadata === undefined ? {} : parsed(await vault.open(metadataName(key), metadata));
    return { id: key.id, createdAt, metadata: isStrings(opened) ? opened : {} };
  }

  async function sealedMetadata(
    key: ConversationKey,
    metadata: Conversation['metadata'],
  ): Promise<Uint8Array | undefined> {
    return Object.keys(metadata).length === 0 ? undefined : vault.seal(metadataName(key), bytesOf(metadata));
  }

  async function headOf(key: ConversationKey): Promise<Head> {
    const head = await table.head(key, now());
    if (head === undefined) throw conversationNotFound(key.id);
    return head;
  }

  async function opened(key: ConversationKey, row: Row): Promise<ConversationItem> {
    return { id: row.itemId, content: parsed(await vault.open(itemName(key, row), row.sealed)) };
  }

  async function read(
    key: ConversationKey,
    range: Range,
    limit = Number.POSITIVE_INFINITY,
  ): Promise<ConversationItem[]> {
    const items: Promise<ConversationItem>[] = [];
    const paged = Number.isFinite(limit) ? { ...range, pageSize: limit } : range;
    for await (const row of table.rows(key, paged, now())) {
      items.push(opened(key, row));
      if (items.length >= limit) break;
    }
    return Promise.all(items);
  }

  async function write(
    key: ConversationKey,
    items: readonly ConversationItem[],
    { from, epoch, turn }: { from: number; epoch: number; turn: string },
  ): Promise<void> {
    const expiresAt = expiry();
    const writeOne = async ({ id, content }: ConversationItem, offset: number): Promise<void> => {
      const place = { position: from + offset, itemId: id, epoch, turn };
      const sealed = await vault.seal(itemName(key, place), bytesOf(content));
      if (!(await table.put(key, { ...place, sealed }, expiresAt))) throw conversationLocked();
    };
    for (let index = 0; index < items.length; index += WRITES_AT_ONCE) {
      const some = items.slice(index, index + WRITES_AT_ONCE);
      await Promise.all(some.map((item, offset) => writeOne(item, index + offset)));
    }
  }

  /** Takes the lock, or says that it is held; waits for it until `patienceMs` are over. */
  async function lock(key: ConversationKey, owner: string, patienceMs: number): Promise<Head> {
    const until = now() + patienceMs;
    for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS)) {
      const taken = await table.lock(key, owner, now() + LOCK_MS, now());
      if (taken === 'absent') throw conversationNotFound(key.id);
      if (taken !== 'held') return taken.head;
      const jitteredMs = pauseMs * (0.5 + random());
      if (now() + jitteredMs > until) throw conversationLocked();
      await new Promise((resolve) => setTimeout(resolve, jitteredMs));
    }
  }

  /** A turn whose lock was just taken. */
  async function held(key: ConversationKey, owner: string, { nextPosition, lockEpoch }: Head): Promise<Turn> {
    let ended = false;
    const renewal = setInterval(() => {
      // A renewal that fails shows when the turn commits: nothing is visible before.
      table.renew(key, owner, lockEpoch, now() + LOCK_MS).catch(() => undefined);
    }, RENEW_EVERY_MS);
    renewal.unref();
    const release = async (): Promise<void> => {
      clearInterval(renewal);
      if (ended) return;
      ended = true;
      await table.release(key, owner, lockEpoch);
    };
    try {
      return {
        items: await read(key, { from: 0, to: nextPosition, newestFirst: false }),
        async commit(items) {
          await write(key, items, { from: nextPosition, epoch: lockEpoch, turn: owner });
          clearInterval(renewal);
          const committed = await table.commit(key, owner, lockEpoch, nextPosition + items.length, expiry());
          ended = true;
          if (!committed) throw conversationLocked();
        },
        release,
      };
    } catch (error) {
      await release();
      throw error;
    }
  }

  return {
    async create(key, metadata, items) {
      await write(key, items, { from: 0, epoch: 0, turn: 'create' });
      const sealed = await sealedMetadata(key, metadata);
      const head = {
        createdAt: now(),
        nextPosition: items.length,
        ...(sealed === undefined ? {} : { metadata: sealed }),
      };
      if (!(await table.create(key, head, expiry()))) {
        throw new LambentError('internal', 'A new conversation has the id of another one');
      }
      return { id: key.id, createdAt: head.createdAt, metadata };
    },

    async retrieve(key) {
      return shown(key, await headOf(key));
    },

    async update(key, metadata) {
      const sealed = await sealedMetadata(key, metadata);
      const head = await table.describe(key, sealed, { now: now(), expiresAt: expiry() });
      if (head === undefined) throw conversationNotFound(key.id);
      return { id: key.id, createdAt: head.createdAt, metadata };
    },

    async delete(key) {
      if (!(await table.deleteHead(key, now()))) throw conversationNotFound(key.id);
      await table.deleteRows(key);
    },

    async list(key, { newestFirst, after, limit }) {
      const { nextPosition } = await headOf(key);
      let from = 0;
      let to = nextPosition;
      if (after !== undefined) {
        const row = await table.find(key, after, nextPosition, now());
        if (row === undefined) throw conversationItemNotFound(after);
        if (newestFirst) to = row.position;
        else from = row.position + 1;
      }
      const items = await read(key, { from, to, newestFirst }, limit + 1);
      return { items: items.slice(0, limit), hasMore: items.length > limit };
    },

    async item(key, itemId) {
      const { nextPosition } = await headOf(key);
      const row = await table.find(key, itemId, nextPosition, now());
      if (row === undefined) throw conversationItemNotFound(itemId);
      return opened(key, row);
    },

    async deleteItem(key, itemId) {
      const head = await headOf(key);
      const row = await table.find(key, itemId, head.nextPosition, now());
      if (row === undefined || !(await table.bury(key, row))) throw conversationItemNotFound(itemId);
      return shown(key, head);
    },

    async items(key) {
      const { nextPosition } = await headOf(key);
      return read(key, { from: 0, to: nextPosition, newestFirst: false });
    },

    async begin(key, owner) {
      return held(key, owner, await lock(key, owner, PATIENCE_MS));
    },

    async settle(key, owner, items) {
      const head = await lock(key, owner, PATIENCE_MS);
      const { lockEpoch, nextPosition } = head;
      try {
        for await (const row of table.rows(key, { from: 0, to: nextPosition, newestFirst: true }, now())) {
          if (row.turn === owner) return;
        }
        await write(key, items, { from: nextPosition, epoch: lockEpoch, turn: owner });
        if (!(await table.commit(key, owner, lockEpoch, nextPosition + items.length, expiry()))) {
          throw conversationLocked();
        }
      } finally {
        await table.release(key, owner, lockEpoch);
      }
    },
  };
}

/** The error for a conversation that isn't there, for this tenant. */
export function conversationNotFound(id: string): LambentError {
  return new LambentError('not_found', `Conversation with id '${shortened(id)}' not found.`);
}

function conversationItemNotFound(id: string): LambentError {
  return new LambentError('not_found', `Item with id '${shortened(id)}' not found.`);
}

function conversationLocked(): LambentError {
  const message = 'Another process is currently operating on this conversation. Please retry in a few seconds.';
  return new LambentError('conversation_locked', message, { retryAfterMs: RETRY_AFTER_MS });
}

function shortened(id: string): string {
  return id.slice(0, 128).toWellFormed();
}
