import { CreateTableCommand, DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { startTables } from '../../../local/tables.ts';

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
  await client.send(
    new CreateTableCommand({
      TableName: name,
      BillingMode: 'PAY_PER_REQUEST',
      AttributeDefinitions: [{ AttributeName: 'pk', AttributeType: 'S' }],
      KeySchema: [{ AttributeName: 'pk', KeyType: 'HASH' }],
    }),
  );
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
