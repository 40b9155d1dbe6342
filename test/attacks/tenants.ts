import { DynamoDBClient, PutItemCommand } from '@aws-sdk/client-dynamodb';
import { createKeyItem } from '../../shared/access/keys.ts';
import { type Scope, TENANT_SCOPES } from '../../shared/access/scopes.ts';
import type { Service } from '../end-to-end/service.ts';

/** Creates a client of the service's tables. */
export function connectToTables({ cloud }: Service): DynamoDBClient {
  return new DynamoDBClient({
    endpoint: cloud.endpoints['AWS_ENDPOINT_URL_DYNAMODB'] ?? '',
    region: 'eu-west-1',
    credentials: cloud.credentials,
  });
}

/** Adds a key `sk-<tenant>` of a tenant, and returns it. */
export async function addKey(
  service: Service,
  tenant: string,
  scopes: readonly Scope[] = TENANT_SCOPES,
): Promise<string> {
  const tables = connectToTables(service);
  const Item = createKeyItem(`sk-${tenant}`, { tenant, keyId: `${tenant}-key`, scopes });
  await tables.send(new PutItemCommand({ TableName: service.cloud.resources['ACCESS_TABLE'], Item }));
  tables.destroy();
  return `sk-${tenant}`;
}
