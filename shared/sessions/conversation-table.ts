import {
  BatchWriteItemCommand,
  ConditionalCheckFailedException,
  DeleteItemCommand,
  type DynamoDBClient,
  GetItemCommand,
  PutItemCommand,
  QueryCommand,
  UpdateItemCommand,
} from '@aws-sdk/client-dynamodb';
import { TABLE_LIMIT_BYTES } from '../aws/dynamodb.ts';
import {
  HEAD,
  hasExpired,
  type Item,
  itemKey,
  keyOf,
  MAX_POSITION,
  number,
  objectKey,
  objectsOf,
  partition,
  readHead,
  readRow,
  seconds,
} from './conversation-item.ts';
import type { ConversationKey, ConversationTable, Range } from './conversation-records.ts';

/** Where items go that are too large for the table. */
export interface ItemBucket {
  put(key: string, bytes: Uint8Array, onlyIfNew: boolean): Promise<boolean>;
  get(key: string): Promise<Uint8Array | undefined>;
  list(prefix: string): Promise<string[]>;
  remove(keys: readonly string[]): Promise<void>;
}

/** The conversations' table in DynamoDB, and the bucket beside it. Throws what AWS throws. */
export function createConversationTable(
  client: DynamoDBClient,
  TableName: string,
  bucket: ItemBucket,
): ConversationTable {
  /** An update that may be refused; undefined when it was. */
  async function update(
    key: ConversationKey,
    sk: string,
    UpdateExpression: string,
    ConditionExpression: string,
    values: Item,
  ): Promise<Item | undefined> {
    return unlessRefused(async () => {
      const { Attributes } = await client.send(
        new UpdateItemCommand({
          TableName,
          Key: keyOf(key, sk),
          UpdateExpression,
          ConditionExpression,
          ExpressionAttributeValues: values,
          ReturnValues: 'ALL_NEW',
        }),
      );
      return Attributes ?? {};
    });
  }

  async function* pages(
    key: ConversationKey,
    { from, to, newestFirst, pageSize }: Range,
    itemId?: string,
  ): AsyncGenerator<Item> {
    if (from >= to) return;
    let ExclusiveStartKey: Item | undefined;
    do {
      const page = await client.send(
        new QueryCommand({
          TableName,
          KeyConditionExpression: 'pk = :pk AND sk BETWEEN :from AND :to',
          ...(itemId === undefined ? {} : { FilterExpression: 'itemId = :itemId' }),
          ExpressionAttributeValues: {
            ':pk': { S: partition(key) },
            ':from': { S: itemKey(from) },
            ':to': { S: itemKey(to - 1) },
            ...(itemId === undefined ? {} : { ':itemId': { S: itemId } }),
          },
          ScanIndexForward: !newestFirst,
          ConsistentRead: true,
          ...(pageSize === undefined ? {} : { Limit: pageSize }),
          ...(ExclusiveStartKey === undefined ? {} : { ExclusiveStartKey }),
        }),
      );
      yield* page.Items ?? [];
      ExclusiveStartKey = page.LastEvaluatedKey;
    } while (ExclusiveStartKey !== undefined);
  }

  return {
    async create(key, head, expiresAt) {
      const written = await unlessRefused(() =>
        client.send(
          new PutItemCommand({
            TableName,
            Item: {
              ...keyOf(key, HEAD),
              createdAt: number(head.createdAt),
              nextPosition: number(head.nextPosition),
              lockEpoch: number(0),
              expiresAt: number(expiresAt),
              ...(head.metadata === undefined ? {} : { metadata: { B: head.metadata } }),
            },
            ConditionExpression: 'attribute_not_exists(pk)',
          }),
        ),
      );
      return written !== undefined;
    },

    async head(key, now) {
      const { Item } = await client.send(
        new GetItemCommand({ TableName, Key: keyOf(key, HEAD), ConsistentRead: true }),
      );
      return Item === undefined || hasExpired(Item, now) ? undefined : readHead(Item);
    },

    async describe(key, metadata, { now, expiresAt }) {
      const change = metadata === undefined ? 'REMOVE metadata' : 'SET metadata = :metadata';
      const item = await update(
        key,
        HEAD,
        `${change}${metadata === undefined ? ' SET' : ','} expiresAt = :expiresAt`,
        ALIVE,
        {
          ...(metadata === undefined ? {} : { ':metadata': { B: metadata } }),
          ':expiresAt': number(expiresAt),
          ':seconds': seconds(now),
        },
      );
      return item && readHead(item);
    },

    async deleteHead(key, now) {
      const deleted = await unlessRefused(() =>
        client.send(
          new DeleteItemCommand({
            TableName,
            Key: keyOf(key, HEAD),
            ConditionExpression: ALIVE,
            ExpressionAttributeValues: { ':seconds': seconds(now) },
          }),
        ),
      );
      return deleted !== undefined;
    },

    async deleteRows(key) {
      // All of them: a writer that crashed or was too late may have left some that no item names.
      await bucket.remove(await bucket.list(objectsOf(key)));
      const keys: Item[] = [];
      for await (const { pk, sk } of pages(key, { from: 0, to: MAX_POSITION, newestFirst: false })) {
        if (pk !== undefined && sk !== undefined) keys.push({ pk, sk });
      }
      for (let index = 0; index < keys.length; index += BATCH) {
        let requests = keys.slice(index, index + BATCH).map((Key) => ({ DeleteRequest: { Key } }));
        while (requests.length > 0) {
          const { UnprocessedItems } = await client.send(
            new BatchWriteItemCommand({ RequestItems: { [TableName]: requests } }),
          );
          const left = UnprocessedItems?.[TableName] ?? [];
          requests = left.flatMap(({ DeleteRequest }) =>
            DeleteRequest?.Key === undefined ? [] : [{ DeleteRequest: { Key: DeleteRequest.Key } }],
          );
        }
      }
    },

    async lock(key, owner, until, now) {
      const item = await update(
        key,
        HEAD,
        'SET lockOwner = :owner, lockExpiresAt = :until ADD lockEpoch :one',
        // A lock that is held already by who asks is one whose answer was lost.
        `${ALIVE} AND (attribute_not_exists(lockOwner) OR lockExpiresAt <= :now OR lockOwner = :owner)`,
        {
          ':owner': { S: owner },
          ':until': number(until),
          ':one': number(1),
          ':now': number(now),
          ':seconds': seconds(now),
        },
      );
      if (item !== undefined) return { head: readHead(item) };
      return (await this.head(key, now)) === undefined ? 'absent' : 'held';
    },

    async renew(key, owner, epoch, until) {
      const values = { ...mine(owner, epoch), ':until': number(until) };
      return (await update(key, HEAD, 'SET lockExpiresAt = :until', MINE, values)) !== undefined;
    },

    async release(key, owner, epoch) {
      await update(key, HEAD, 'REMOVE lockOwner, lockExpiresAt', MINE, mine(owner, epoch));
    },

    async commit(key, owner, epoch, nextPosition, expiresAt) {
      const item = await update(
        key,
        HEAD,
        'SET nextPosition = :next, expiresAt = :expiresAt REMOVE lockOwner, lockExpiresAt',
        MINE,
        { ...mine(owner, epoch), ':next': number(nextPosition), ':expiresAt': number(expiresAt) },
      );
      return item !== undefined;
    },

    async isShown(key, position, epoch, now) {
      const Key = keyOf(key, itemKey(position));
      const [head, { Item }] = await Promise.all([
        this.head(key, now),
        client.send(new GetItemCommand({ TableName, Key, ConsistentRead: true })),
      ]);
      return head !== undefined && head.nextPosition > position && Item?.['epoch']?.N === String(epoch);
    },

    async put(key, { position, itemId, epoch, turn, sealed }, expiresAt) {
      const isLarge = sealed.byteLength >= TABLE_LIMIT_BYTES;
      if (isLarge) await bucket.put(objectKey(key, position, epoch), sealed, false);
      const written = await unlessRefused(() =>
        client.send(
          new PutItemCommand({
            TableName,
            Item: {
              ...keyOf(key, itemKey(position)),
              itemId: { S: itemId },
              epoch: number(epoch),
              turn: { S: turn },
              ...(isLarge ? {} : { sealed: { B: sealed } }),
              expiresAt: number(expiresAt),
            },
            ConditionExpression: 'attribute_not_exists(epoch) OR epoch <= :epoch',
            ExpressionAttributeValues: { ':epoch': number(epoch) },
          }),
        ),
      );
      if (written === undefined && isLarge) await bucket.remove([objectKey(key, position, epoch)]);
      return written !== undefined;
    },

    async sealedOf(key, { position, epoch, sealed }) {
      return sealed ?? bucket.get(objectKey(key, position, epoch));
    },

    async *rows(key, range, now) {
      for await (const item of pages(key, range)) {
        const row = readRow(item, now);
        if (row !== undefined) yield row;
      }
    },

    async find(key, itemId, to, now) {
      for await (const item of pages(key, { from: 0, to, newestFirst: true }, itemId)) return readRow(item, now);
      return undefined;
    },

    async bury(key, { position, itemId, epoch, sealed }) {
      const item = await update(
        key,
        itemKey(position),
        'SET buried = :true REMOVE sealed, itemId',
        'itemId = :itemId',
        {
          ':true': { BOOL: true },
          ':itemId': { S: itemId },
        },
      );
      if (item === undefined) return false;
      if (sealed === undefined) await bucket.remove([objectKey(key, position, epoch)]);
      return true;
    },
  };
}

/** What BatchWriteItem takes at most. */
const BATCH = 25;
const ALIVE = 'attribute_exists(pk) AND expiresAt > :seconds';
const MINE = 'lockOwner = :owner AND lockEpoch = :epoch';

async function unlessRefused<T>(send: () => Promise<T>): Promise<T | undefined> {
  try {
    return await send();
  } catch (error) {
    if (error instanceof ConditionalCheckFailedException) return undefined;
    throw error;
  }
}

function mine(owner: string, epoch: number): Item {
  return { ':owner': { S: owner }, ':epoch': number(epoch) };
}
