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

/** An item as it was read. */
export interface ReadItem extends ConversationItem {
  /** Size of its sealed content. */
  readonly sizeBytes: number;
}

/** Where one turn writes its items. */
export interface WritePosition {
  /** Position of the first item. */
  readonly from: number;
  /** Epoch of the lock under which they are written. */
  readonly epoch: number;
  readonly turn: string;
  /** Epoch seconds until which the project's limits count them. Absent if they don't. */
  readonly countedUntil?: number | undefined;
}

/** Items of conversations, sealed before they are written and opened after they are read. */
export interface SealedItems {
  /**
   * Returns the item in a row.
   * @throws LambentError `record_unreadable`
   */
  open(key: ConversationKey, row: ItemRow): Promise<ReadItem>;
  /** Yields the items of a range in pages of at most 16 items, of which at most 4 are in the bucket. */
  readPages(key: ConversationKey, range: PositionRange): AsyncIterable<readonly ReadItem[]>;
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
/** Maximum number of items in the bucket, of up to 6 MB each, that are read at once. */
const LARGE_CONCURRENCY = 4;

/** Creates the sealed items of a table. `now` returns epoch milliseconds. */
export function createSealedItems(table: ConversationTable, vault: Vault, now: () => number): SealedItems {
  async function open(key: ConversationKey, row: ItemRow): Promise<ReadItem> {
    const sealed = await table.readSealed(key, row);
    if (sealed === undefined) throw new LambentError('record_unreadable', `The content of ${row.itemId} is missing`);
    const content = decodeJson(await vault.open(toItemRecordName(key, row), sealed));
    return { id: row.itemId, content, sizeBytes: sealed.byteLength };
  }

  return {
    open,

    async *readPages(key, range) {
      let rows: ItemRow[] = [];
      let large = 0;
      const openRows = () => mapInParallel(rows, CONCURRENCY, (row) => open(key, row));
      for await (const row of table.queryItems(key, range, now())) {
        rows.push(row);
        if (row.sealed === undefined) large += 1;
        if (rows.length < CONCURRENCY && large < LARGE_CONCURRENCY) continue;
        yield await openRows();
        rows = [];
        large = 0;
      }
      if (rows.length > 0) yield await openRows();
    },

    async write(key, items, { from, epoch, turn, countedUntil }, expiresAt) {
      await mapInParallel([...items.entries()], CONCURRENCY, async ([offset, { id, content }]) => {
        const row = { position: from + offset, itemId: id, epoch, turn };
        const sealed = await vault.seal(toItemRecordName(key, row), encodeJson(content));
        const counted = countedUntil === undefined ? {} : { countedBytes: sealed.byteLength, countedUntil };
        if (!(await table.putItem(key, { ...row, ...counted, sealed }, expiresAt))) throw conversationLockedError();
      });
    },
  };
}
