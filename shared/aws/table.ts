import { setTimeout as sleepFor } from 'node:timers/promises';
import {
  BatchGetItemCommand,
  BatchWriteItemCommand,
  ConditionalCheckFailedException,
  DeleteItemCommand,
  type DynamoDBClient,
  GetItemCommand,
  PutItemCommand,
  QueryCommand,
  ScanCommand,
  UpdateItemCommand,
  type WriteRequest,
} from '@aws-sdk/client-dynamodb';
import { LambentError } from '../core/errors.ts';
import type { Item } from './attributes.ts';

/** A table of DynamoDB. Every function that takes one makes one request, unless it says otherwise, and throws what DynamoDB throws. */
export interface Table {
  readonly client: DynamoDBClient;
  readonly name: string;
}

/** A condition of a write: the write is refused, without an error, while it doesn't hold. */
export interface Condition {
  readonly condition?: string;
  /** Attribute names by the placeholders (`#name`) that stand for them. */
  readonly names?: Readonly<Record<string, string>>;
  /** Values by their placeholders (`:value`). */
  readonly values?: Item;
}

export interface Update extends Condition {
  /** `SET …`, `REMOVE …`, `ADD …`. */
  readonly change: string;
}

export interface Query extends Pick<Condition, 'names' | 'values'> {
  /** The condition on the key. */
  readonly where: string;
  /** A condition on other attributes. Items that don't meet it are read, and paid for, all the same. */
  readonly filter?: string;
  /** The attributes to read, separated by commas; all of them when absent. */
  readonly fields?: string;
  readonly newestFirst?: boolean;
  /** Items that one request reads at most; as many as fit into 1 MB when absent. */
  readonly pageSize?: number;
  /** A global index instead of the table: it follows the table by a moment. */
  readonly index?: string;
}

/**
 * Reads an item; undefined if it isn't there.
 * @param eventual at half the price; a write of the last moment may be missing
 */
export async function getItem(
  { client, name }: Table,
  key: Item,
  { eventual = false }: { readonly eventual?: boolean } = {},
): Promise<Item | undefined> {
  const { Item } = await client.send(new GetItemCommand({ TableName: name, Key: key, ConsistentRead: !eventual }));
  return Item;
}

/**
 * Reads items by their keys, 100 at most, at the price of eventual reads. Items that a busy table leaves unprocessed are missing, as
 * if they weren't there.
 */
export async function findItems({ client, name }: Table, keys: readonly Item[]): Promise<readonly Item[]> {
  const { Responses } = await client.send(new BatchGetItemCommand({ RequestItems: { [name]: { Keys: [...keys] } } }));
  return Responses?.[name] ?? [];
}

/** Writes an item over any of the same key. Returns false if the condition doesn't hold. */
export async function putItem({ client, name }: Table, item: Item, condition: Condition = {}): Promise<boolean> {
  const command = new PutItemCommand({ TableName: name, Item: item, ...toInput(condition) });
  return (await unlessRefused(client.send(command))) !== undefined;
}

/** Changes an item, or makes it. Returns false if the condition doesn't hold. */
export async function updateItem({ client, name }: Table, key: Item, update: Update): Promise<boolean> {
  const command = new UpdateItemCommand({
    TableName: name,
    Key: key,
    UpdateExpression: update.change,
    ...toInput(update),
  });
  return (await unlessRefused(client.send(command))) !== undefined;
}

/** Changes an item, or makes it, and returns it as it is then; undefined if the condition doesn't hold. */
export async function updateAndGetItem({ client, name }: Table, key: Item, update: Update): Promise<Item | undefined> {
  const command = new UpdateItemCommand({
    TableName: name,
    Key: key,
    UpdateExpression: update.change,
    ...toInput(update),
    ReturnValues: 'ALL_NEW',
  });
  const output = await unlessRefused(client.send(command));
  return output && (output.Attributes ?? {});
}

/** Deletes an item. Returns false if the condition doesn't hold. */
export async function deleteItem({ client, name }: Table, key: Item, condition: Condition = {}): Promise<boolean> {
  const command = new DeleteItemCommand({ TableName: name, Key: key, ...toInput(condition) });
  return (await unlessRefused(client.send(command))) !== undefined;
}

/** Reads the items that a query finds, one request for each page, as they are asked for. */
export async function* queryItems(table: Table, query: Query): AsyncGenerator<Item> {
  let after: Item | undefined;
  do {
    const page = await readPage(table, query, after);
    yield* page.items;
    after = page.last;
  } while (after !== undefined);
}

/** Reads all items that a query finds, one request for each page. */
export async function queryAllItems(table: Table, query: Query): Promise<Item[]> {
  const items: Item[] = [];
  for await (const item of queryItems(table, query)) items.push(item);
  return items;
}

/** Reads the first page of what a query finds. */
export async function queryPage(table: Table, query: Query): Promise<readonly Item[]> {
  return (await readPage(table, query)).items;
}

async function readPage({ client, name }: Table, query: Query, after?: Item) {
  const { Items = [], LastEvaluatedKey } = await client.send(
    new QueryCommand({
      TableName: name,
      IndexName: query.index,
      KeyConditionExpression: query.where,
      FilterExpression: query.filter,
      ProjectionExpression: query.fields,
      ExpressionAttributeNames: query.names,
      ExpressionAttributeValues: query.values,
      ScanIndexForward: !query.newestFirst,
      ConsistentRead: query.index === undefined,
      Limit: query.pageSize,
      ExclusiveStartKey: after,
    }),
  );
  return { items: Items, last: LastEvaluatedKey };
}

/** Reads every item of a table that meets a filter, one request for each page. All items are read, and paid for. */
export async function* scanItems(
  { client, name }: Table,
  { filter, fields, values }: Pick<Query, 'fields' | 'values'> & { readonly filter: string },
): AsyncGenerator<Item> {
  let after: Item | undefined;
  do {
    const { Items = [], LastEvaluatedKey } = await client.send(
      new ScanCommand({
        TableName: name,
        FilterExpression: filter,
        ProjectionExpression: fields,
        ExpressionAttributeValues: values,
        ConsistentRead: true,
        ExclusiveStartKey: after,
      }),
    );
    yield* Items;
    after = LastEvaluatedKey;
  } while (after !== undefined);
}

/** Deletes items by their keys, in batches. Throws as `writeBatches` does. */
export async function deleteItems(table: Table, keys: readonly Item[], options?: BatchOptions): Promise<void> {
  const requests = keys.map((Key) => ({ DeleteRequest: { Key } }));
  await writeBatches(table, requests, options);
}

/** Writes items over any of the same keys, in batches. Throws as `writeBatches` does. */
export async function putItems(table: Table, items: readonly Item[], options?: BatchOptions): Promise<void> {
  const requests = items.map((item) => ({ PutRequest: { Item: item } }));
  await writeBatches(table, requests, options);
}

export interface BatchOptions {
  /** What to do with writes that a busy table leaves unprocessed. `drop` is for hints, which may get lost. Default `retry`. */
  readonly unprocessed?: 'retry' | 'drop';
  /** Resolves after `ms`. */
  readonly sleep?: (ms: number) => Promise<unknown>;
}

/** What BatchWriteItem takes at most. */
const BATCH_SIZE = 25;
/** Batches without progress, after which the writes fail: 4 to 8 s of pauses, in which a table on demand adds throughput. */
const BATCH_TRIES = 8;
const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 2_000;

/**
 * Makes writes in batches of 25. Repeats those that a busy table leaves unprocessed, after a pause that doubles while there is no
 * progress.
 * @throws LambentError `overloaded` if eight batches in a row make no progress
 */
async function writeBatches(
  { client, name }: Table,
  requests: readonly WriteRequest[],
  { unprocessed = 'retry', sleep = sleepFor }: BatchOptions = {},
): Promise<void> {
  let left = requests;
  let failed = 0;
  while (left.length > 0) {
    const batch = left.slice(0, BATCH_SIZE);
    const { UnprocessedItems } = await client.send(new BatchWriteItemCommand({ RequestItems: { [name]: batch } }));
    const again = unprocessed === 'retry' ? (UnprocessedItems?.[name] ?? []) : [];
    left = [...again, ...left.slice(BATCH_SIZE)];
    if (again.length === 0) continue;
    failed = again.length === batch.length ? failed + 1 : 0;
    if (failed === BATCH_TRIES) throw new LambentError('overloaded', `${name} left ${left.length} writes unprocessed`);
    // Half of the pause is random, so that writers that were refused together don't come back together.
    await sleep(Math.min(FIRST_PAUSE_MS * 2 ** failed, LONGEST_PAUSE_MS) * (0.5 + Math.random() / 2));
  }
}

function toInput({ condition, names, values }: Condition) {
  return {
    ConditionExpression: condition,
    ExpressionAttributeNames: names && { ...names },
    ExpressionAttributeValues: values,
  };
}

async function unlessRefused<T>(write: Promise<T>): Promise<T | undefined> {
  try {
    return await write;
  } catch (error) {
    if (error instanceof ConditionalCheckFailedException) return undefined;
    throw error;
  }
}
