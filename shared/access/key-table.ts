import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { marshall } from '../aws/attributes.ts';
import { getItem, getItems, updateItem } from '../aws/table.ts';
import { getKeyPartition, type KeyRecord, parseKeyItem, parseKeyRecord } from './keys.ts';

/** Looks up API keys in the access table. */
export interface KeyTable {
  /**
   * Finds a key's record, even an expired one until DynamoDB deletes it. Returns undefined if the key is unknown. Throws
   * DynamoDB's errors.
   */
  find(key: string): Promise<KeyRecord | undefined>;
  /**
   * Reads up to 100 keys' records by their partitions. The result lacks keys that are unknown, or expired at `now` (epoch
   * milliseconds). Throws DynamoDB's errors.
   */
  readAll(partitions: readonly string[], now: number): Promise<ReadonlyMap<string, KeyRecord>>;
  /**
   * Records the day (`2027-01-31`) of a warning that the key with a partition expires soon. Returns false if that was done
   * already, or the key doesn't exist. Throws DynamoDB's errors.
   */
  recordWarning(partition: string, day: string): Promise<boolean>;
}

/** Creates the key table in DynamoDB. A lookup is one eventually consistent read. */
export function createKeyTable(client: DynamoDBClient, name: string): KeyTable {
  const table = { client, name };
  return {
    async find(key) {
      const item = await getItem(table, marshall({ pk: getKeyPartition(key) }), { eventual: true });
      return item && parseKeyRecord(item);
    },

    async readAll(partitions, now) {
      const items = await getItems(
        table,
        partitions.map((pk) => marshall({ pk })),
      );
      const records = items.map((item) => [item['pk']?.S ?? '', parseKeyItem(item, now)] as const);
      return new Map(records.flatMap(([pk, record]) => (record === undefined ? [] : [[pk, record]])));
    },

    recordWarning(pk, day) {
      return updateItem(table, marshall({ pk }), {
        change: 'SET warnedOn = :day',
        condition: 'attribute_exists(pk) AND (attribute_not_exists(warnedOn) OR warnedOn <> :day)',
        values: marshall({ ':day': day }),
      });
    },
  };
}
