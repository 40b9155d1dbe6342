import { LambentError } from '../core/errors.ts';
import { inParallel } from '../core/in-parallel.ts';
import type { Vault } from '../vault/vault.ts';
import type { ConversationKey, ConversationTable, ItemRow, PositionRange } from './conversation-records.ts';
import { decodeJson, encodeJson, toItemRecordName } from './conversation-seal.ts';
import { conversationLockedError } from './session-errors.ts';

/** One item: what is in it is its API's business, and sealed. */
export interface ConversationItem {
  readonly id: string;
  readonly content: unknown;
}

/** Where items of one writer go. */
export interface WritePosition {
  /** Position of the first one. */
  readonly from: number;
  /** The lock's epoch under which they are written. */
  readonly epoch: number;
  readonly turn: string;
}

/** The items of conversations, sealed on their way into the table and opened on their way out. */
export interface SealedItems {
  /** @throws LambentError `record_unreadable` */
  open(key: ConversationKey, row: ItemRow): Promise<ConversationItem>;
  /** Items of a range, `limit` of them at most. */
  read(key: ConversationKey, range: PositionRange, limit?: number): Promise<ConversationItem[]>;
  /** @throws LambentError `conversation_locked` when a later lock's holder has been there */
  write(
    key: ConversationKey,
    items: readonly ConversationItem[],
    place: WritePosition,
    expiresAt: number,
  ): Promise<void>;
}

/** Items that are opened or written at once. */
const AT_ONCE = 16;

/** Seals and opens items of a table. `now` is epoch milliseconds. */
export function createSealedItems(table: ConversationTable, vault: Vault, now: () => number): SealedItems {
  async function open(key: ConversationKey, row: ItemRow): Promise<ConversationItem> {
    const sealed = await table.readSealed(key, row);
    if (sealed === undefined) throw new LambentError('record_unreadable', `The content of ${row.itemId} is not there`);
    return { id: row.itemId, content: decodeJson(await vault.open(toItemRecordName(key, row), sealed)) };
  }

  return {
    open,

    async read(key, range, limit = Number.POSITIVE_INFINITY) {
      const rows: ItemRow[] = [];
      const paged = Number.isFinite(limit) ? { ...range, pageSize: limit } : range;
      for await (const row of table.queryItems(key, paged, now())) {
        rows.push(row);
        if (rows.length >= limit) break;
      }
      return inParallel(rows, AT_ONCE, (row) => open(key, row));
    },

    async write(key, items, { from, epoch, turn }, expiresAt) {
      await inParallel([...items.entries()], AT_ONCE, async ([offset, { id, content }]) => {
        const place = { position: from + offset, itemId: id, epoch, turn };
        const sealed = await vault.seal(toItemRecordName(key, place), encodeJson(content));
        if (!(await table.putItem(key, { ...place, sealed }, expiresAt))) throw conversationLockedError();
      });
    },
  };
}
