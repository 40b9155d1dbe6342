import { CreateTableCommand, DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTables, type Tables } from '../../../local/tables.ts';
import { createSenderTable } from '../../../shared/access/sender-table.ts';
import { createSenderItem, getSenderPartition, type Sender } from '../../../shared/access/senders.ts';
import { marshall } from '../../../shared/aws/attributes.ts';
import { deleteItem, putItem } from '../../../shared/aws/table.ts';

const SENDER: Sender = { keyId: 'orders', tenants: ['acme'], scopes: ['inference'], replyQueues: [] };
const NOW = 1_000_000;

describe('the table of senders', () => {
  let tables: Tables;
  let client: DynamoDBClient;
  const table = () => ({ client, name: 'access' });

  beforeAll(async () => {
    tables = await startTables({});
    const credentials = { accessKeyId: 'test', secretAccessKey: 'test' };
    client = new DynamoDBClient({ endpoint: tables.url, region: 'eu-west-1', credentials });
    await client.send(
      new CreateTableCommand({
        TableName: 'access',
        BillingMode: 'PAY_PER_REQUEST',
        AttributeDefinitions: [{ AttributeName: 'pk', AttributeType: 'S' }],
        KeySchema: [{ AttributeName: 'pk', KeyType: 'HASH' }],
      }),
    );
  });
  afterAll(async () => {
    client.destroy();
    await tables.close();
  });

  it('all sessions of a role are the same sender', async () => {
    await putItem(table(), createSenderItem('AROAROLE:first', SENDER));
    expect(await createSenderTable(client, 'access').find('AROAROLE:second', NOW)).toEqual(SENDER);
  });

  it('a sender is known for 30 s after it was revoked, and no longer', async () => {
    const senders = createSenderTable(client, 'access');
    await putItem(table(), createSenderItem('AIDAREVOKED', SENDER));
    await senders.find('AIDAREVOKED', NOW);
    await deleteItem(table(), marshall({ pk: getSenderPartition('AIDAREVOKED') }));
    expect(await senders.find('AIDAREVOKED', NOW + 29_999)).toEqual(SENDER);
    expect(await senders.find('AIDAREVOKED', NOW + 30_000)).toBeUndefined();
  });

  it('an unknown sender is remembered for 30 s too, so that its messages cost few reads', async () => {
    const senders = createSenderTable(client, 'access');
    await senders.find('AIDANEW', NOW);
    await putItem(table(), createSenderItem('AIDANEW', SENDER));
    expect(await senders.find('AIDANEW', NOW + 29_999)).toBeUndefined();
    expect(await senders.find('AIDANEW', NOW + 30_000)).toEqual(SENDER);
  });
});
