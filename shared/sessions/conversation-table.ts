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
  MAX_POSITION,
  parseHead,
  parseRow,
  toItemSortKey,
  toNumberAttribute,
  toObjectKey,
  toObjectPrefix,
  toPartitionKey,
  toSecondsAttribute,
  toTableKey,
} from './conversation-item.ts';
import type { ConversationKey, ConversationTable, PositionRange } from './conversation-records.ts';

/** Stores the items that are too large for the table. */
export interface ItemBucket {
  put(key: string, bytes: Uint8Array, onlyIfNew: boolean): Promise<boolean>;
  get(key: string): Promise<Uint8Array | undefined>;
  list(prefix: string): Promise<string[]>;
  remove(keys: readonly string[]): Promise<void>;
}

/** Creates the client of the conversations table in DynamoDB and its bucket. Throws the AWS SDK's errors. */
export function createConversationTable(
  client: DynamoDBClient,
  TableName: string,
  bucket: ItemBucket,
): ConversationTable {
  /** Sends a conditional update; returns the new item, or undefined if the condition was not met. */
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
          Key: toTableKey(key, sk),
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
    { from, to, newestFirst, pageSize }: PositionRange,
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
            ':pk': { S: toPartitionKey(key) },
            ':from': { S: toItemSortKey(from) },
            ':to': { S: toItemSortKey(to - 1) },
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
              ...toTableKey(key, HEAD),
              createdAt: toNumberAttribute(head.createdAt),
              nextPosition: toNumberAttribute(head.nextPosition),
              lockEpoch: toNumberAttribute(0),
              expiresAt: toNumberAttribute(expiresAt),
              ...(head.metadata === undefined ? {} : { metadata: { B: head.metadata } }),
            },
            ConditionExpression: 'attribute_not_exists(pk)',
          }),
        ),
      );
      return written !== undefined;
    },

    async readHead(key, now) {
      const { Item } = await client.send(
        new GetItemCommand({ TableName, Key: toTableKey(key, HEAD), ConsistentRead: true }),
      );
      return Item === undefined || hasExpired(Item, now) ? undefined : parseHead(Item);
    },

    async updateMetadata(key, metadata, { now, expiresAt }) {
      const change = metadata === undefined ? 'REMOVE metadata' : 'SET metadata = :metadata';
      const item = await update(
        key,
        HEAD,
        `${change}${metadata === undefined ? ' SET' : ','} expiresAt = :expiresAt`,
        EXISTS,
        {
          ...(metadata === undefined ? {} : { ':metadata': { B: metadata } }),
          ':expiresAt': toNumberAttribute(expiresAt),
          ':seconds': toSecondsAttribute(now),
        },
      );
      return item && parseHead(item);
    },

    async deleteHead(key, now) {
      const deleted = await unlessRefused(() =>
        client.send(
          new DeleteItemCommand({
            TableName,
            Key: toTableKey(key, HEAD),
            ConditionExpression: EXISTS,
            ExpressionAttributeValues: { ':seconds': toSecondsAttribute(now) },
          }),
        ),
      );
      return deleted !== undefined;
    },

    async deleteItems(key) {
      // The whole prefix: a writer that crashed or lost its lock may have left objects that no item refers to.
      await bucket.remove(await bucket.list(toObjectPrefix(key)));
      const keys: Item[] = [];
      for await (const { pk, sk } of pages(key, { from: 0, to: MAX_POSITION, newestFirst: false })) {
        if (pk !== undefined && sk !== undefined) keys.push({ pk, sk });
      }
      for (let index = 0; index < keys.length; index += BATCH_SIZE) {
        let requests = keys.slice(index, index + BATCH_SIZE).map((Key) => ({ DeleteRequest: { Key } }));
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

    async acquireLock(key, owner, until, now) {
      const item = await update(
        key,
        HEAD,
        'SET lockOwner = :owner, lockExpiresAt = :until ADD lockEpoch :one',
        // The same owner may acquire it again: the response to its first request was lost.
        `${EXISTS} AND (attribute_not_exists(lockOwner) OR lockExpiresAt <= :now OR lockOwner = :owner)`,
        {
          ':owner': { S: owner },
          ':until': toNumberAttribute(until),
          ':one': toNumberAttribute(1),
          ':now': toNumberAttribute(now),
          ':seconds': toSecondsAttribute(now),
        },
      );
      if (item !== undefined) return { head: parseHead(item) };
      return (await this.readHead(key, now)) === undefined ? 'absent' : 'held';
    },

    async renewLock(key, owner, epoch, until) {
      const values = { ...toOwnerValues(owner, epoch), ':until': toNumberAttribute(until) };
      return (await update(key, HEAD, 'SET lockExpiresAt = :until', OWNS_LOCK, values)) !== undefined;
    },

    async releaseLock(key, owner, epoch) {
      await update(key, HEAD, 'REMOVE lockOwner, lockExpiresAt', OWNS_LOCK, toOwnerValues(owner, epoch));
    },

    async commitTurn(key, owner, epoch, nextPosition, expiresAt) {
      const item = await update(
        key,
        HEAD,
        'SET nextPosition = :next, expiresAt = :expiresAt REMOVE lockOwner, lockExpiresAt',
        OWNS_LOCK,
        {
          ...toOwnerValues(owner, epoch),
          ':next': toNumberAttribute(nextPosition),
          ':expiresAt': toNumberAttribute(expiresAt),
        },
      );
      return item !== undefined;
    },

    async isCommitted(key, position, epoch, now) {
      const Key = toTableKey(key, toItemSortKey(position));
      const [head, { Item }] = await Promise.all([
        this.readHead(key, now),
        client.send(new GetItemCommand({ TableName, Key, ConsistentRead: true })),
      ]);
      return head !== undefined && head.nextPosition > position && Item?.['epoch']?.N === String(epoch);
    },

    async putItem(key, { position, itemId, epoch, turn, sealed }, expiresAt) {
      const isLarge = sealed.byteLength >= TABLE_LIMIT_BYTES;
      if (isLarge) await bucket.put(toObjectKey(key, position, epoch), sealed, false);
      const written = await unlessRefused(() =>
        client.send(
          new PutItemCommand({
            TableName,
            Item: {
              ...toTableKey(key, toItemSortKey(position)),
              itemId: { S: itemId },
              epoch: toNumberAttribute(epoch),
              turn: { S: turn },
              ...(isLarge ? {} : { sealed: { B: sealed } }),
              expiresAt: toNumberAttribute(expiresAt),
            },
            ConditionExpression: 'attribute_not_exists(epoch) OR epoch <= :epoch',
            ExpressionAttributeValues: { ':epoch': toNumberAttribute(epoch) },
          }),
        ),
      );
      if (written === undefined && isLarge) await bucket.remove([toObjectKey(key, position, epoch)]);
      return written !== undefined;
    },

    async readSealed(key, { position, epoch, sealed }) {
      return sealed ?? bucket.get(toObjectKey(key, position, epoch));
    },

    async *queryItems(key, range, now) {
      for await (const item of pages(key, range)) {
        const row = parseRow(item, now);
        if (row !== undefined) yield row;
      }
    },

    async findItem(key, itemId, to, now) {
      for await (const item of pages(key, { from: 0, to, newestFirst: true }, itemId)) return parseRow(item, now);
      return undefined;
    },

    async markItemDeleted(key, { position, itemId, epoch, sealed }) {
      const item = await update(
        key,
        toItemSortKey(position),
        'SET buried = :true REMOVE sealed, itemId',
        'itemId = :itemId',
        {
          ':true': { BOOL: true },
          ':itemId': { S: itemId },
        },
      );
      if (item === undefined) return false;
      if (sealed === undefined) await bucket.remove([toObjectKey(key, position, epoch)]);
      return true;
    },
  };
}

/** Maximum number of requests in a BatchWriteItem. */
const BATCH_SIZE = 25;
const EXISTS = 'attribute_exists(pk) AND expiresAt > :seconds';
const OWNS_LOCK = 'lockOwner = :owner AND lockEpoch = :epoch';

async function unlessRefused<T>(send: () => Promise<T>): Promise<T | undefined> {
  try {
    return await send();
  } catch (error) {
    if (error instanceof ConditionalCheckFailedException) return undefined;
    throw error;
  }
}

function toOwnerValues(owner: string, epoch: number): Item {
  return { ':owner': { S: owner }, ':epoch': toNumberAttribute(epoch) };
}
