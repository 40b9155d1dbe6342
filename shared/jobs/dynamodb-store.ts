import {
  type AttributeValue,
  ConditionalCheckFailedException,
  type DynamoDBClient,
  GetItemCommand,
  PutItemCommand,
  QueryCommand,
  UpdateItemCommand,
} from '@aws-sdk/client-dynamodb';
import { Expression } from './expressions.ts';
import type { Job } from './job.ts';
import { dueKey, itemKey, JOB_SORT_KEY, jobItem, parseJobItem } from './job-item.ts';
import { duePartition, fromJobKey, TOMBSTONE_MS } from './keys.ts';
import type { JobStore } from './ports.ts';

export interface DynamoDBStoreOptions {
  readonly tableName: string;
  /** Epoch milliseconds. */
  readonly now?: () => number;
}

/** The sparse index of what is due. */
const DUE_INDEX = 'due';

/**
 * Jobs in DynamoDB: one item each, every method one request. What has expired is gone for every method, though
 * DynamoDB's TTL may take days to remove it. Throws what DynamoDB throws.
 */
export function createDynamoDBStore(
  client: DynamoDBClient,
  { tableName, now = Date.now }: DynamoDBStoreOptions,
): JobStore {
  const seconds = () => Math.floor(now() / 1000);
  const isDeleted = (item: Record<string, AttributeValue>) => item['deletedAt'] !== undefined;

  /** Strongly read: what was written is seen by the next reader, whoever that is. Undefined when it has expired. */
  async function itemOf(tenant: string, id: string): Promise<Record<string, AttributeValue> | undefined> {
    const { Item } = await client.send(
      new GetItemCommand({ TableName: tableName, Key: itemKey(tenant, id), ConsistentRead: true }),
    );
    return Item !== undefined && Number(Item['expiresAt']?.N) * 1000 > now() ? Item : undefined;
  }

  async function read(tenant: string, id: string): Promise<Job | undefined> {
    const item = await itemOf(tenant, id);
    return item === undefined || isDeleted(item) ? undefined : parseJobItem(item);
  }

  return {
    read,
    async create(job) {
      const written = await whenItHolds(
        client.send(
          new PutItemCommand({
            TableName: tableName,
            Item: jobItem(job),
            ConditionExpression: 'attribute_not_exists(pk) OR expiresAt <= :now',
            ExpressionAttributeValues: { ':now': { N: String(seconds()) } },
          }),
        ),
      );
      if (written !== undefined) return { created: true, job };
      const known = await read(job.tenant, job.id);
      return known === undefined ? { created: false } : { created: false, job: known };
    },
    async update(tenant, id, guard, change) {
      const expression = new Expression();
      const updated = await whenItHolds(
        client.send(
          new UpdateItemCommand({
            TableName: tableName,
            Key: itemKey(tenant, id),
            UpdateExpression: expression.change(change),
            ConditionExpression: expression.guard(guard, seconds()),
            ...expression.attributes(),
            ReturnValues: 'ALL_NEW',
          }),
        ),
      );
      return updated?.Attributes === undefined ? undefined : parseJobItem(updated.Attributes);
    },
    async delete(tenant, id) {
      const at = now();
      const tombstone = {
        ...itemKey(tenant, id),
        deletedAt: { N: String(at) },
        expiresAt: { N: String(Math.floor((at + TOMBSTONE_MS) / 1000)) },
        dueAt: { N: String(at) },
        duePartition: { S: dueKey(duePartition(tenant, id)) },
      };
      const written = await whenItHolds(
        client.send(
          new PutItemCommand({
            TableName: tableName,
            Item: tombstone,
            ConditionExpression: 'attribute_exists(pk) AND attribute_not_exists(deletedAt) AND expiresAt > :now',
            ExpressionAttributeValues: { ':now': { N: String(seconds()) } },
          }),
        ),
      );
      return written !== undefined;
    },
    async wasDeleted(tenant, id) {
      const item = await itemOf(tenant, id);
      return item !== undefined && isDeleted(item);
    },
    async settle(tenant, id) {
      await whenItHolds(
        client.send(
          new UpdateItemCommand({
            TableName: tableName,
            Key: itemKey(tenant, id),
            UpdateExpression: 'REMOVE dueAt',
            ConditionExpression: 'attribute_exists(deletedAt) OR expiresAt <= :now',
            ExpressionAttributeValues: { ':now': { N: String(seconds()) } },
          }),
        ),
      );
    },
    async due(partition, until, limit) {
      const { Items = [] } = await client.send(
        new QueryCommand({
          TableName: tableName,
          IndexName: DUE_INDEX,
          KeyConditionExpression: 'duePartition = :partition AND dueAt <= :until',
          ExpressionAttributeValues: { ':partition': { S: dueKey(partition) }, ':until': { N: String(until) } },
          Limit: limit,
        }),
      );
      return Items.flatMap(({ pk, sk }) => (pk?.S === undefined || sk?.S !== JOB_SORT_KEY ? [] : [fromJobKey(pk.S)]));
    },
  };
}

/** What a conditional write answers; undefined when its condition didn't hold. */
async function whenItHolds<T>(writing: Promise<T>): Promise<T | undefined> {
  try {
    return await writing;
  } catch (thrown) {
    if (thrown instanceof ConditionalCheckFailedException) return undefined;
    throw thrown;
  }
}
