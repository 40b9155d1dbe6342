import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createSenderTable } from '../../../shared/access/sender-table.ts';
import { createSenderItem, getSenderPartition, type Sender } from '../../../shared/access/senders.ts';
import { marshall } from '../../../shared/aws/attributes.ts';
import { deleteItem, putItem } from '../../../shared/aws/table.ts';
import { type AccessTable, startAccessTable } from './access-table.ts';

const SENDER: Sender = { keyId: 'orders', tenants: ['acme'], scopes: ['inference'], replyQueues: [] };
const NOW = 1_000_000;

describe('the table of senders', () => {
  let access: AccessTable;
  let client: DynamoDBClient;
  const table = () => ({ client, name: 'access' });

  beforeAll(async () => {
    access = await startAccessTable();
    client = access.client;
  });
  afterAll(() => access[Symbol.asyncDispose]());

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

  it('a sender that was read before it expires is unknown from the second of its expiry', async () => {
    const senders = createSenderTable(client, 'access');
    const expiresAt = NOW / 1_000 + 10;
    await putItem(table(), createSenderItem('AIDABRIEF', { ...SENDER, expiresAt }));
    expect(await senders.find('AIDABRIEF', NOW)).toEqual(SENDER);
    expect(await senders.find('AIDABRIEF', NOW + 9_999)).toEqual(SENDER);
    expect(await senders.find('AIDABRIEF', NOW + 10_000)).toBeUndefined();
  });

  it('an unknown sender is remembered for 30 s too, so that its messages cost few reads', async () => {
    const senders = createSenderTable(client, 'access');
    await senders.find('AIDANEW', NOW);
    await putItem(table(), createSenderItem('AIDANEW', SENDER));
    expect(await senders.find('AIDANEW', NOW + 29_999)).toBeUndefined();
    expect(await senders.find('AIDANEW', NOW + 30_000)).toEqual(SENDER);
  });
});
