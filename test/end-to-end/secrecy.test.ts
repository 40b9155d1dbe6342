import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DynamoDBClient, paginateScan } from '@aws-sdk/client-dynamodb';
import { GetObjectCommand, ListObjectsV2Command, NoSuchKey, S3Client } from '@aws-sdk/client-s3';
import { SendMessageCommand, SQSClient } from '@aws-sdk/client-sqs';
import type OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { deriveResponseId } from '../../shared/api/queue-message.ts';
import { type Reply, streamEvents } from '../upstreams/reply.ts';
import { waitUntil } from '../wait.ts';
import { type Service, startService } from './service.ts';

const CANARY = 'canary-5e1f7a';
/** Text that looks like a stack frame, on its own line. */
const FRAME = `'a\n    at ${CANARY} (file:///var/task/${CANARY}.mjs:3:1)\n'`;
const model = 'compatible';

let service: Service;
beforeAll(async () => {
  service = await startService({
    environment: { LOG_LEVEL: 'debug', UPSTREAM_KEY: `${CANARY}-upstream-key` },
    script: ({ text, body }) => {
      if (text.includes('please quote')) return { status: 400, body: { error: { message: `Invalid: ${FRAME}` } } };
      if (text.includes('please fail')) return { status: 400, body: { error: { message: `${CANARY} was refused` } } };
      if (text.includes('please break')) return { status: 500, body: `${CANARY} broke` };
      if (text.includes('please cut')) return streamEvents([{ choices: [{ delta: { content: CANARY } }] }], 'cut');
      const answer = text.includes('please be long') ? `${CANARY}-answer `.repeat(25_000) : `${CANARY}-answer`;
      return createReply(answer, Object(body).stream === true);
    },
  });
});
afterAll(() => service[Symbol.asyncDispose]());

/** Creates the upstream's complete reply. */
function createReply(content: string, streamed: boolean): Reply {
  if (streamed)
    return streamEvents([{ choices: [{ delta: { content } }] }, { choices: [{ finish_reason: 'stop' }] }, '[DONE]']);
  return { body: { choices: [{ message: { role: 'assistant', content }, finish_reason: 'stop' }] } };
}

/** Sends a request with the canary wherever content can be, and returns the status and text of its response. */
async function ask(content: string, more: object = {}, key = 'sk-local'): Promise<string> {
  const answer = await fetch(`${service.cloud.url}/chat/completions?${CANARY}=1`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json', 'x-trace': CANARY },
    body: JSON.stringify({
      model: 'compatible',
      messages: [
        { role: 'system', content: CANARY },
        { role: 'user', content: `${content} ${CANARY}` },
      ],
      user: CANARY,
      ...more,
    }),
  });
  return `${answer.status} ${await answer.text()}`;
}

describe('content', () => {
  it('no log contains prompts, answers, error texts of upstreams, keys or headers', async () => {
    expect(await ask('answer me')).toContain(`${CANARY}-answer`);
    expect(await ask('please fail')).toContain('400');
    expect(await ask('please break')).toContain('503');
    expect(await ask('please cut', { stream: true })).toContain('"error"');
    expect(await ask('unknown field', { [CANARY]: CANARY })).toContain(`${CANARY}-answer`);
    expect(await ask(`please quote ${FRAME}`)).toContain('400');
    expect(await ask('unknown field that looks like a stack frame', { [FRAME]: true })).toContain(`${CANARY}-answer`);
    expect(await ask('unknown model', { model: CANARY })).toContain('404');
    expect(await ask('wrong key', {}, `sk-${CANARY}`)).toContain('401');
    await fetch(`${service.cloud.url}/chat/completions`, {
      method: 'POST',
      headers: { authorization: 'Bearer sk-local', 'content-type': 'application/json' },
      body: `{"${CANARY}": ${CANARY}`,
    });
    // Each request that reached the chat function logs a line, perhaps after its response has arrived.
    const logged = await waitUntil('all requests are logged', () => {
      const lines = service.logs.join('\n');
      return (lines.match(/"message":"request"/g) ?? []).length >= 9 && lines;
    });
    expect(logged).not.toContain(CANARY);
    expect(logged).not.toContain('sk-local');
  });

  it('no table, object or file contains unencrypted content, whichever request stored it', async () => {
    const { client, cloud } = service;
    const ids = await storeInEveryWay();
    // Its tenant can read all of this content. So it is stored, and the searches below cover it.
    for (const id of ids) expect(JSON.stringify(await client.responses.retrieve(id))).toContain(`${CANARY}-answer`);
    await waitUntil('all functions have ended', () => cloud.processes().every(({ busy }) => !busy));

    const tables = await readTables();
    for (const id of ids) expect(tables).toContain(id);
    expect(tables).not.toContain(CANARY);
    const objects = await readObjects();
    expect(objects.length).toBeGreaterThan(2 * 300_000);
    expect(objects).not.toContain(CANARY);
    const files = await readStateFiles(service.stateDir);
    expect(files).toContain(cloud.resources['JOBS_TABLE']);
    expect(files).not.toContain(CANARY);
    expect(service.logs.join('\n')).not.toContain(CANARY);
  });
});

/** Stores the canary through every operation that stores content, and returns the ids of the responses. */
async function storeInEveryWay(): Promise<string[]> {
  const { client } = service;
  const headers = { 'Idempotency-Key': `${CANARY}-key` };
  const metadata = { [CANARY]: CANARY };
  const message: OpenAI.Responses.ResponseInputItem = { role: 'user', content: CANARY };
  const conversation = (await client.conversations.create({ items: [message], metadata }, { headers })).id;
  await client.conversations.items.create(conversation, { items: [message] }, { headers });
  await client.chat.completions.create({ model, messages: [{ role: 'user', content: CANARY }] }, { headers });
  const messages = [{ role: 'user' as const, content: CANARY }];
  const chat = await client.chat.completions.create({ model, messages, metadata, store: true, user: CANARY });
  await client.chat.completions.update(chat.id, { metadata: { changed: CANARY } });
  const stored = await client.responses.create({ model, input: CANARY, instructions: CANARY, metadata }, { headers });
  const chained = await client.responses.create({ model, input: CANARY, previous_response_id: stored.id });
  const turn = await client.responses.create({ model, input: CANARY, conversation });
  const long = await client.responses.create({ model, input: `please be long ${CANARY} `.repeat(20_000) });
  const cut = await client.responses.create({ model, input: `please cut ${CANARY}`, stream: true });
  await expect(readLast(cut)).rejects.toThrow();
  const last = await readLast(
    await client.responses.create({ model, input: `please be long ${CANARY}`, stream: true, background: true }),
  );
  if (last?.type !== 'response.completed') throw new Error(`The stream ended in ${last?.type}`);
  const sent = await sendMessage();
  return [stored.id, chained.id, turn.id, long.id, last.response.id, sent];
}

/** Reads a stream to its end and returns its last event. */
async function readLast(stream: AsyncIterable<OpenAI.Responses.ResponseStreamEvent>) {
  let last: OpenAI.Responses.ResponseStreamEvent | undefined;
  for await (const event of stream) last = event;
  return last;
}

/** Sends a program's message and waits for its response. Returns the response's id. */
async function sendMessage(): Promise<string> {
  const idempotencyKey = `${CANARY}-message`;
  await send(idempotencyKey);
  const id = deriveResponseId('local', idempotencyKey);
  await waitUntil(`${id} is completed`, async () => {
    const response = await service.client.responses.retrieve(id).catch(() => undefined);
    return response?.status === 'completed';
  });
  return id;
}

async function send(idempotencyKey: string): Promise<void> {
  const { cloud } = service;
  const sqs = new SQSClient(createOptions(cloud.endpoints['AWS_ENDPOINT_URL_SQS']));
  const body = { model, input: CANARY, metadata: { [CANARY]: CANARY } };
  const message = { version: 1, type: 'generate', tenant: 'local', idempotencyKey, endpoint: '/v1/responses', body };
  const QueueUrl = cloud.resources['GENERATION_QUEUE_URL'];
  const MessageAttributes = { [CANARY]: { DataType: 'String', StringValue: CANARY } };
  const MessageBody = JSON.stringify(message);
  await sqs.send(new SendMessageCommand({ QueueUrl, MessageBody, MessageAttributes }));
  sqs.destroy();
}

const createOptions = (endpoint = '') => ({ endpoint, region: 'eu-west-1', credentials: service.cloud.credentials });

/** Returns every attribute of every item of every table; binary ones as their bytes. */
async function readTables(): Promise<string> {
  const { endpoints, resources } = service.cloud;
  const client = new DynamoDBClient(createOptions(endpoints['AWS_ENDPOINT_URL_DYNAMODB']));
  const names = ['ACCESS_TABLE', 'KEYS_TABLE', 'JOBS_TABLE', 'SESSIONS_TABLE'];
  const scans = names.map(async (name) => {
    const items: unknown[] = [];
    for await (const { Items = [] } of paginateScan({ client }, { TableName: resources[name] })) items.push(...Items);
    expect(items.length, name).toBeGreaterThan(0);
    return JSON.stringify(items, (_key, value: unknown) =>
      value instanceof Uint8Array ? Buffer.from(value).toString('latin1') : value,
    );
  });
  const text = (await Promise.all(scans)).join('\n');
  client.destroy();
  return text;
}

/** Returns undefined if what was just listed is gone: jobs delete objects, and stores replace their files. */
function ignoreMissing(thrown: unknown): undefined {
  if (!(thrown instanceof NoSuchKey) && Object(thrown).code !== 'ENOENT') throw thrown;
  return undefined;
}

/** Returns the keys and bytes of all objects in the bucket. */
async function readObjects(): Promise<string> {
  const { endpoints, resources } = service.cloud;
  const client = new S3Client({ ...createOptions(endpoints['AWS_ENDPOINT_URL_S3']), forcePathStyle: true });
  const Bucket = resources['BUCKET'];
  const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket }));
  const texts = Contents.map(async ({ Key }) => {
    const object = await client.send(new GetObjectCommand({ Bucket, Key })).catch(ignoreMissing);
    return `${Key}\n${await object?.Body?.transformToString('latin1')}`;
  });
  const text = (await Promise.all(texts)).join('\n');
  client.destroy();
  return text;
}

/** Returns the names and bytes of all files in a folder, logs included. */
async function readStateFiles(folder: string): Promise<string> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map(({ parentPath, name }) => join(parentPath, name));
  const texts = files.map(async (file) => `${file}\n${await readFile(file, 'latin1').catch(ignoreMissing)}`);
  return (await Promise.all(texts)).join('\n');
}
