import { type DynamoDBClient, GetItemCommand } from '@aws-sdk/client-dynamodb';
import { keyPartition, parseKeyItem } from './keys.ts';
import type { Principal } from './principal.ts';

/** Looks keys up in the access table. */
export interface KeyTable {
  /** The principal of a key that is known and not expired at `now` (epoch ms). Throws what DynamoDB throws. */
  find(key: string, now: number): Promise<Principal | undefined>;
}

/** The access table in DynamoDB: one eventually consistent read a lookup. */
export function createKeyTable(client: DynamoDBClient, tableName: string): KeyTable {
  return {
    async find(key, now) {
      const { Item } = await client.send(
        new GetItemCommand({ TableName: tableName, Key: { pk: { S: keyPartition(key) } } }),
      );
      return parseKeyItem(Item, now);
    },
  };
}
