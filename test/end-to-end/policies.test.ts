import { type DynamoDBClient, PutItemCommand } from '@aws-sdk/client-dynamodb';
import OpenAI from 'openai';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createKeyItem } from '../../shared/access/keys.ts';
import type { Restrictions } from '../../shared/access/policy.ts';
import { createPolicyAdministration, type PolicyAdministration } from '../../shared/access/policy-administration.ts';
import { encodeRestrictions } from '../../shared/access/policy-schema.ts';
import { TENANT_SCOPES } from '../../shared/access/scopes.ts';
import { ROUTES } from '../../shared/api/route-table.ts';
import { connectToTables } from './keys.ts';
import { type Service, startService } from './service.ts';

let service: Service;
let tables: DynamoDBClient;
let administration: PolicyAdministration;
let accessTable: string;

beforeAll(async () => {
  service = await startService();
  tables = connectToTables(service.cloud);
  accessTable = service.cloud.resources['ACCESS_TABLE'] ?? '';
  administration = createPolicyAdministration(tables, accessTable);
});
afterAll(async () => {
  tables.destroy();
  await service[Symbol.asyncDispose]();
});

/** Creates a key of a tenant, and returns a client with it. */
async function createClient(
  key: string,
  tenant: string,
  { scopes = TENANT_SCOPES, restrictions = {} }: { scopes?: readonly string[]; restrictions?: Restrictions } = {},
): Promise<OpenAI> {
  const policy = encodeRestrictions('key', restrictions);
  const Item = createKeyItem(key, { tenant, keyId: key.slice(3), scopes, policy });
  await tables.send(new PutItemCommand({ TableName: accessTable, Item }));
  return new OpenAI({ baseURL: service.cloud.url, apiKey: key, maxRetries: 0 });
}

const listModels = async (client: OpenAI) => (await client.models.list()).data.map(({ id }) => id);
const NOT_FOUND = { status: 404, code: 'model_not_found' };

it('a key sees and uses only the models that its account, its project and itself are permitted', async () => {
  const deny: Restrictions = { models: { mode: 'deny', models: ['bedrock'] } };
  const allow: Restrictions = { models: { mode: 'allow', models: ['default', 'compatible', 'bedrock'] } };
  const client = await createClient('sk-limited', 'limited', { restrictions: deny });
  await administration.changeProject('limited', (project) => ({ ...project, restrictions: allow }));
  expect(await listModels(client)).toEqual(['default', 'compatible']);
  expect((await client.models.retrieve('compatible')).id).toBe('compatible');
  const input = 'Hello';
  const messages = [{ role: 'user' as const, content: input }];
  await client.responses.create({ model: 'compatible', input });
  for (const model of ['bedrock', 'lean']) {
    for (const call of [
      () => client.models.retrieve(model),
      () => client.chat.completions.create({ model, messages }),
      () => client.responses.create({ model, input }),
      () => client.responses.create({ model, input, background: true }),
      () => client.responses.inputTokens.count({ model, input }),
      () => client.embeddings.create({ model, input }),
    ])
      await expect(call()).rejects.toMatchObject(NOT_FOUND);
  }
});

it('a key without a route’s scope may not call it, whatever the route', async () => {
  await createClient('sk-none', 'none', { scopes: ['none'] });
  for (const [route, scope] of Object.values(ROUTES).flatMap((part) => Object.entries(part))) {
    const [method = '', resource = ''] = route.split(' ');
    const url = `${service.cloud.url.replace(/\/v1$/, '')}${resource.replaceAll(/\{\w+\+?\}/g, 'any')}`;
    const response = await fetch(url, {
      method,
      headers: { authorization: 'Bearer sk-none', 'content-type': 'application/json' },
      body: method === 'POST' ? '{}' : null,
    });
    expect({ route, status: response.status, text: await response.text() }).toEqual({
      route,
      status: 403,
      text: expect.stringContaining(scope),
    });
  }
});

it('an archived project is refused on every route, and its running answer ends normally', async () => {
  const client = await createClient('sk-archived', 'archived');
  const stream = await client.responses.create({ model: 'default', input: 'What is Lambent?', stream: true });
  const events = stream[Symbol.asyncIterator]();
  await events.next();
  await administration.changeProject('archived', (project) => ({ ...project, status: 'archived' }));
  // This key has no cached policy.
  const later = await createClient('sk-archived-2', 'archived');
  const refused = { status: 403, code: 'project_archived' };
  for (const call of [
    () => later.models.list(),
    () => later.responses.create({ model: 'default', input: 'Hello' }),
    () => later.responses.retrieve('resp_any'),
    () => later.conversations.create(),
    () => later.embeddings.create({ model: 'default', input: 'Hello' }),
  ])
    await expect(call()).rejects.toMatchObject(refused);
  let last: string | undefined;
  for (let event = await events.next(); !event.done; event = await events.next()) last = event.value.type;
  expect(last).toBe('response.completed');
});

it('a key may be used only from its addresses, although API Gateway caches what its authorizer decides', async () => {
  const elsewhere = await createClient('sk-elsewhere', 'addresses', { restrictions: { ipRanges: ['192.0.2.0/24'] } });
  const refused = { status: 401, code: 'ip_not_authorized' };
  await expect(elsewhere.responses.create({ model: 'default', input: 'Hello' })).rejects.toMatchObject(refused);
  await expect(elsewhere.models.list()).rejects.toMatchObject(refused);
  const here = await createClient('sk-here', 'addresses', { restrictions: { ipRanges: ['127.0.0.0/8', '::1'] } });
  expect(await listModels(here)).toContain('default');
});
