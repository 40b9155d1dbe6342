import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { marshall } from '../aws/attributes.ts';
import { getItem, updateItem } from '../aws/table.ts';
import { getKeyPartition, type KeyRecord, parseKeyItem } from './keys.ts';

/** Looks up API keys in the access table. */
export interface KeyTable {
  /**
   * Finds a key's record. Returns undefined if the key is unknown, or expired at `now` (epoch milliseconds). Throws
   * DynamoDB's errors.
   */
  find(key: string, now: number): Promise<KeyRecord | undefined>;
  /**
   * Records the day (`2027-01-31`) of a warning that a key expires soon. Returns false if that was done already. Throws
   * DynamoDB's errors.
   */
  recordWarning(key: string, day: string): Promise<boolean>;
}

/** Creates the key table in DynamoDB. A lookup is one eventually consistent read. */
export function createKeyTable(client: DynamoDBClient, name: string): KeyTable {
  const table = { client, name };
  return {
    async find(key, now) {
      const item = await getItem(table, marshall({ pk: getKeyPartition(key) }), { eventual: true });
      return item && parseKeyItem(item, now);
    },

    recordWarning(key, day) {
      return updateItem(table, marshall({ pk: getKeyPartition(key) }), {
        change: 'SET warnedOn = :day',
        condition: 'attribute_exists(pk) AND (attribute_not_exists(warnedOn) OR warnedOn <> :day)',
        values: marshall({ ':day': day }),
      });
    },
  };
}
