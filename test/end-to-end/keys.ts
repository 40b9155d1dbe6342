import { DynamoDBClient, PutItemCommand } from '@aws-sdk/client-dynamodb';
import type { Cloud } from '../../local/cloud.ts';
import { createRouter } from '../../local/gateway/routes.ts';
import { createKeyItem, type KeyRecord } from '../../shared/access/keys.ts';
import { type Scope, TENANT_SCOPES } from '../../shared/access/scopes.ts';
import { ROUTES } from '../../shared/api/route-table.ts';

/** Creates a client of the service's tables. */
export function connectToTables({ endpoints, credentials }: Cloud): DynamoDBClient {
  return new DynamoDBClient({
    endpoint: endpoints['AWS_ENDPOINT_URL_DYNAMODB'] ?? '',
    region: 'eu-west-1',
    credentials,
  });
}

/** Adds keys to the access table. */
export async function addKeys(cloud: Cloud, keys: Readonly<Record<string, KeyRecord>>): Promise<void> {
  const tables = connectToTables(cloud);
  const TableName = cloud.resources['ACCESS_TABLE'];
  await Promise.all(
    Object.entries(keys).map(([key, record]) =>
      tables.send(new PutItemCommand({ TableName, Item: createKeyItem(key, record) })),
    ),
  );
  tables.destroy();
}

/** Adds a key `sk-<tenant>` of a tenant, with all scopes, and returns it. */
export async function addTenant(cloud: Cloud, tenant: string): Promise<string> {
  await addKeys(cloud, { [`sk-${tenant}`]: { tenant, keyId: `${tenant}-key`, scopes: TENANT_SCOPES } });
  return `sk-${tenant}`;
}

const scopes = new Map<string, Scope>(Object.values(ROUTES).flatMap((part) => Object.entries(part)));
const findRoute = createRouter(
  [...scopes.keys()].map((route) => {
    const [method = '', resource = ''] = route.split(' ');
    return { kind: 'mock', method, resource, headers: {}, body: '' };
  }),
);

/**
 * Adds a key for each scope of the tenant `local`, and returns `fetch` with the key that has only the scope of the request's
 * route. A request to no route keeps its key.
 */
export async function createScopedFetch(cloud: Cloud): Promise<typeof fetch> {
  const keys = TENANT_SCOPES.map((scope): [string, KeyRecord] => [
    `sk-local-${scope}`,
    { tenant: 'local', keyId: 'local', scopes: [scope] },
  ]);
  await addKeys(cloud, Object.fromEntries(keys));
  return (input, init) => {
    const url = new URL(input instanceof Request ? input.url : input);
    const match = findRoute((init?.method ?? 'GET').toUpperCase(), url.pathname);
    const scope = match && scopes.get(`${match.route.method} ${match.route.resource}`);
    const headers = new Headers(init?.headers);
    if (scope !== undefined) headers.set('authorization', `Bearer sk-local-${scope}`);
    return fetch(input, { ...init, headers });
  };
}
