import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { startTables } from '../../../local/tables.ts';
import { createKeyedTable } from '../../tables.ts';

/** A table with the key of the access table, and its real client. */
export interface AccessTable {
  readonly client: DynamoDBClient;
  /** The table's name. */
  readonly name: string;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Starts an empty access table. */
export async function startAccessTable(): Promise<AccessTable> {
  const tables = await startTables({});
  const credentials = { accessKeyId: 'test', secretAccessKey: 'test' };
  const client = new DynamoDBClient({ endpoint: tables.url, region: 'eu-west-1', credentials });
  const name = 'access';
  await createKeyedTable(client, name);
  return {
    client,
    name,
    async [Symbol.asyncDispose]() {
      client.destroy();
      await tables.close();
    },
  };
}
