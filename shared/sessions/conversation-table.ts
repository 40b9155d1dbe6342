import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { type Item, marshall } from '../aws/attributes.ts';
import {
  deleteItems,
  getItem,
  putItem,
  type Query,
  queryItems,
  takeItem,
  updateAndGetItem,
  updateAndGetOld,
  updateItem,
} from '../aws/table.ts';
import { mapInParallel } from '../core/map-in-parallel.ts';
import { omitUndefined } from '../core/objects.ts';
import {
  HEAD,
  hasExpired,
  listCounted,
  MAX_POSITION,
  parseDeletedRow,
  parseHead,
  parseRow,
  toItemSortKey,
  toObjectKey,
  toObjectPrefix,
  toPartitionKey,
  toSeconds,
  toTableKey,
} from './conversation-item.ts';
import type { ConversationKey, ConversationTable, CountedRow, PositionRange } from './conversation-records.ts';

/**
 * The most sealed bytes that are stored in an item's row. A larger item costs less as an object of the bucket. By the prices of
 * `BODY_ITEM_BYTES` (shared/jobs/dynamodb-blobs.ts), counting the row that an object needs too, that is so above 9 KB for an item
 * that is read once, and above 13 KB for one that is read with every turn of a long conversation.
 */
export const ITEM_BYTES = 12_000;

/** Stores the items that are too large for the table. */
export interface ItemBucket {
  put(key: string, bytes: Uint8Array, onlyIfNew: boolean): Promise<boolean>;
  get(key: string): Promise<Uint8Array | undefined>;
  list(prefix: string): Promise<string[]>;
  remove(keys: readonly string[]): Promise<void>;
}

/** Creates the client of the conversations table in DynamoDB and its bucket. Throws the AWS SDK's errors. */
export function createConversationTable(client: DynamoDBClient, name: string, bucket: ItemBucket): ConversationTable {
  const table = { client, name };

  /** Yields the items at positions from `from` up to, and not including, `to`. */
  async function* queryPositions(
    key: ConversationKey,
    { from, to, newestFirst, pageSize }: PositionRange,
    { filter, values, fields }: Pick<Query, 'filter' | 'values' | 'fields'> = {},
  ): AsyncGenerator<Item> {
    if (from >= to) return;
    yield* queryItems(table, {
      where: 'pk = :pk AND sk BETWEEN :from AND :to',
      values: {
        ...marshall({ ':pk': toPartitionKey(key), ':from': toItemSortKey(from), ':to': toItemSortKey(to - 1) }),
        ...values,
      },
      newestFirst,
      ...omitUndefined({ filter, fields, pageSize }),
    });
  }

  /** Removes a deleted item's object, and then the id in its tombstone. */
  async function removeObject(key: ConversationKey, position: number, epoch: number): Promise<void> {
    await bucket.remove([toObjectKey(key, position, epoch)]);
    await updateItem(table, toTableKey(key, toItemSortKey(position)), {
      change: 'REMOVE deletedItemId',
      condition: 'attribute_exists(buried) AND epoch = :epoch',
      values: marshall({ ':epoch': epoch }),
    });
  }

  return {
    create: (key, head, expiresAt) =>
      putItem(
        table,
        { ...toTableKey(key, HEAD), ...marshall({ ...head, lockEpoch: 0, expiresAt }) },
        { condition: 'attribute_not_exists(pk)' },
      ),

    async readHead(key, now) {
      const item = await getItem(table, toTableKey(key, HEAD));
      return item === undefined || hasExpired(item, now) ? undefined : parseHead(item);
    },

    async updateMetadata(key, metadata, { now, expiresAt }) {
      const isRemoved = metadata === undefined;
      const item = await updateAndGetItem(table, toTableKey(key, HEAD), {
        change: `SET expiresAt = :expiresAt${isRemoved ? ' REMOVE metadata' : ', metadata = :metadata'}`,
        condition: EXISTS,
        values: marshall({ ':metadata': metadata, ':expiresAt': expiresAt, ':seconds': toSeconds(now) }),
      });
      return item && parseHead(item);
    },

    async deleteHead(key, now) {
      const head = await takeItem(table, toTableKey(key, HEAD), {
        condition: EXISTS,
        values: marshall({ ':seconds': toSeconds(now) }),
      });
      return listCounted(head);
    },

    async deleteItems(key) {
      // The whole prefix: a writer that crashed or lost its lock may have left objects that no item refers to.
      await bucket.remove(await bucket.list(toObjectPrefix(key)));
      let keys: Item[] = [];
      let countedKeys: Item[] = [];
      const counted: CountedRow[] = [];
      const deletePage = async (): Promise<void> => {
        // One by one, so that of two calls at once only one gets what is counted for a row.
        const taken = await mapInParallel(countedKeys, DELETE_CONCURRENCY, (each) =>
          updateAndGetOld(table, each, {
            change: 'REMOVE countedBytes, countedUntil',
            condition: 'attribute_exists(countedBytes)',
          }),
        );
        counted.push(...taken.flatMap(listCounted));
        await deleteItems(table, [...keys, ...countedKeys]);
        keys = [];
        countedKeys = [];
      };
      const range = { from: 0, to: MAX_POSITION, newestFirst: false };
      for await (const item of queryPositions(key, range, { fields: 'pk, sk, countedBytes' })) {
        const { countedBytes, ...itemKey } = item;
        if (countedBytes === undefined) keys.push(itemKey);
        else countedKeys.push(itemKey);
        if (keys.length + countedKeys.length === DELETE_PAGE_SIZE) await deletePage();
      }
      await deletePage();
      return counted;
    },

    async acquireLock(key, owner, until, now) {
      const item = await updateAndGetItem(table, toTableKey(key, HEAD), {
        change: 'SET lockOwner = :owner, lockExpiresAt = :until ADD lockEpoch :one',
        // The same owner may acquire it again: the response to its first request was lost.
        condition: `${EXISTS} AND (attribute_not_exists(lockOwner) OR lockExpiresAt <= :now OR lockOwner = :owner)`,
        values: marshall({ ':owner': owner, ':until': until, ':one': 1, ':now': now, ':seconds': toSeconds(now) }),
      });
      if (item !== undefined) return { head: parseHead(item) };
      return (await this.readHead(key, now)) === undefined ? 'absent' : 'held';
    },

    renewLock: (key, owner, epoch, until) =>
      updateItem(table, toTableKey(key, HEAD), {
        change: 'SET lockExpiresAt = :until',
        condition: OWNS_LOCK,
        values: marshall({ ':owner': owner, ':epoch': epoch, ':until': until }),
      }),

    async releaseLock(key, owner, epoch) {
      await updateItem(table, toTableKey(key, HEAD), {
        change: 'REMOVE lockOwner, lockExpiresAt',
        condition: OWNS_LOCK,
        values: marshall({ ':owner': owner, ':epoch': epoch }),
      });
    },

    commitTurn: (key, owner, epoch, nextPosition, expiresAt) =>
      updateItem(table, toTableKey(key, HEAD), {
        change: 'SET nextPosition = :next, expiresAt = :expiresAt REMOVE lockOwner, lockExpiresAt',
        condition: OWNS_LOCK,
        values: marshall({ ':owner': owner, ':epoch': epoch, ':next': nextPosition, ':expiresAt': expiresAt }),
      }),

    async isCommitted(key, position, epoch, now) {
      const [head, item] = await Promise.all([
        this.readHead(key, now),
        getItem(table, toTableKey(key, toItemSortKey(position))),
      ]);
      return head !== undefined && head.nextPosition > position && item?.['epoch']?.N === String(epoch);
    },

    async putItem(key, { position, itemId, epoch, turn, sealed, countedBytes, countedUntil }, expiresAt) {
      const isLarge = sealed.byteLength > ITEM_BYTES;
      if (isLarge) await bucket.put(toObjectKey(key, position, epoch), sealed, false);
      const content = isLarge ? undefined : sealed;
      const attributes = marshall({ itemId, epoch, turn, sealed: content, expiresAt, countedBytes, countedUntil });
      const written = await putItem(
        table,
        { ...toTableKey(key, toItemSortKey(position)), ...attributes },
        { condition: 'attribute_not_exists(epoch) OR epoch <= :epoch', values: marshall({ ':epoch': epoch }) },
      );
      if (!written && isLarge) await bucket.remove([toObjectKey(key, position, epoch)]);
      return written;
    },

    async readSealed(key, { position, epoch, sealed }) {
      return sealed ?? bucket.get(toObjectKey(key, position, epoch));
    },

    async *queryItems(key, range, now) {
      for await (const item of queryPositions(key, range)) {
        const row = parseRow(item, now);
        if (row !== undefined) yield row;
      }
    },

    async findItem(key, itemId, to, now) {
      const filter = { filter: 'itemId = :itemId', values: marshall({ ':itemId': itemId }) };
      for await (const item of queryPositions(key, { from: 0, to, newestFirst: true }, filter))
        return parseRow(item, now);
      return undefined;
    },

    async hasTurn(key, turn, from, to) {
      const filter = { filter: 'turn = :turn', values: marshall({ ':turn': turn }), fields: 'sk' };
      for await (const _ of queryPositions(key, { from, to, newestFirst: true }, filter)) return true;
      return false;
    },

    async findIds(key, ids, to) {
      const found = new Set<string>();
      for (let start = 0; start < ids.length; start += MAX_OPERANDS) {
        const values = Object.fromEntries(
          ids.slice(start, start + MAX_OPERANDS).map((id, index) => [`:id${index}`, { S: id }]),
        );
        const filter = { filter: `itemId IN (${Object.keys(values).join(', ')})`, values, fields: 'itemId' };
        for await (const { itemId } of queryPositions(key, { from: 0, to, newestFirst: true }, filter)) {
          if (itemId?.S !== undefined) found.add(itemId.S);
        }
      }
      return found;
    },

    async markItemDeleted(key, { position, itemId, epoch, sealed }) {
      const itemKey = toTableKey(key, toItemSortKey(position));
      const isLarge = sealed === undefined;
      const deleted = await updateItem(table, itemKey, {
        // The tombstone keeps the id until the object is removed, so that a repetition finds the object.
        change: `SET buried = :true${isLarge ? ', deletedItemId = itemId' : ''} REMOVE sealed, itemId, countedBytes, countedUntil`,
        condition: 'itemId = :itemId',
        values: marshall({ ':true': true, ':itemId': itemId }),
      });
      if (isLarge) await removeObject(key, position, epoch);
      return deleted;
    },

    async removeDeletedItem(key, itemId, to) {
      const filter = { filter: 'deletedItemId = :itemId', values: marshall({ ':itemId': itemId }) };
      for await (const item of queryPositions(key, { from: 0, to, newestFirst: true }, filter)) {
        const { position, epoch } = parseDeletedRow(item);
        await removeObject(key, position, epoch);
        return true;
      }
      return false;
    },
  };
}

/** Items that are listed before they are deleted. */
const DELETE_PAGE_SIZE = 500;
/** Counted items that are deleted at the same time. */
const DELETE_CONCURRENCY = 16;
/** DynamoDB's limit of operands of `IN`. */
const MAX_OPERANDS = 100;

const EXISTS = 'attribute_exists(pk) AND expiresAt > :seconds';
const OWNS_LOCK = 'lockOwner = :owner AND lockEpoch = :epoch';
