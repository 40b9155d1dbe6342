import { LambentError } from '../core/errors.ts';
import { mapInParallel } from '../core/map-in-parallel.ts';
import type { Vault } from '../vault/vault.ts';
import type { ConversationKey, ConversationTable, ItemRow, PositionRange } from './conversation-records.ts';
import { decodeJson, encodeJson, toItemRecordName } from './conversation-seal.ts';
import { conversationLockedError } from './session-errors.ts';

/** One item. Its content is in the API's format, which sessions don't interpret. */
export interface ConversationItem {
  readonly id: string;
  readonly content: unknown;
}

/** Where one turn writes its items. */
export interface WritePosition {
  /** Position of the first item. */
  readonly from: number;
  /** Epoch of the lock under which they are written. */
  readonly epoch: number;
  readonly turn: string;
}

/** Items of conversations, sealed before they are written and opened after they are read. */
export interface SealedItems {
  /**
   * Returns the item in a row.
   * @throws LambentError `record_unreadable`
   */
  open(key: ConversationKey, row: ItemRow): Promise<ConversationItem>;
  /** Reads the items of a range, at most `limit`. */
  read(key: ConversationKey, range: PositionRange, limit?: number): Promise<ConversationItem[]>;
  /**
   * Writes the items of one turn.
   * @param expiresAt epoch seconds
   * @throws LambentError `conversation_locked` if the holder of a later lock has written at these positions
   */
  write(
    key: ConversationKey,
    items: readonly ConversationItem[],
    position: WritePosition,
    expiresAt: number,
  ): Promise<void>;
}

/** Maximum number of items that are opened or written at once. */
const CONCURRENCY = 16;

/** Creates the sealed items of a table. `now` returns epoch milliseconds. */
export function createSealedItems(table: ConversationTable, vault: Vault, now: () => number): SealedItems {
  async function open(key: ConversationKey, row: ItemRow): Promise<ConversationItem> {
    const sealed = await table.readSealed(key, row);
    if (sealed === undefined) throw new LambentError('record_unreadable', `The content of ${row.itemId} is missing`);
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
      return mapInParallel(rows, CONCURRENCY, (row) => open(key, row));
    },

    async write(key, items, { from, epoch, turn }, expiresAt) {
      await mapInParallel([...items.entries()], CONCURRENCY, async ([offset, { id, content }]) => {
        const row = { position: from + offset, itemId: id, epoch, turn };
        const sealed = await vault.seal(toItemRecordName(key, row), encodeJson(content));
        if (!(await table.putItem(key, { ...row, sealed }, expiresAt))) throw conversationLockedError();
      });
    },
  };
}
