import { setTimeout as sleepFor } from 'node:timers/promises';
import {
  BatchGetItemCommand,
  type BatchGetItemCommandOutput,
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

/**
 * A DynamoDB table. Each function of this module makes one request, unless its description says otherwise, and throws
 * DynamoDB's errors.
 */
export interface Table {
  readonly client: DynamoDBClient;
  readonly name: string;
}

/** The condition of a write. If it doesn't hold, nothing is written, and the result says so; no error is thrown. */
export interface Condition {
  readonly condition?: string;
  /** Attribute names by placeholder (`#name`). */
  readonly names?: Readonly<Record<string, string>>;
  /** Values by placeholder (`:value`). */
  readonly values?: Item;
}

export interface Update extends Condition {
  /** `SET …`, `REMOVE …`, `ADD …`. */
  readonly change: string;
}

export interface Query extends Pick<Condition, 'names' | 'values'> {
  /** The condition on the key. */
  readonly where: string;
  /** A condition on other attributes. Items that don't meet it are read, and billed, too. */
  readonly filter?: string;
  /** The attributes to read, separated by commas. Default: all. */
  readonly fields?: string;
  readonly newestFirst?: boolean;
  /** Most items that one request reads. Default: as many as fit into 1 MB. */
  readonly pageSize?: number;
  /** Name of a global index to query instead of the table. It is eventually consistent. */
  readonly index?: string;
}

/**
 * Reads an item. Returns undefined if it doesn't exist.
 * @param eventual true for an eventually consistent read, which costs half
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
 * Reads up to 100 items by their keys, eventually consistent. Items that a throttled table leaves unprocessed are
 * missing from the result, like items that don't exist.
 */
export async function findItems({ client, name }: Table, keys: readonly Item[]): Promise<readonly Item[]> {
  const { Responses } = await client.send(new BatchGetItemCommand({ RequestItems: { [name]: { Keys: [...keys] } } }));
  return Responses?.[name] ?? [];
}

/**
 * Reads up to 100 items by their keys, strongly consistent. Asks again, after a growing pause, for keys that a throttled table
 * left unprocessed.
 * @throws LambentError `overloaded` if eight requests in a row return nothing
 */
export async function getItems(
  { client, name }: Table,
  keys: readonly Item[],
  { sleep = sleepFor }: Pick<BatchOptions, 'sleep'> = {},
): Promise<readonly Item[]> {
  const items: Item[] = [];
  let left: Item[] = [...keys];
  let failed = 0;
  for (let round = 0; left.length > 0; round += 1) {
    if (failed === MAX_FAILED_BATCHES)
      throw new LambentError('overloaded', `${name} left ${left.length} reads unprocessed`);
    if (round > 0) await sleep(Math.min(BASE_PAUSE_MS * 2 ** failed, LONGEST_PAUSE_MS) * (0.5 + Math.random() / 2));
    const command: BatchGetItemCommand = new BatchGetItemCommand({
      RequestItems: { [name]: { Keys: left, ConsistentRead: true } },
    });
    const { Responses, UnprocessedKeys }: BatchGetItemCommandOutput = await client.send(command);
    items.push(...(Responses?.[name] ?? []));
    const again: Item[] = UnprocessedKeys?.[name]?.Keys ?? [];
    failed = again.length === left.length ? failed + 1 : 0;
    left = again;
  }
  return items;
}

/** Writes an item, replacing any with the same key. Returns false if the condition doesn't hold. */
export async function putItem({ client, name }: Table, item: Item, condition: Condition = {}): Promise<boolean> {
  const command = new PutItemCommand({ TableName: name, Item: item, ...toInput(condition) });
  return (await catchRefusal(client.send(command))) !== undefined;
}

/** Replaces an item, and returns what it was before. Returns undefined if the condition doesn't hold. */
export async function replaceItem(
  { client, name }: Table,
  item: Item,
  condition: Condition & { readonly condition: string },
): Promise<Item | undefined> {
  const command = new PutItemCommand({ TableName: name, Item: item, ...toInput(condition), ReturnValues: 'ALL_OLD' });
  const output = await catchRefusal(client.send(command));
  return output && (output.Attributes ?? {});
}

/** Updates an item, or creates it. Returns false if the condition doesn't hold. */
export async function updateItem({ client, name }: Table, key: Item, update: Update): Promise<boolean> {
  const command = new UpdateItemCommand({
    TableName: name,
    Key: key,
    UpdateExpression: update.change,
    ...toInput(update),
  });
  return (await catchRefusal(client.send(command))) !== undefined;
}

/** Updates an item, or creates it, and returns the new version. Returns undefined if the condition doesn't hold. */
export async function updateAndGetItem({ client, name }: Table, key: Item, update: Update): Promise<Item | undefined> {
  const command = new UpdateItemCommand({
    TableName: name,
    Key: key,
    UpdateExpression: update.change,
    ...toInput(update),
    ReturnValues: 'ALL_NEW',
  });
  const output = await catchRefusal(client.send(command));
  return output && (output.Attributes ?? {});
}

/**
 * Updates an item, or creates it. Returns the new version, or the one for which the condition doesn't hold. DynamoDB returns
 * that one for the price of the refused write; a stand-in that doesn't is asked for it.
 */
export async function updateOrGetItem(
  table: Table,
  key: Item,
  update: Update,
): Promise<{ readonly isWritten: boolean; readonly item: Item | undefined }> {
  const command = new UpdateItemCommand({
    TableName: table.name,
    Key: key,
    UpdateExpression: update.change,
    ...toInput(update),
    ReturnValues: 'ALL_NEW',
    ReturnValuesOnConditionCheckFailure: 'ALL_OLD',
  });
  try {
    const { Attributes } = await table.client.send(command);
    return { isWritten: true, item: Attributes };
  } catch (thrown) {
    if (!(thrown instanceof ConditionalCheckFailedException)) throw thrown;
    return { isWritten: false, item: thrown.Item ?? (await getItem(table, key)) };
  }
}

/** Deletes an item. Returns false if the condition doesn't hold. */
export async function deleteItem({ client, name }: Table, key: Item, condition: Condition = {}): Promise<boolean> {
  const command = new DeleteItemCommand({ TableName: name, Key: key, ...toInput(condition) });
  return (await catchRefusal(client.send(command))) !== undefined;
}

/** Deletes an item, and returns it. Returns undefined if it doesn't exist, or the condition doesn't hold. */
export async function takeItem(
  { client, name }: Table,
  key: Item,
  condition: Condition = {},
): Promise<Item | undefined> {
  const command = new DeleteItemCommand({ TableName: name, Key: key, ...toInput(condition), ReturnValues: 'ALL_OLD' });
  return (await catchRefusal(client.send(command)))?.Attributes;
}

/** Updates an item, and returns what the changed attributes were before. Returns undefined if the condition doesn't hold. */
export async function updateAndGetOld({ client, name }: Table, key: Item, update: Update): Promise<Item | undefined> {
  const command = new UpdateItemCommand({
    TableName: name,
    Key: key,
    UpdateExpression: update.change,
    ...toInput(update),
    ReturnValues: 'UPDATED_OLD',
  });
  const output = await catchRefusal(client.send(command));
  return output && (output.Attributes ?? {});
}

/** Yields the items that a query finds. Makes one request per page, when its first item is needed. */
export async function* queryItems(table: Table, query: Query): AsyncGenerator<Item> {
  let after: Item | undefined;
  do {
    const page = await readPage(table, query, after);
    yield* page.items;
    after = page.last;
  } while (after !== undefined);
}

/** Reads all items that a query finds. Makes one request per page. */
export async function queryAllItems(table: Table, query: Query): Promise<Item[]> {
  const items: Item[] = [];
  for await (const item of queryItems(table, query)) items.push(item);
  return items;
}

/** Reads the first page of a query's result. */
export async function queryPage(table: Table, query: Query): Promise<readonly Item[]> {
  return (await readPage(table, query)).items;
}

/** Reads one page of a query's result, which begins after the `next` of the page before. The last page has no `next`. */
export async function queryPageAfter(
  table: Table,
  query: Query,
  after?: unknown,
): Promise<{ readonly items: readonly Item[]; readonly next?: unknown }> {
  const { items, last } = await readPage(table, query, isItem(after) ? after : undefined);
  return { items, ...(last === undefined ? {} : { next: last }) };
}

function isItem(after: unknown): after is Item {
  return typeof after === 'object' && after !== null;
}

/** Counts the items that a query finds, without reading them out. Makes one request per page. */
export async function countItems({ client, name }: Table, query: Query): Promise<number> {
  let count = 0;
  let after: Item | undefined;
  do {
    const page = await client.send(
      new QueryCommand({
        TableName: name,
        IndexName: query.index,
        KeyConditionExpression: query.where,
        ExpressionAttributeNames: query.names,
        ExpressionAttributeValues: query.values,
        Select: 'COUNT',
        ExclusiveStartKey: after,
      }),
    );
    count += page.Count ?? 0;
    after = page.LastEvaluatedKey;
  } while (after !== undefined);
  return count;
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

/** Yields each item of a table that meets a filter. Makes one request per page; all items are read, and billed. */
export async function* scanItems(
  { client, name }: Table,
  {
    filter,
    fields,
    values,
    segment,
  }: Pick<Query, 'fields' | 'values'> & {
    readonly filter: string;
    /** Only one of `total` parts of the table, from 0. Default: all of it. */
    readonly segment?: { readonly index: number; readonly total: number };
  },
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
        Segment: segment?.index,
        TotalSegments: segment?.total,
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

/** Writes items in batches, replacing any with the same keys. Throws as `writeBatches` does. */
export async function putItems(table: Table, items: readonly Item[], options?: BatchOptions): Promise<void> {
  const requests = items.map((item) => ({ PutRequest: { Item: item } }));
  await writeBatches(table, requests, options);
}

export interface BatchOptions {
  /** What to do with writes that a throttled table leaves unprocessed. `drop` is for hints. Default: `retry`. */
  readonly unprocessed?: 'retry' | 'drop';
  /** Resolves after `ms`. */
  readonly sleep?: (ms: number) => Promise<unknown>;
}

/** BatchWriteItem's limit. */
const BATCH_SIZE = 25;
/** Batches without progress until the writes fail. The pauses take 3.5 to 7 s; an on-demand table scales up in them. */
const MAX_FAILED_BATCHES = 8;
const BASE_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 2_000;

/**
 * Makes writes in batches of 25. Retries those that a throttled table leaves unprocessed, after a pause that doubles
 * while there is no progress.
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
    failed = again.length === batch.length ? failed + 1 : 0;
    if (again.length === 0) continue;
    if (failed === MAX_FAILED_BATCHES)
      throw new LambentError('overloaded', `${name} left ${left.length} writes unprocessed`);
    // Half of the pause is random, so that writers that were throttled together don't retry together.
    await sleep(Math.min(BASE_PAUSE_MS * 2 ** failed, LONGEST_PAUSE_MS) * (0.5 + Math.random() / 2));
  }
}

function toInput({ condition, names, values }: Condition) {
  return {
    ConditionExpression: condition,
    ExpressionAttributeNames: names && { ...names },
    ExpressionAttributeValues: values,
  };
}

/** Returns the response to a write, or undefined if the condition of the write doesn't hold. */
async function catchRefusal<T>(write: Promise<T>): Promise<T | undefined> {
  try {
    return await write;
  } catch (error) {
    if (error instanceof ConditionalCheckFailedException) return undefined;
    throw error;
  }
}
