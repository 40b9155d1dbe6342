import { type Item, marshall } from '../aws/attributes.ts';
import { deleteItem, putItem, queryItems, type Table } from '../aws/table.ts';
import { getDay } from './expiry-warning.ts';

/** A key, named by its partition in the access table. */
export interface ExpiringKey {
  readonly partition: string;
  /** Epoch seconds, or null for never. */
  readonly expiresAt: number | null;
}

/**
 * Lists keys by the day on which they expire, so that unused keys are found without reading all keys. A key may
 * also be listed under days of earlier expiries, and after its end: the access table has the expiry that counts.
 */
export interface ExpiringKeys {
  /** Adds a key under the day of its expiry, if it has one. Idempotent. Throws DynamoDB's errors. */
  add(key: ExpiringKey): Promise<void>;
  /** Removes a key from the day of its expiry. Idempotent. Throws DynamoDB's errors. */
  remove(key: ExpiringKey): Promise<void>;
  /** Yields the partitions of the keys under a day (`2027-01-31`). Throws DynamoDB's errors. */
  list(day: string): AsyncGenerator<string>;
}

/** Creates the list in the admin table: one item per key, which DynamoDB deletes after the key's end. */
export function createExpiringKeys(table: Table): ExpiringKeys {
  return {
    async add({ partition, expiresAt }) {
      if (expiresAt !== null) await putItem(table, { ...toItemKey(partition, expiresAt), ...marshall({ expiresAt }) });
    },

    async remove({ partition, expiresAt }) {
      if (expiresAt !== null) await deleteItem(table, toItemKey(partition, expiresAt));
    },

    async *list(day) {
      const query = { where: 'pk = :pk', values: marshall({ ':pk': toPartition(day) }) };
      for await (const { sk } of queryItems(table, query)) if (sk?.S !== undefined) yield sk.S;
    },
  };
}

function toPartition(day: string): string {
  return `expiring#${day}`;
}

function toItemKey(partition: string, expiresAt: number): Item {
  return marshall({ pk: toPartition(getDay(expiresAt * 1000)), sk: partition });
}
