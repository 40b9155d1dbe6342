import { createRequire } from 'node:module';
import { CreateTableCommand, DynamoDBClient, PutItemCommand } from '@aws-sdk/client-dynamodb';
import { generateKey } from '../../shared/access/api-key.ts';
import { createKeyItem } from '../../shared/access/keys.ts';
import { type ServerProcess, startServerOnPort } from '../processes.ts';

const DYNALITE = createRequire(import.meta.url).resolve('dynalite/cli.js');

/** The API key of the benchmarks' requests. */
export const KEY = generateKey('project');
/** The principal of `KEY`. */
export const PRINCIPAL = { tenant: 'bench', keyId: 'bench', scopes: ['generate', 'models.read'] } as const;

/**
 * Starts dynalite in its own process, with an access table that contains `KEY`, and a keys table without a key of its
 * tenant.
 */
export async function startAuthorizerTables(accessTable: string, keysTable: string): Promise<ServerProcess> {
  const server = await startServerOnPort(DYNALITE, (port) => ['--port', `${port}`, '--createTableMs', '0']);
  const client = new DynamoDBClient({
    endpoint: server.url,
    region: 'eu-west-1',
    credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
  });
  await client.send(createTable(accessTable, ['pk']));
  await client.send(createTable(keysTable, ['pk', 'sk']));
  await client.send(new PutItemCommand({ TableName: accessTable, Item: createKeyItem(KEY, PRINCIPAL) }));
  client.destroy();
  return server;
}

/** @param keys names of the partition key and the sort key */
function createTable(name: string, keys: readonly string[]): CreateTableCommand {
  return new CreateTableCommand({
    TableName: name,
    BillingMode: 'PAY_PER_REQUEST',
    AttributeDefinitions: keys.map((key) => ({ AttributeName: key, AttributeType: 'S' })),
    KeySchema: keys.map((key, index) => ({ AttributeName: key, KeyType: index === 0 ? 'HASH' : 'RANGE' })),
  });
}
