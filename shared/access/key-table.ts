import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { marshall } from '../aws/attributes.ts';
import { getItem } from '../aws/table.ts';
import { getKeyPartition, parseKeyItem } from './keys.ts';
import type { Principal } from './principal.ts';

/** Looks keys up in the access table. */
export interface KeyTable {
  /** The principal of a key that is known and not expired at `now` (epoch ms). Throws what DynamoDB throws. */
  find(key: string, now: number): Promise<Principal | undefined>;
}

/** The access table in DynamoDB: one eventually consistent read a lookup. */
export function createKeyTable(client: DynamoDBClient, name: string): KeyTable {
  const table = { client, name };
  return {
    async find(key, now) {
      const item = await getItem(table, marshall({ pk: getKeyPartition(key) }), { eventual: true });
      return item && parseKeyItem(item, now);
    },
  };
}
