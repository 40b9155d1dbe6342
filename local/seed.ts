import { type DynamoDBClient, PutItemCommand } from '@aws-sdk/client-dynamodb';
import { createKeyItem } from '../shared/access/keys.ts';
import { ORGANIZATION } from '../shared/access/principal.ts';
import { ADMIN_SCOPES, TENANT_SCOPES } from '../shared/access/scopes.ts';
import { createSenderItem } from '../shared/access/senders.ts';
import { createProjects } from '../shared/admin/projects.ts';

/** The API key of the local cloud. It is valid only for a service that listens on 127.0.0.1. */
export const LOCAL_API_KEY = 'sk-local';

/** The admin key of the local cloud. */
export const LOCAL_ADMIN_KEY = 'sk-admin-local';

/** The sender of every message in the local SQS, whatever the credentials. */
const LOCAL_SENDER_ID = '000000000000';

/**
 * Adds the key `sk-local` and the local SQS sender to the access table, with all scopes of the tenant `local`, and the
 * admin key `sk-admin-local`. Idempotent.
 */
export async function seedAccess(client: DynamoDBClient, tableName: string): Promise<void> {
  const Item = createKeyItem(LOCAL_API_KEY, { tenant: 'local', keyId: 'local', scopes: TENANT_SCOPES });
  await client.send(new PutItemCommand({ TableName: tableName, Item }));
  const admin = createKeyItem(LOCAL_ADMIN_KEY, { tenant: ORGANIZATION, keyId: 'local-admin', scopes: ADMIN_SCOPES });
  await client.send(new PutItemCommand({ TableName: tableName, Item: admin }));
  const sender = createSenderItem(LOCAL_SENDER_ID, {
    ...{ keyId: 'local', tenants: ['local'], scopes: TENANT_SCOPES },
    replyQueues: ['*'],
  });
  await client.send(new PutItemCommand({ TableName: tableName, Item: sender }));
}

/** Adds the project of the tenant `local` to the admin table, if it isn't there. */
export async function seedProject(client: DynamoDBClient, tableName: string): Promise<void> {
  const project = {
    id: 'local',
    name: 'Local',
    createdAt: Math.floor(Date.now() / 1000),
    archivedAt: null,
    environment: null,
    externalKeyId: null,
  };
  await createProjects({ table: { client, name: tableName } }).create(ORGANIZATION, project);
}
