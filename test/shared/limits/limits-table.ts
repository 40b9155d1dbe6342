import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { startTables } from '../../../local/tables.ts';
import { createKeyedTable } from '../../tables.ts';

/** Starts a table with the key of the table of limits, and its real client, which makes one attempt per request. */
export async function startLimitsTable(): Promise<{
  readonly client: DynamoDBClient;
  readonly name: string;
  readonly url: string;
  close(): Promise<void>;
}> {
  const tables = await startTables({});
  const credentials = { accessKeyId: 'test', secretAccessKey: 'test' };
  const client = new DynamoDBClient({ region: 'eu-west-1', endpoint: tables.url, credentials, maxAttempts: 1 });
  const name = 'limits';
  await createKeyedTable(client, name);
  return {
    client,
    name,
    url: tables.url,
    async close() {
      client.destroy();
      await tables.close();
    },
  };
}
