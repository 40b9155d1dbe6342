import { type DynamoDBClient, PutItemCommand } from '@aws-sdk/client-dynamodb';
import OpenAI from 'openai';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createKeyItem } from '../../shared/access/keys.ts';
import type { StorageLimits } from '../../shared/access/limit-policy.ts';
import { createPolicyAdministration } from '../../shared/access/policy-administration.ts';
import { TENANT_SCOPES } from '../../shared/access/scopes.ts';
import { createDynamoDBCounters } from '../../shared/limits/dynamodb-counters.ts';
import { replyAsChatModel } from '../upstreams/chat-model.ts';
import { waitUntil } from '../wait.ts';
import { connectToTables } from './keys.ts';
import { type Service, startService } from './service.ts';

let service: Service;
let tables: DynamoDBClient;
let calls = 0;

beforeAll(async () => {
  service = await startService({
    script: async ({ body }) => {
      calls += 1;
      return replyAsChatModel(body, {});
    },
  });
  tables = connectToTables(service.cloud);
});
afterAll(async () => {
  tables.destroy();
  await service[Symbol.asyncDispose]();
});

const getTable = (name: string): string => service.cloud.resources[name] ?? '';
const limitProject = (tenant: string, limits: StorageLimits) =>
  createPolicyAdministration(tables, getTable('ACCESS_TABLE')).changeProject(tenant, (project) => ({
    ...project,
    restrictions: { limits },
  }));

/** Limits a project, and returns a client of it. */
async function createClient(tenant: string, limits: StorageLimits): Promise<OpenAI> {
  await limitProject(tenant, limits);
  const Item = createKeyItem(`sk-${tenant}`, { tenant, keyId: tenant, scopes: TENANT_SCOPES });
  await tables.send(new PutItemCommand({ TableName: getTable('ACCESS_TABLE'), Item }));
  return new OpenAI({ baseURL: service.cloud.url, apiKey: `sk-${tenant}`, maxRetries: 0 });
}

/** Returns what is counted for a project in total. */
async function readCounted(tenant: string): Promise<{ bytes: number; items: number }> {
  const { B = 0n, I = 0n } = await createDynamoDBCounters(tables, getTable('LIMITS_TABLE')).read(`stored#${tenant}`);
  return { bytes: Number(B), items: Number(I) };
}

const model = 'compatible';
const messages = [{ role: 'user' as const, content: 'Hello' }];
const nothing = { bytes: 0, items: 0 };

it('a full project stores nothing more, calls no model for it, and goes on when something is deleted', async () => {
  const client = await createClient('full', { storedItems: 3 });
  const response = await client.responses.create({ model, input: 'Hello' });
  const chat = await client.chat.completions.create({ model, messages, store: true });
  const conversation = await client.conversations.create();
  expect((await readCounted('full')).items).toBe(3);

  calls = 0;
  const refused = [
    () => client.responses.create({ model, input: 'Hello' }),
    () => client.responses.create({ model, input: 'Hello', background: true }),
    () => client.chat.completions.create({ model, messages, store: true }),
    () => client.conversations.create(),
    () => client.conversations.items.create(conversation.id, { items: [{ role: 'user', content: 'Hello' }] }),
    () => client.responses.create({ model, input: 'Hello', store: false, conversation: conversation.id }),
  ];
  for (const each of refused) {
    const error = await each().catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(OpenAI.BadRequestError);
    expect(error).toMatchObject({
      code: 'storage_limit_exceeded',
      message: expect.stringMatching(/storedItems of the project: limit 3, (left 0, )?requested \d+\. Delete stored/),
    });
    expect((error as InstanceType<typeof OpenAI.APIError>).headers?.get('x-should-retry')).toBe('false');
  }
  expect(calls).toBe(0);
  expect((await client.responses.create({ model, input: 'Hello', store: false })).status).toBe('completed');

  for (const remove of [
    () => client.responses.delete(response.id),
    () => client.chat.completions.delete(chat.id),
    () => client.conversations.delete(conversation.id),
  ]) {
    await remove();
    const { id } = await client.responses.create({ model, input: 'Hello' });
    await client.responses.delete(id);
  }
  expect(await readCounted('full')).toEqual(nothing);
});

it('what is stored counts with its sealed size, and deleting it gives that back', async () => {
  const client = await createClient('sizes', { storedBytes: 1_000_000 });
  const short = await client.responses.create({ model, input: 'Hello' });
  const { bytes } = await readCounted('sizes');
  expect(bytes).toBeGreaterThan(500);
  // An upper bound of the answer alone would be above this.
  expect(bytes).toBeLessThan(4_000);
  const stream = await client.responses.create({ model, input: 'x'.repeat(50_000), stream: true });
  let id = '';
  for await (const event of stream) if (event.type === 'response.completed') id = event.response.id;
  await waitUntil('the stream was settled', async () => (await readCounted('sizes')).bytes < 250_000);
  expect((await readCounted('sizes')).bytes).toBeGreaterThan(bytes + 50_000);
  const { id: chat } = await client.chat.completions.create({ model, messages, store: true });
  for (const each of [id, short.id]) await client.responses.delete(each);
  await client.chat.completions.delete(chat);
  expect(await readCounted('sizes')).toEqual(nothing);
});

it('a request that may have more than is left is refused, and a lower maximum of output tokens lets it pass', async () => {
  const client = await createClient('bounds', { storedBytes: 20_000 });
  const input = 'Hello';
  await expect(client.responses.create({ model, input, max_output_tokens: 4_000 })).rejects.toMatchObject({
    code: 'storage_limit_exceeded',
    message: expect.stringContaining('storedBytes of the project: limit 20000'),
  });
  expect((await client.responses.create({ model, input, max_output_tokens: 400 })).status).toBe('completed');
  expect((await client.responses.create({ model, input })).status).toBe('completed');
});

it('a background response counts as what it has stored once it has ended', async () => {
  const client = await createClient('background', { storedBytes: 10_000_000, storedItems: 50 });
  const { id } = await client.responses.create({ model, input: 'Hello', background: true });
  await waitUntil('the job ended', async () => (await client.responses.retrieve(id)).status === 'completed');
  await waitUntil('it was settled', async () => (await readCounted('background')).bytes < 5_000);
  expect(await readCounted('background')).toMatchObject({ items: 1 });
  await client.responses.delete(id);
  expect(await readCounted('background')).toEqual(nothing);

  const conversation = await client.conversations.create();
  const turn = { model, input: 'Hello', background: true, conversation: conversation.id };
  const second = await client.responses.create(turn);
  await waitUntil('the job ended', async () => (await client.responses.retrieve(second.id)).status === 'completed');
  // The conversation, the response, and the two items that it adds.
  await waitUntil('it was settled', async () => (await readCounted('background')).items === 4);
  expect((await readCounted('background')).bytes).toBeLessThan(5_000);
});

it('items of a conversation count until they or their conversation are deleted', async () => {
  const client = await createClient('items', { storedItems: 20 });
  const long = { role: 'user' as const, content: 'x'.repeat(20_000) };
  const { id } = await client.conversations.create({ items: [{ role: 'user', content: 'Hello' }, long] });
  expect((await readCounted('items')).items).toBe(3);
  const added = await client.conversations.items.create(id, { items: [{ role: 'user', content: 'More' }] });
  await client.responses.create({ model, input: 'Hello', store: false, conversation: id });
  expect((await readCounted('items')).items).toBe(6);
  const [item] = added.data;
  await client.conversations.items.delete(item?.id ?? '', { conversation_id: id });
  expect((await readCounted('items')).items).toBe(5);
  await client.conversations.delete(id);
  expect(await readCounted('items')).toEqual(nothing);
});

it('a call that its model refuses gives back what it had reserved', async () => {
  const client = await createClient('failing', { storedItems: 1 });
  for (const _ of [1, 2]) {
    await expect(client.responses.create({ model: 'nothing', input: 'Hello' })).rejects.toThrow();
    await expect(client.chat.completions.create({ model: 'nothing', messages, store: true })).rejects.toThrow();
  }
  expect(await readCounted('failing')).toEqual(nothing);
});

it('what a project stored before it had a limit counts as nothing, and its deletion gives nothing back', async () => {
  const client = await createClient('earlier', {});
  const { id } = await client.responses.create({ model, input: 'Hello' });
  expect(await readCounted('earlier')).toEqual(nothing);
  await limitProject('earlier', { storedItems: 1 });
  const limited = new OpenAI({ baseURL: service.cloud.url, apiKey: 'sk-earlier', maxRetries: 0 });
  await waitUntil('the limit holds', async () => {
    await limited.responses.create({ model, input: 'Hello' });
    return (await readCounted('earlier')).items === 1;
  });
  await client.responses.delete(id);
  expect((await readCounted('earlier')).items).toBe(1);
});
