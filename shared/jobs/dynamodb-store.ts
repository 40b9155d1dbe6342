import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { type Item, marshall } from '../aws/attributes.ts';
import { getItem, putItem, queryPage, updateAndGetItem, updateItem } from '../aws/table.ts';
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
  const table = { client, name: tableName };
  const seconds = () => Math.floor(now() / 1000);
  const isDeleted = (item: Item) => item['deletedAt'] !== undefined;

  /** Strongly read: what was written is seen by the next reader, whoever that is. Undefined when it has expired. */
  async function itemOf(tenant: string, id: string): Promise<Item | undefined> {
    const item = await getItem(table, itemKey(tenant, id));
    return item !== undefined && Number(item['expiresAt']?.N) * 1000 > now() ? item : undefined;
  }

  async function read(tenant: string, id: string): Promise<Job | undefined> {
    const item = await itemOf(tenant, id);
    return item === undefined || isDeleted(item) ? undefined : parseJobItem(item);
  }

  return {
    read,
    async create(job) {
      const created = await putItem(table, jobItem(job), {
        condition: 'attribute_not_exists(pk) OR expiresAt <= :now',
        values: marshall({ ':now': seconds() }),
      });
      if (created) return { created, job };
      const known = await read(job.tenant, job.id);
      return known === undefined ? { created } : { created, job: known };
    },
    async update(tenant, id, guard, change) {
      const expression = new Expression();
      const item = await updateAndGetItem(table, itemKey(tenant, id), {
        change: expression.change(change),
        condition: expression.guard(guard, seconds()),
        ...expression.placeholders(),
      });
      return item && parseJobItem(item);
    },
    async delete(tenant, id) {
      const at = now();
      const tombstone = marshall({
        deletedAt: at,
        expiresAt: Math.floor((at + TOMBSTONE_MS) / 1000),
        dueAt: at,
        duePartition: dueKey(duePartition(tenant, id)),
      });
      return putItem(
        table,
        { ...itemKey(tenant, id), ...tombstone },
        {
          condition: 'attribute_exists(pk) AND attribute_not_exists(deletedAt) AND expiresAt > :now',
          values: marshall({ ':now': seconds() }),
        },
      );
    },
    async wasDeleted(tenant, id) {
      const item = await itemOf(tenant, id);
      return item !== undefined && isDeleted(item);
    },
    async settle(tenant, id) {
      await updateItem(table, itemKey(tenant, id), {
        change: 'REMOVE dueAt',
        condition: 'attribute_exists(deletedAt) OR expiresAt <= :now',
        values: marshall({ ':now': seconds() }),
      });
    },
    async due(partition, until, limit) {
      const items = await queryPage(table, {
        index: DUE_INDEX,
        where: 'duePartition = :partition AND dueAt <= :until',
        values: marshall({ ':partition': dueKey(partition), ':until': until }),
        pageSize: limit,
      });
      return items.flatMap(({ pk, sk }) => (pk?.S === undefined || sk?.S !== JOB_SORT_KEY ? [] : [fromJobKey(pk.S)]));
    },
  };
}
