import { LambentError } from '../core/errors.ts';
import type { Vault } from '../vault/vault.ts';
import type { ConversationHead, ConversationKey, ConversationTable } from './conversation-records.ts';
import { decodeJson, encodeJson, isStringRecord, toMetadataRecordName } from './conversation-seal.ts';
import { type ConversationItem, createSealedItems } from './sealed-items.ts';
import { afterNotFoundError, conversationItemNotFoundError, conversationNotFoundError } from './session-errors.ts';
import { type ConversationTurns, createTurns, type Turn } from './turns.ts';

export type { ConversationItem, Turn };

/** A conversation as its caller sees it. */
export interface Conversation {
  readonly id: string;
  /** Epoch milliseconds. */
  readonly createdAt: number;
  readonly metadata: Readonly<Record<string, string>>;
}

/** What may be asked of a list of items. */
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
 * The conversations of all tenants. Every method that names one throws LambentError `not_found` when it isn't there,
 * has expired, or is another tenant's: nobody can tell which.
 */
export interface Conversations extends ConversationTurns {
  create(
    key: ConversationKey,
    metadata: Conversation['metadata'],
    items: readonly ConversationItem[],
  ): Promise<Conversation>;
  retrieve(key: ConversationKey): Promise<Conversation>;
  update(key: ConversationKey, metadata: Conversation['metadata']): Promise<Conversation>;
  delete(key: ConversationKey): Promise<void>;
  list(key: ConversationKey, listing: ListOptions): Promise<ItemPage>;
  item(key: ConversationKey, itemId: string): Promise<ConversationItem>;
  deleteItem(key: ConversationKey, itemId: string): Promise<Conversation>;
  /** All items, oldest first, without taking a turn. */
  items(key: ConversationKey): Promise<readonly ConversationItem[]>;
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

const DAY_SECONDS = 86_400;

/** Makes the conversations of one environment. */
export function createConversations(options: ConversationsOptions): Conversations {
  const { table, vault, retentionDays, now = Date.now, random = Math.random } = options;
  const expiry = (): number => Math.floor(now() / 1000) + retentionDays * DAY_SECONDS;
  const sealedItems = createSealedItems(table, vault, now);

  async function shown(key: ConversationKey, { createdAt, metadata }: ConversationHead): Promise<Conversation> {
    const opened = metadata === undefined ? {} : decodeJson(await vault.open(toMetadataRecordName(key), metadata));
    return { id: key.id, createdAt, metadata: isStringRecord(opened) ? opened : {} };
  }

  async function sealedMetadata(
    key: ConversationKey,
    metadata: Conversation['metadata'],
  ): Promise<Uint8Array | undefined> {
    return Object.keys(metadata).length === 0 ? undefined : vault.seal(toMetadataRecordName(key), encodeJson(metadata));
  }

  async function headOf(key: ConversationKey): Promise<ConversationHead> {
    const head = await table.readHead(key, now());
    if (head === undefined) throw conversationNotFoundError(key.id);
    return head;
  }

  return {
    ...createTurns({ table, items: sealedItems, expiry, now, random }),

    async create(key, metadata, items) {
      await sealedItems.write(key, items, { from: 0, epoch: 0, turn: 'create' }, expiry());
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
      const head = await table.updateMetadata(key, sealed, { now: now(), expiresAt: expiry() });
      if (head === undefined) throw conversationNotFoundError(key.id);
      return { id: key.id, createdAt: head.createdAt, metadata };
    },

    async delete(key) {
      await headOf(key);
      // The items first: what breaks off can be found and deleted again. Then those of a turn that wrote meanwhile.
      await table.deleteItems(key);
      await table.deleteHead(key, now());
      await table.deleteItems(key);
    },

    async list(key, { newestFirst, after, limit }) {
      const { nextPosition } = await headOf(key);
      let from = 0;
      let to = nextPosition;
      if (after !== undefined) {
        const row = await table.findItem(key, after, nextPosition, now());
        if (row === undefined) throw afterNotFoundError(after);
        if (newestFirst) to = row.position;
        else from = row.position + 1;
      }
      const items = await sealedItems.read(key, { from, to, newestFirst }, limit + 1);
      return { items: items.slice(0, limit), hasMore: items.length > limit };
    },

    async item(key, itemId) {
      const { nextPosition } = await headOf(key);
      const row = await table.findItem(key, itemId, nextPosition, now());
      if (row === undefined) throw conversationItemNotFoundError(itemId);
      return sealedItems.open(key, row);
    },

    async deleteItem(key, itemId) {
      const head = await headOf(key);
      const row = await table.findItem(key, itemId, head.nextPosition, now());
      if (row === undefined || !(await table.markItemDeleted(key, row))) throw conversationItemNotFoundError(itemId);
      return shown(key, head);
    },

    async items(key) {
      const { nextPosition } = await headOf(key);
      return sealedItems.read(key, { from: 0, to: nextPosition, newestFirst: false });
    },
  };
}
