import type { Sleep } from '../core/heartbeat.ts';
import { omitUndefined } from '../core/objects.ts';
import type { Vault } from '../vault/vault.ts';
import type { ConversationHead, ConversationKey, ConversationTable, CountedRow } from './conversation-records.ts';
import { decodeJson, encodeJson, isStringRecord, toMetadataRecordName } from './conversation-seal.ts';
import { type ConversationItem, createSealedItems } from './sealed-items.ts';
import { afterNotFoundError, conversationItemNotFoundError, conversationNotFoundError } from './session-errors.ts';
import { type ConversationTurns, createTurns, type EarlierItems, type Turn } from './turns.ts';

export type { ConversationItem, EarlierItems, Turn };

/** A conversation as the API shows it. */
export interface Conversation {
  readonly id: string;
  /** Epoch milliseconds. */
  readonly createdAt: number;
  readonly metadata: Readonly<Record<string, string>>;
}

/** Parameters of a list request. */
export interface ListOptions {
  readonly newestFirst: boolean;
  /** Id of the item after which the page begins. */
  readonly after?: string;
  readonly limit: number;
}

export interface ItemPage {
  readonly items: readonly ConversationItem[];
  readonly hasMore: boolean;
}

/**
 * The conversations of all tenants. Every method except `create` throws LambentError `not_found` if the conversation
 * doesn't exist, has expired or belongs to another tenant. The error doesn't reveal which.
 */
export interface Conversations extends ConversationTurns {
  /**
   * Creates a conversation with its first items. Returns it unchanged if it exists: the caller, or an earlier attempt of the
   * same operation, created it in a request whose response was lost.
   * @param countedUntil epoch seconds until which the project's limits count it and its items. Absent if they don't
   */
  create(
    key: ConversationKey,
    metadata: Conversation['metadata'],
    items: readonly ConversationItem[],
    countedUntil?: number,
  ): Promise<Conversation>;
  /** Returns the epoch seconds at which what is written now expires. */
  expiresAt(): number;
  retrieve(key: ConversationKey): Promise<Conversation>;
  /** Replaces the metadata. */
  update(key: ConversationKey, metadata: Conversation['metadata']): Promise<Conversation>;
  /** Deletes the conversation and its items. */
  delete(key: ConversationKey): Promise<void>;
  /**
   * Returns a page of items, fewer than `limit` if they are large. Throws LambentError `not_found` too if `after` names no
   * item.
   */
  list(key: ConversationKey, listing: ListOptions): Promise<ItemPage>;
  /** Returns an item. Throws LambentError `not_found` too if it doesn't exist. */
  retrieveItem(key: ConversationKey, itemId: string): Promise<ConversationItem>;
  /** Deletes an item and returns its conversation. Throws LambentError `not_found` too if it doesn't exist. */
  deleteItem(key: ConversationKey, itemId: string): Promise<Conversation>;
}

export interface ConversationsOptions {
  readonly table: ConversationTable;
  readonly vault: Vault;
  readonly retentionDays: number;
  /** Gives back what the limits of a project count for something that is deleted. Never throws. Default: nothing is counted. */
  readonly giveBackStorage?: (
    tenant: string,
    stored: { readonly bytes: number; readonly items: number },
    expiresAt: number,
  ) => Promise<void>;
  /** Epoch milliseconds. */
  readonly now?: () => number;
  /** Returns a number from 0 up to, but not including, 1. */
  readonly random?: () => number;
  /** Pauses between two renewals of a turn's lock. Default: real time. */
  readonly sleep?: Sleep;
}

const DAY_SECONDS = 86_400;
/** Sealed bytes of a page of items, of which each has up to 6 MB. A page has at least one item. */
const MAX_PAGE_BYTES = 4_000_000;

/** Creates the conversations of one environment. */
export function createConversations(options: ConversationsOptions): Conversations {
  const {
    table,
    vault,
    retentionDays,
    giveBackStorage = async () => {},
    now = Date.now,
    random = Math.random,
    sleep,
  } = options;
  const expiry = (): number => Math.floor(now() / 1000) + retentionDays * DAY_SECONDS;
  const sealedItems = createSealedItems(table, vault, now);

  async function toConversation(
    key: ConversationKey,
    { createdAt, metadata }: ConversationHead,
  ): Promise<Conversation> {
    const value = metadata === undefined ? {} : decodeJson(await vault.open(toMetadataRecordName(key), metadata));
    return { id: key.id, createdAt, metadata: isStringRecord(value) ? value : {} };
  }

  async function sealMetadata(
    key: ConversationKey,
    metadata: Conversation['metadata'],
  ): Promise<Uint8Array | undefined> {
    return Object.keys(metadata).length === 0 ? undefined : vault.seal(toMetadataRecordName(key), encodeJson(metadata));
  }

  /** Gives back what is counted for deleted rows, in one request for each day on which they expire. */
  async function giveBack({ tenant }: ConversationKey, rows: readonly CountedRow[]): Promise<void> {
    const days = Map.groupBy(rows, ({ countedUntil }) => Math.floor(countedUntil / DAY_SECONDS));
    for (const [day, counted] of days) {
      const bytes = counted.reduce((sum, { countedBytes }) => sum + countedBytes, 0);
      await giveBackStorage(tenant, { bytes, items: counted.length }, day * DAY_SECONDS);
    }
  }

  async function deleteItems(key: ConversationKey): Promise<void> {
    await giveBack(key, await table.deleteItems(key));
  }

  async function readHead(key: ConversationKey): Promise<ConversationHead> {
    const head = await table.readHead(key, now());
    if (head === undefined) throw conversationNotFoundError(key.id);
    return head;
  }

  return {
    ...createTurns({ table, items: sealedItems, deleteItems, expiry, now, random, sleep }),

    expiresAt: expiry,

    async create(key, metadata, items, countedUntil) {
      await sealedItems.write(key, items, { from: 0, epoch: 0, turn: 'create', countedUntil }, expiry());
      const sealed = await sealMetadata(key, metadata);
      const head = {
        createdAt: now(),
        nextPosition: items.length,
        ...omitUndefined({ metadata: sealed }),
        // Its metadata may change, so only its items count by their size.
        ...(countedUntil === undefined ? {} : { countedBytes: 0, countedUntil }),
      };
      if (await table.create(key, head, expiry())) return { id: key.id, createdAt: head.createdAt, metadata };
      // Ids are random, so this is the same conversation: created by a request whose response was lost.
      return toConversation(key, await readHead(key));
    },

    async retrieve(key) {
      return toConversation(key, await readHead(key));
    },

    async update(key, metadata) {
      const sealed = await sealMetadata(key, metadata);
      const head = await table.updateMetadata(key, sealed, { now: now(), expiresAt: expiry() });
      if (head === undefined) throw conversationNotFoundError(key.id);
      return { id: key.id, createdAt: head.createdAt, metadata };
    },

    async delete(key) {
      await readHead(key);
      // Items first: if the deletion fails half-way, the head still exists and the deletion can be repeated. Items are
      // deleted again afterwards, because a turn may have written some in between.
      await deleteItems(key);
      await giveBack(key, await table.deleteHead(key, now()));
      await deleteItems(key);
    },

    async list(key, { newestFirst, after, limit }) {
      const { nextPosition } = await readHead(key);
      let from = 0;
      let to = nextPosition;
      if (after !== undefined) {
        const row = await table.findItem(key, after, nextPosition, now());
        if (row === undefined) throw afterNotFoundError(after);
        if (newestFirst) to = row.position;
        else from = row.position + 1;
      }
      const items: ConversationItem[] = [];
      let sizeBytes = 0;
      for await (const page of sealedItems.readPages(key, { from, to, newestFirst, pageSize: limit + 1 })) {
        for (const item of page) {
          sizeBytes += item.sizeBytes;
          const isFull = items.length === limit || (items.length > 0 && sizeBytes > MAX_PAGE_BYTES);
          if (isFull) return { items, hasMore: true };
          items.push(item);
        }
      }
      return { items, hasMore: false };
    },

    async retrieveItem(key, itemId) {
      const { nextPosition } = await readHead(key);
      const row = await table.findItem(key, itemId, nextPosition, now());
      if (row === undefined) throw conversationItemNotFoundError(itemId);
      const { id, content } = await sealedItems.open(key, row);
      return { id, content };
    },

    async deleteItem(key, itemId) {
      const head = await readHead(key);
      const row = await table.findItem(key, itemId, head.nextPosition, now());
      if (row !== undefined) {
        // False if another call deleted the item meanwhile, or if the SDK repeated a request whose response was lost.
        const isDeleted = await table.markItemDeleted(key, row);
        const { countedBytes, countedUntil } = row;
        if (isDeleted && countedBytes !== undefined && countedUntil !== undefined)
          await giveBack(key, [{ countedBytes, countedUntil }]);
        return toConversation(key, head);
      }
      if (await table.removeDeletedItem(key, itemId, head.nextPosition)) return toConversation(key, head);
      throw conversationItemNotFoundError(itemId);
    },
  };
}
