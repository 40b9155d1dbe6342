import { randomBytes } from 'node:crypto';
import { DynamoDBClient, paginateScan } from '@aws-sdk/client-dynamodb';
import { paginateListObjectsV2, S3Client } from '@aws-sdk/client-s3';
import {
  DeleteMessageCommand,
  GetQueueAttributesCommand,
  ReceiveMessageCommand,
  SendMessageCommand,
  SQSClient,
} from '@aws-sdk/client-sqs';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isObject } from '../../shared/core/objects.ts';
import { waitUntil } from '../wait.ts';
import { createAdministrator } from './administrator.ts';
import { type Service, startService } from './service.ts';

const model = 'compatible';
/** No compression makes it shorter, so what has its text, sealed or not, is at least as long. */
const CONTENT = randomBytes(3_000).toString('base64');

let service: Service;
let organization: OpenAI['admin']['organization'];
beforeAll(async () => {
  service = await startService();
  ({ organization } = createAdministrator(service));
});
afterAll(() => service[Symbol.asyncDispose]());

const createCaller = (apiKey: string) => new OpenAI({ baseURL: service.cloud.url, apiKey, maxRetries: 0 });
const messages = [{ role: 'user' as const, content: CONTENT }];
const input = CONTENT;

/** Creates a project, and returns its id and a function that creates clients: API Gateway caches the policy of a used key. */
async function createProject() {
  const { id } = await organization.projects.create({ name: 'Website' });
  const connect = async () => {
    const { api_key: key } = await organization.projects.serviceAccounts.create(id, { name: 'web' });
    return createCaller(key?.value ?? '');
  };
  return { id, connect };
}

/** Sends a request with an admin key that the client has no method for. */
async function administrate(path: string, body: unknown, key = 'sk-admin-local') {
  const response = await fetch(`${service.cloud.url}/organization/${path}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  const { error } = JSON.parse(await response.text());
  return { status: response.status, code: error?.code, param: error?.param };
}

describe('the administration of data retention', () => {
  it('a project has the setting of the organization until it gets its own, which replaces that', async () => {
    const { dataRetention, projects } = organization;
    const { id, connect } = await createProject();
    const isStored = async () => {
      const response = await (await connect()).responses.create({ model, input: 'Hi' });
      return 'store' in response && response.store;
    };
    const byDefault = { object: 'organization.data_retention', type: 'modified_abuse_monitoring' };
    expect(await dataRetention.retrieve()).toEqual(byDefault);
    const inherited = { object: 'project.data_retention', type: 'organization_default' };
    expect(await projects.dataRetention.retrieve(id)).toEqual(inherited);
    expect(await isStored()).toBe(true);

    const zero = { object: 'organization.data_retention', type: 'zero_data_retention' };
    expect(await dataRetention.update({ retention_type: 'zero_data_retention' })).toEqual(zero);
    expect(await dataRetention.retrieve()).toEqual(zero);
    expect(await projects.dataRetention.retrieve(id)).toEqual(inherited);
    expect(await isStored()).toBe(false);
    for (const type of ['none', 'modified_abuse_monitoring'] as const) {
      expect(await projects.dataRetention.update(id, { retention_type: type })).toMatchObject({ type });
      expect(await projects.dataRetention.retrieve(id)).toMatchObject({ type });
      expect(await isStored()).toBe(true);
    }

    await dataRetention.update({ retention_type: 'modified_abuse_monitoring' });
    expect(await dataRetention.retrieve()).toEqual(byDefault);
    await projects.dataRetention.update(id, { retention_type: 'zero_data_retention' });
    expect(await isStored()).toBe(false);
    expect(await projects.dataRetention.update(id, { retention_type: 'organization_default' })).toEqual(inherited);
    expect(await isStored()).toBe(true);
  });

  it('a change is an act in the log, with the previous setting', async () => {
    const { id } = await createProject();
    await organization.projects.dataRetention.update(id, { retention_type: 'zero_data_retention' });
    const findAct = () =>
      service.logs
        .map((line): unknown => JSON.parse(line))
        .filter(isObject)
        .find((line) => line['act'] === 'project.updated' && line['project'] === id);
    const act = await waitUntil('the act is logged', findAct);
    expect(JSON.parse(String(act['details']))).toEqual({
      changes_requested: { data_retention: { type: 'zero_data_retention' } },
      previous: { data_retention: { type: 'organization_default' } },
    });
  });

  it('unknown and unsupported types, unknown and archived projects are refused', async () => {
    const refused = { status: 400, param: 'retention_type' };
    for (const path of ['data_retention', 'projects/local/data_retention']) {
      expect(await administrate(path, {})).toMatchObject({ status: 400, code: 'missing_required_parameter' });
      expect(await administrate(path, { retention_type: 'zero' })).toMatchObject(refused);
      expect(await administrate(path, { retention_type: 'none', days: 30 })).toMatchObject({ status: 400 });
      for (const type of ['enhanced_zero_data_retention', 'enhanced_modified_abuse_monitoring'])
        expect(await administrate(path, { retention_type: type })).toMatchObject({
          ...refused,
          code: 'unsupported_value',
        });
    }
    for (const type of ['none', 'organization_default'])
      expect(await administrate('data_retention', { retention_type: type })).toMatchObject(refused);
    expect(await administrate('projects/missing/data_retention', { retention_type: 'none' })).toMatchObject({
      status: 404,
    });
    const { id } = await createProject();
    await organization.projects.archive(id);
    expect(await administrate(`projects/${id}/data_retention`, { retention_type: 'none' })).toMatchObject({
      status: 403,
      code: 'project_archived',
    });
  });

  it('a policy shows the setting, and changes it only with the scope of the setting', async () => {
    const { id } = await createProject();
    await organization.projects.dataRetention.update(id, { retention_type: 'zero_data_retention' });
    const { value } = await organization.adminAPIKeys.create({
      name: 'limits',
      scopes: ['admin.limits.write'],
    } as never);
    const path = `projects/${id}/policy`;
    expect(await administrate(path, { retention: null }, value)).toMatchObject({ status: 403 });
    expect(await organization.projects.dataRetention.retrieve(id)).toMatchObject({ type: 'zero_data_retention' });
    expect(await administrate(path, { retention: 'none' })).toMatchObject({ status: 200 });
    expect(await organization.projects.dataRetention.retrieve(id)).toMatchObject({ type: 'none' });
    expect(await administrate('policy', { retention: 'none' })).toMatchObject({ status: 400, param: 'retention' });
  });
});

describe('zero data retention', () => {
  it('once a request or job has ended, no table or object has its content, not even sealed', async () => {
    await organization.projects.dataRetention.update('local', { retention_type: 'zero_data_retention' });
    await useEverything(createCaller('sk-local'), 'local');
    expect(await listContent('local')).toEqual([]);
    // The same calls leave content in a project that stores it.
    const { id, connect } = await createProject();
    await useEverything(await connect());
    expect((await listContent(id)).length).toBeGreaterThan(5);
  });

  it('what needs stored objects is refused with the codes of OpenAI', async () => {
    const { id, connect } = await createProject();
    await organization.projects.dataRetention.update(id, { retention_type: 'zero_data_retention' });
    const client = await connect();
    const create = (body: object) => client.responses.create({ model, input: 'Hi', ...body });
    const due = 'cannot be used for this organization due to Zero Data Retention.';
    for (const [body, param] of [
      [{ previous_response_id: 'resp_1' }, 'previous_response_id'],
      [{ conversation: 'conv_1' }, 'conversation'],
      [{ background: true }, 'background'],
    ] as const)
      await expect(create(body)).rejects.toMatchObject({
        status: 400,
        code: 'unsupported_parameter',
        param,
        message: expect.stringContaining(due),
      });
    const reference = { type: 'item_reference', id: 'msg_1' } as const;
    await expect(create({ input: [reference] })).rejects.toMatchObject({
      status: 404,
      message: expect.stringContaining('Items are not persisted for Zero Data Retention organizations.'),
    });
    const previous = { model, previous_response_id: 'resp_1' };
    await expect(client.responses.inputTokens.count(previous)).rejects.toMatchObject({ code: 'unsupported_parameter' });
    await expect(client.responses.compact(previous)).rejects.toMatchObject({ code: 'unsupported_parameter' });
    const refused = { status: 400, code: 'unsupported_value', message: expect.stringContaining('Zero Data Retention') };
    await expect(client.conversations.create({})).rejects.toMatchObject(refused);
  });

  it('what was stored before can be read and deleted, but neither changed nor continued', async () => {
    const { id, connect } = await createProject();
    const earlier = await connect();
    const response = await earlier.responses.create({ model, input: 'Hi' });
    const background = await earlier.responses.create({ model, input: 'Hi', background: true });
    const chat = await earlier.chat.completions.create({ model, messages, store: true });
    const conversation = await earlier.conversations.create({ items: messages });
    await organization.projects.dataRetention.update(id, { retention_type: 'zero_data_retention' });

    const client = await connect();
    expect((await client.responses.retrieve(response.id)).output_text).toBe(response.output_text);
    await waitUntil('the accepted job has ended', async () => {
      const { status } = await client.responses.retrieve(background.id);
      return status === 'completed';
    });
    expect((await client.chat.completions.list()).data.map((each) => each.id)).toEqual([chat.id]);
    expect((await client.conversations.items.list(conversation.id)).data).toHaveLength(1);
    const refused = { status: 400, code: 'unsupported_value' };
    await expect(client.chat.completions.update(chat.id, { metadata: { a: 'b' } })).rejects.toMatchObject(refused);
    await expect(client.conversations.update(conversation.id, { metadata: {} })).rejects.toMatchObject(refused);
    await expect(client.conversations.items.create(conversation.id, { items: messages })).rejects.toMatchObject(
      refused,
    );
    await expect(
      client.responses.create({ model, input: 'Hi', previous_response_id: response.id }),
    ).rejects.toMatchObject({ code: 'unsupported_parameter' });
    await client.responses.delete(response.id);
    await client.chat.completions.delete(chat.id);
    await client.conversations.delete(conversation.id);
    await expect(client.responses.retrieve(response.id)).rejects.toMatchObject({ status: 404 });
  });

  it('a stored copy that was asked for is named as ignored, and a repetition is refused', async () => {
    const { id, connect } = await createProject();
    await organization.projects.dataRetention.update(id, { retention_type: 'zero_data_retention' });
    const client = await connect();
    const body = { model, input: 'Hi', store: true };
    const { data, response } = await client.responses.create(body).withResponse();
    expect(data).toMatchObject({ store: false });
    expect(response.headers.get('x-lambent-ignored')).toBe('store');
    await expect(client.responses.retrieve(data.id)).rejects.toMatchObject({ status: 404 });
    const chat = await client.chat.completions.create({ model, messages, store: true }).withResponse();
    expect(chat.response.headers.get('x-lambent-ignored')).toBe('store');
    expect((await client.chat.completions.list()).data).toEqual([]);
    const headers = { 'Idempotency-Key': 'once' };
    await client.responses.create(body, { headers });
    await expect(client.responses.create(body, { headers })).rejects.toMatchObject({
      status: 409,
      code: 'idempotent_answer_not_kept',
    });
  });
});

/** Sends content through every operation that may store some. `tenant` is that of the queue's messages. */
async function useEverything(client: OpenAI, tenant?: string): Promise<void> {
  const keys = { 'Idempotency-Key': 'once' };
  const metadata = { note: CONTENT.slice(0, 500) };
  await client.chat.completions.create({ model, messages, store: true, metadata }, { headers: keys });
  await client.responses.create({ model, input, instructions: CONTENT, metadata }, { headers: keys });
  for await (const _ of await client.responses.create({ model, input, stream: true, store: true }));
  for await (const _ of await client.chat.completions.create({ model, messages, stream: true, store: true }));
  const compacted = await client.responses.compact({ model, input: [...messages, ...messages] }, { headers: keys });
  await client.responses.create({ model, input: compacted.output as OpenAI.Responses.ResponseInput });
  await fetch(`${service.cloud.url}/messages`, {
    method: 'POST',
    headers: { ...keys, authorization: `Bearer ${client.apiKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model, max_tokens: 100, messages }),
  });
  await client.responses.create({ model, input, background: true }).catch(() => undefined);
  await client.conversations.create({ items: messages, metadata }).catch(() => undefined);
  if (tenant === undefined) return;
  const sqs = new SQSClient(createOptions('AWS_ENDPOINT_URL_SQS'));
  const { GENERATION_QUEUE_URL, GENERATION_DLQ_URL, ANSWERS_REPLY_QUEUE_URL: QueueUrl } = service.cloud.resources;
  for (const [endpoint, body] of [
    ['/v1/responses', { model, input, stream: true }],
    ['/v1/chat/completions', { model, messages, store: true }],
  ] as const) {
    const message = { version: 1, type: 'generate', tenant, idempotencyKey: endpoint, endpoint, body };
    const send = (each: object) =>
      sqs.send(new SendMessageCommand({ QueueUrl: GENERATION_QUEUE_URL, MessageBody: JSON.stringify(each) }));
    await send({ ...message, replyTo: 'answers' });
    const [reply] = await waitUntil('a reply arrives', async () => {
      const { Messages } = await sqs.send(new ReceiveMessageCommand({ QueueUrl, WaitTimeSeconds: 5 }));
      return Messages;
    });
    expect(JSON.parse(reply?.Body ?? '')).toMatchObject({ idempotencyKey: endpoint, status: 'completed' });
    await sqs.send(new DeleteMessageCommand({ QueueUrl, ReceiptHandle: reply?.ReceiptHandle }));
    // A job ends before its reply is sent, and is deleted afterwards.
    await waitUntil('the job is deleted', async () => (await listContent(tenant)).length === 0);
    await send({ ...message, idempotencyKey: `${endpoint} unread` });
  }
  await waitUntil('the messages without a reply queue are rejected', async () => {
    const names = { QueueUrl: GENERATION_DLQ_URL, AttributeNames: ['ApproximateNumberOfMessages' as const] };
    const { Attributes } = await sqs.send(new GetQueueAttributesCommand(names));
    return Attributes?.ApproximateNumberOfMessages === '2';
  });
  sqs.destroy();
}

function createOptions(endpoint: string) {
  const { endpoints, credentials } = service.cloud;
  return { endpoint: endpoints[endpoint] ?? '', region: 'eu-west-1', credentials, forcePathStyle: true };
}

/** Lists the items of all tables and the objects of the bucket that belong to a tenant and are as long as content is. */
async function listContent(tenant: string): Promise<string[]> {
  const { resources } = service.cloud;
  const tables = new DynamoDBClient(createOptions('AWS_ENDPOINT_URL_DYNAMODB'));
  const found: string[] = [];
  for (const [, TableName] of Object.entries(resources).filter(([name]) => name.endsWith('_TABLE'))) {
    for await (const { Items = [] } of paginateScan({ client: tables }, { TableName })) {
      for (const item of Items) {
        const keys = `${item['pk']?.S} ${item['sk']?.S}`;
        if (keys.includes(tenant) && measure(item) > CONTENT.length) found.push(`${TableName} ${keys}`);
      }
    }
  }
  tables.destroy();
  const s3 = new S3Client(createOptions('AWS_ENDPOINT_URL_S3'));
  const Bucket = resources['BUCKET'];
  for await (const { Contents = [] } of paginateListObjectsV2({ client: s3 }, { Bucket })) {
    for (const { Key = '', Size = 0 } of Contents) if (Key.includes(tenant) && Size > CONTENT.length) found.push(Key);
  }
  s3.destroy();
  return found;
}

/** Returns the bytes of an item's values, with their types. */
function measure(item: object): number {
  const text = JSON.stringify(item, (_key, value: unknown) =>
    value instanceof Uint8Array ? Buffer.from(value).toString('latin1') : value,
  );
  return text.length;
}
