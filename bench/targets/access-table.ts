import { createRequire } from 'node:module';
import { CreateTableCommand, DynamoDBClient, PutItemCommand } from '@aws-sdk/client-dynamodb';
import { createKeyItem } from '../../shared/access/keys.ts';
import { type ServerProcess, startServerOnPort } from '../processes.ts';

const DYNALITE = createRequire(import.meta.url).resolve('dynalite/cli.js');

/** The API key of the benchmarks' requests. */
export const KEY = 'sk-bench';
/** The principal of `KEY`. */
export const PRINCIPAL = { tenant: 'bench', keyId: 'bench', scopes: ['inference', 'models'] } as const;

/** Starts dynalite in its own process, with an access table that contains `KEY`. */
export async function startAccessTable(tableName: string): Promise<ServerProcess> {
  const server = await startServerOnPort(DYNALITE, (port) => ['--port', `${port}`, '--createTableMs', '0']);
  const client = new DynamoDBClient({
    endpoint: server.url,
    region: 'eu-west-1',
    credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
  });
  await client.send(
    new CreateTableCommand({
      TableName: tableName,
      BillingMode: 'PAY_PER_REQUEST',
      AttributeDefinitions: [{ AttributeName: 'pk', AttributeType: 'S' }],
      KeySchema: [{ AttributeName: 'pk', KeyType: 'HASH' }],
    }),
  );
  const item = new PutItemCommand({ TableName: tableName, Item: createKeyItem(KEY, PRINCIPAL) });
  await client.send(item);
  client.destroy();
  return server;
}
