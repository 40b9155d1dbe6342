import { type DynamoDBClient, PutItemCommand } from '@aws-sdk/client-dynamodb';
import { createKeyItem } from '../shared/access/keys.ts';
import { SCOPES } from '../shared/access/principal.ts';
import { createSenderItem } from '../shared/access/senders.ts';

/** The one key of the laptop cloud. It opens nothing but a service that listens on 127.0.0.1. */
export const LOCAL_API_KEY = 'sk-local';

/** Who every message of the local SQS comes from, whatever its credentials. */
const LOCAL_SENDER_ID = '000000000000';

/** Puts the key `sk-local` of the tenant `local` into the access table, with every scope, and lets programs send as it. Again is no harm. */
export async function seedAccess(client: DynamoDBClient, tableName: string): Promise<void> {
  const Item = createKeyItem(LOCAL_API_KEY, { tenant: 'local', keyId: 'local', scopes: SCOPES });
  await client.send(new PutItemCommand({ TableName: tableName, Item }));
  const sender = createSenderItem(LOCAL_SENDER_ID, { keyId: 'local', tenants: ['local'], scopes: SCOPES });
  await client.send(new PutItemCommand({ TableName: tableName, Item: sender }));
}
