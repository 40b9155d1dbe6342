import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { type Item, marshall } from '../aws/attributes.ts';
import {
  countItems,
  getItem,
  getItems,
  putItem,
  queryPageAfter,
  replaceItem,
  updateAndGetItem,
  updateItem,
} from '../aws/table.ts';
import { Expression } from './expressions.ts';
import { indexAttributes } from './index-entry.ts';
import type { Job } from './job.ts';
import { itemKey, JOB_SORT_KEY, jobItem, parseJobItem } from './job-item.ts';
import { fromJobKey, TOMBSTONE_MS } from './keys.ts';
import type { DeletedJob, JobStore } from './ports.ts';

export interface DynamoDBStoreOptions {
  readonly tableName: string;
  /** Shards of each index partition that this store writes to. */
  readonly shards: number;
  /** Epoch milliseconds. */
  readonly now?: () => number;
}

/** The sparse index. Its keys are the attributes `duePartition` and `dueAt`. */
const INDEX = 'due';

/**
 * Creates a job store in DynamoDB: one item per job, one request per call. An expired item doesn't exist for any method,
 * though DynamoDB's TTL may take days to remove it. Throws DynamoDB's errors.
 */
export function createDynamoDBStore(
  client: DynamoDBClient,
  { tableName, shards, now = Date.now }: DynamoDBStoreOptions,
): JobStore {
  const table = { client, name: tableName };
  const seconds = () => Math.floor(now() / 1000);
  const isDeleted = (item: Item) => item['deletedAt'] !== undefined;
  const isExpired = (item: Item) => Number(item['expiresAt']?.N) * 1000 <= now();

  async function readItem(tenant: string, id: string): Promise<Item | undefined> {
    const item = await getItem(table, itemKey(tenant, id));
    return item === undefined || isExpired(item) ? undefined : item;
  }

  async function read(tenant: string, id: string): Promise<Job | undefined> {
    const item = await readItem(tenant, id);
    return item === undefined || isDeleted(item) ? undefined : parseJobItem(item);
  }

  return {
    read,
    async create(job, index) {
      const placed = index === undefined ? job : { ...job, ...indexAttributes(job.tenant, job.id, index, shards) };
      const created = await putItem(table, jobItem(placed), {
        condition: 'attribute_not_exists(pk) OR expiresAt <= :now',
        values: marshall({ ':now': seconds() }),
      });
      if (created) return { created, job: placed };
      const known = await read(job.tenant, job.id);
      return known === undefined ? { created } : { created, job: known };
    },
    async readMany(keys) {
      const items = await getItems(
        table,
        keys.map(({ tenant, id }) => itemKey(tenant, id)),
      );
      return items.flatMap((item) => {
        if (isDeleted(item) || isExpired(item)) return [];
        try {
          return [parseJobItem(item)];
        } catch {
          return [];
        }
      });
    },
    async update(tenant, id, guard, change) {
      const { index } = change;
      const placed = index === undefined || index === 'none' ? index : indexAttributes(tenant, id, index, shards);
      const expression = new Expression();
      const item = await updateAndGetItem(table, itemKey(tenant, id), {
        change: expression.change(change, placed),
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
        ...indexAttributes(tenant, id, { purpose: 'tomb', dueAt: at }, shards),
      });
      const deleted = await replaceItem(
        table,
        { ...itemKey(tenant, id), ...tombstone },
        {
          condition: 'attribute_exists(pk) AND attribute_not_exists(deletedAt) AND expiresAt > :now',
          values: marshall({ ':now': seconds() }),
        },
      );
      return deleted && toDeleted(deleted);
    },
    async wasDeleted(tenant, id) {
      const item = await readItem(tenant, id);
      return item !== undefined && isDeleted(item);
    },
    async settle(tenant, id) {
      await updateItem(table, itemKey(tenant, id), {
        change: 'REMOVE duePartition, dueAt',
        condition: 'attribute_exists(deletedAt) OR expiresAt <= :now',
        values: marshall({ ':now': seconds() }),
      });
    },
    async list(partition, until, { limit, after }) {
      const { items, next } = await queryPageAfter(
        table,
        {
          index: INDEX,
          where: 'duePartition = :partition AND dueAt <= :until',
          values: marshall({ ':partition': partition, ':until': until }),
          pageSize: limit,
        },
        after,
      );
      const entries = items.flatMap(({ pk, sk, dueAt }) =>
        pk?.S === undefined || sk?.S !== JOB_SORT_KEY
          ? []
          : [{ ...fromJobKey(pk.S), partition, dueAt: Number(dueAt?.N) }],
      );
      return { entries, ...(next === undefined ? {} : { next }) };
    },
    count: (partition) =>
      countItems(table, {
        index: INDEX,
        where: 'duePartition = :partition',
        values: marshall({ ':partition': partition }),
      }),
    // The partition too: a claim may have the very time at which the job was to be looked at while it waited.
    postpone: ({ tenant, id, partition, dueAt }, to) =>
      updateItem(table, itemKey(tenant, id), {
        change: 'SET dueAt = :to',
        condition: 'duePartition = :partition AND dueAt = :seen',
        values: marshall({ ':partition': partition, ':seen': dueAt, ':to': to }),
      }),
  };
}

/** Reads an item that may not be readable as a job. */
function toDeleted({ storedBytes, turnBytes, turnItems, output, expiresAt }: Item): DeletedJob {
  const counts = output === undefined ? { storedBytes, turnBytes, turnItems } : { storedBytes };
  const numbers = Object.entries(counts).flatMap(([name, value]) =>
    value?.N === undefined ? [] : [[name, Number(value.N)]],
  );
  return { expiresAt: Number(expiresAt?.N), ...Object.fromEntries(numbers) };
}
