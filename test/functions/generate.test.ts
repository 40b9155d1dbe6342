import { DeleteItemCommand } from '@aws-sdk/client-dynamodb';
import { ListObjectsV2Command, PutObjectCommand } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { deriveResponseId } from '../../shared/api/queue-message.ts';
import { createDynamoDBStore } from '../../shared/jobs/dynamodb-store.ts';
import { makeContext, makeQueueEvent, startTestEnvironment, type TestEnvironment } from './test-environment.ts';

let surroundings: TestEnvironment;
let generate: (event: unknown, context: unknown) => Promise<unknown>;
let sweep: (event: unknown, context: unknown) => Promise<unknown>;

beforeAll(async () => {
  surroundings = await startTestEnvironment();
  for (const [name, value] of Object.entries(surroundings.environment)) vi.stubEnv(name, value);
  const functions = await Promise.all([import('../../functions/generate.ts'), import('../../functions/sweep.ts')]);
  generate = (event, context) => Promise.resolve(Reflect.apply(functions[0].handler, undefined, [event, context]));
  sweep = (event, context) => Promise.resolve(Reflect.apply(functions[1].handler, undefined, [event, context]));
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await surroundings[Symbol.asyncDispose]();
});

let keys = 0;
function aMessage(changes: object = {}) {
  keys += 1;
  return {
    version: 1,
    type: 'generate',
    tenant: 'local',
    idempotencyKey: `order-${keys}`,
    endpoint: '/v1/responses',
    body: { model: 'default', input: 'The canary sings.' },
    ...changes,
  };
}
const jobs = () => createDynamoDBStore(surroundings.services.dynamodb, { tableName: surroundings.jobsTable });
const jobOf = ({ idempotencyKey }: { idempotencyKey: string }) =>
  jobs().read('local', deriveResponseId('local', idempotencyKey));
const dead = () => surroundings.services.messagesOf(surroundings.deadLetterUrl);
const all = { batchItemFailures: [] };

test("turns a program's message into a job that is completed, and asks the model once however often it comes", async () => {
  const message = aMessage();
  const asked = surroundings.upstream.requests.length;
  expect(await generate(makeQueueEvent(message), makeContext())).toEqual(all);
  expect(await generate(makeQueueEvent(message, message), makeContext())).toEqual(all);
  expect(await jobOf(message)).toMatchObject({ status: 'completed', epoch: 1, attempts: 1, tenant: 'local' });
  expect((await jobOf(message))?.dueAt).toBeUndefined();
  expect(surroundings.upstream.requests.length - asked).toBe(1);
});

test('sends the answer to the queue that the message names', async () => {
  const message = aMessage({ replyTo: 'answers' });
  await generate(makeQueueEvent(message), makeContext());
  const [reply] = await surroundings.services.messagesOf(surroundings.replyUrl);
  expect(JSON.parse(reply?.body ?? '')).toMatchObject({
    version: 1,
    type: 'answer',
    tenant: 'local',
    id: deriveResponseId('local', message.idempotencyKey),
    idempotencyKey: message.idempotencyKey,
    status: 'completed',
    response: { object: 'response', status: 'completed', output: [{ type: 'message' }] },
  });
});

test('serves work that has waited before flex work of the same batch', async () => {
  const flex = aMessage({ body: { model: 'default', input: 'x', service_tier: 'flex' } });
  const other = aMessage();
  const { Records } = makeQueueEvent(flex, other);
  const sentAt = String(Date.now() - 10_000);
  const waiting = Records.map((record) => ({ ...record, attributes: { ...record.attributes, SentTimestamp: sentAt } }));
  const asked = surroundings.upstream.requests.length;
  expect(await generate({ Records: waiting }, makeContext())).toEqual(all);
  expect(await jobOf(other)).toMatchObject({ status: 'completed' });
  expect(await jobOf(flex)).toMatchObject({ status: 'queued', tier: 'flex', attempts: 0, releases: 1 });
  expect(surroundings.upstream.requests.length - asked).toBe(1);
});

test('keeps nothing readable in the table', async () => {
  await generate(makeQueueEvent(aMessage()), makeContext());
  const text = await surroundings.services.textOf(surroundings.jobsTable);
  expect(text).toContain('completed');
  expect(text).not.toContain('canary');
});

test.each([
  ['response', { body: { model: 'default', input: 'x', store: false } }],
  [
    'chat completion',
    {
      endpoint: '/v1/chat/completions',
      body: { model: 'default', messages: [{ role: 'user', content: 'x' }], store: false },
    },
  ],
])('forgets a %s that is not to be stored when its answer is on its way', async (_name, changes) => {
  const message = aMessage({ replyTo: 'answers', ...changes });
  await generate(makeQueueEvent(message), makeContext());
  expect(await surroundings.services.messagesOf(surroundings.replyUrl)).toHaveLength(1);
  expect(await jobOf(message)).toBeUndefined();
  const text = await surroundings.services.textOf(surroundings.jobsTable);
  const id = deriveResponseId('local', message.idempotencyKey);
  expect(text.split(id)).toHaveLength(2);
});

test.each([
  ['no JSON', '{"version":1', 'invalid_json'],
  ['a newer version', { ...aMessage(), version: 2 }, 'unsupported_value'],
  ['an unknown type', { ...aMessage(), type: 'dream' }, 'unsupported_value'],
  ['a misspelt field', { ...aMessage(), reply_to: 'answers' }, 'unknown_parameter'],
  ['an unknown reply queue', { ...aMessage(), replyTo: 'elsewhere' }, 'invalid_value'],
  ["another sender's tenant", { ...aMessage(), tenant: 'other' }, 'insufficient_permissions'],
  [
    'a body that its API refuses',
    { ...aMessage(), body: { model: 'default', input: 'x', temperature: 9 } },
    'invalid_value',
  ],
  ['an unknown model', { ...aMessage(), body: { model: 'none', input: 'x' } }, 'model_not_found'],
  [
    "another's bucket",
    { ...aMessage(), body: undefined, bodyPointer: { bucket: 'theirs', key: 'local/inbox/a' } },
    'invalid_value',
  ],
  [
    "another tenant's object",
    { ...aMessage(), body: undefined, bodyPointer: { bucket: 'bodies', key: 'other/inbox/a' } },
    'invalid_value',
  ],
  ['a webhook, which is not there yet', { ...aMessage(), webhook: 'https://example.com' }, 'unsupported_parameter'],
])('puts %s into the dead-letter queue with the reason, and serves its neighbours', async (_name, bad, reason) => {
  const good = aMessage();
  expect(await generate(makeQueueEvent(bad, good), makeContext())).toEqual(all);
  const [message, ...more] = await dead();
  expect(message?.attributes['reason']).toBe(reason);
  expect(message?.body).toBe(typeof bad === 'string' ? bad : JSON.stringify(bad));
  expect(more).toEqual([]);
  expect((await jobOf(good))?.status).toBe('completed');
});

test('refuses a key that comes with another body', async () => {
  const message = aMessage();
  await generate(makeQueueEvent(message), makeContext());
  await generate(makeQueueEvent({ ...message, body: { model: 'default', input: 'other' } }), makeContext());
  expect((await dead())[0]?.attributes['reason']).toBe('idempotency_key_reused');
});

const small = { model: 'default', input: 'x' };
/** Too large for the table, so that it lies elsewhere than a small one. */
const large = { model: 'default', input: 'long '.repeat(100_000) };

test.each([
  ['small, after a large one', large, small],
  ['large, after a small one', small, large],
  ['large, after a small one that was streamed', { ...small, stream: true }, large],
])('refuses a key that comes with another body which is %s', async (_name, first, second) => {
  const message = aMessage({ body: first });
  await generate(makeQueueEvent(message), makeContext());
  const job = await jobOf(message);
  for (const _ of [1, 2]) {
    expect(await generate(makeQueueEvent({ ...message, body: second }), makeContext())).toEqual(all);
    expect((await dead())[0]?.attributes['reason']).toBe('idempotency_key_reused');
  }
  expect(await generate(makeQueueEvent(message), makeContext())).toEqual(all);
  expect(await dead()).toEqual([]);
  expect(await jobOf(message)).toEqual(job);
});

test('answers from its item alone a job whose input is gone, and looks at it no more', async () => {
  const message = aMessage({ replyTo: 'answers' });
  await generate(makeQueueEvent(message), makeContext(0));
  const [pointer] = await surroundings.services.messagesOf(surroundings.queueUrl);
  const { id = '' } = (await jobOf(message)) ?? {};
  const Key = { pk: { S: `local#${id}` }, sk: { S: 'input' } };
  await surroundings.services.dynamodb.send(new DeleteItemCommand({ TableName: surroundings.jobsTable, Key }));
  await generate(makeQueueEvent(pointer?.body ?? ''), makeContext());
  const [reply] = await surroundings.services.messagesOf(surroundings.replyUrl);
  const { response, ...head } = JSON.parse(reply?.body ?? '');
  expect(head).toEqual({ version: 1, type: 'answer', tenant: 'local', id, status: 'failed' });
  expect(response).toMatchObject({ error: { code: 'record_unreadable' } });
  expect((await jobOf(message))?.dueAt).toBeUndefined();
});

describe("a body in the tenant's inbox", () => {
  async function pointed(body: object = { model: 'default', input: 'x' }, changes: object = {}) {
    const { s3, bucketName } = surroundings.services;
    const message = aMessage({ body: undefined, ...changes });
    const key = `local/inbox/${message.idempotencyKey}`;
    await s3.send(new PutObjectCommand({ Bucket: bucketName, Key: key, Body: JSON.stringify(body) }));
    return { message: { ...message, bodyPointer: { bucket: bucketName, key } }, key };
  }
  async function inbox(): Promise<string[]> {
    const { s3, bucketName } = surroundings.services;
    const { Contents = [] } = await s3.send(new ListObjectsV2Command({ Bucket: bucketName, Prefix: 'local/inbox/' }));
    return Contents.flatMap(({ Key }) => Key ?? []);
  }

  test('is removed once a job has been made of it, and its message may still come again', async () => {
    const { message } = await pointed();
    const asked = surroundings.upstream.requests.length;
    await generate(makeQueueEvent(message), makeContext());
    expect(await inbox()).toEqual([]);
    expect(await generate(makeQueueEvent(message), makeContext())).toEqual(all);
    expect(await dead()).toEqual([]);
    expect(await jobOf(message)).toMatchObject({ status: 'completed', epoch: 1 });
    expect(surroundings.upstream.requests.length - asked).toBe(1);
  });

  test('is removed when its message comes again after a crash that left it there', async () => {
    const { message, key } = await pointed();
    await generate(makeQueueEvent(message), makeContext());
    const { s3, bucketName } = surroundings.services;
    const body = JSON.stringify({ model: 'default', input: 'x' });
    await s3.send(new PutObjectCommand({ Bucket: bucketName, Key: key, Body: body }));
    await generate(makeQueueEvent(message), makeContext());
    expect(await inbox()).toEqual([]);
  });

  test('need not be there for a message whose job has been deleted', async () => {
    const { message } = await pointed({ model: 'default', input: 'x', store: false }, { replyTo: 'answers' });
    await generate(makeQueueEvent(message), makeContext());
    expect(await surroundings.services.messagesOf(surroundings.replyUrl)).toHaveLength(1);
    expect(await jobOf(message)).toBeUndefined();
    expect(await generate(makeQueueEvent(message), makeContext())).toEqual(all);
    expect(await dead()).toEqual([]);
  });

  test('that was never there puts its message into the dead-letter queue', async () => {
    const { bucketName } = surroundings.services;
    const bodyPointer = { bucket: bucketName, key: 'local/inbox/nothing' };
    await generate(makeQueueEvent(aMessage({ body: undefined, bodyPointer })), makeContext());
    expect((await dead())[0]?.attributes['reason']).toBe('not_found');
  });

  test('stays when its message was refused', async () => {
    const { message, key } = await pointed({ model: 'default', input: 'x', temperature: 9 });
    await generate(makeQueueEvent(message), makeContext());
    expect(await dead()).toHaveLength(1);
    expect(await inbox()).toEqual([key]);
  });
});

test("refuses a key that comes with a large body in the tenant's inbox after a small one", async () => {
  const message = aMessage();
  await generate(makeQueueEvent(message), makeContext());
  const { s3, bucketName } = surroundings.services;
  const key = 'local/inbox/another';
  await s3.send(new PutObjectCommand({ Bucket: bucketName, Key: key, Body: JSON.stringify(large) }));
  const bodyPointer = { bucket: bucketName, key };
  expect(await generate(makeQueueEvent({ ...message, body: undefined, bodyPointer }), makeContext())).toEqual(all);
  expect((await dead())[0]?.attributes['reason']).toBe('idempotency_key_reused');
});

test("reads a large body from the tenant's inbox, and keeps it in the bucket", async () => {
  // The model says it all again, and comes to the end of its tokens.
  const input = 'long '.repeat(100_000);
  const Key = 'local/inbox/large';
  const { s3, bucketName } = surroundings.services;
  await s3.send(new PutObjectCommand({ Bucket: bucketName, Key, Body: JSON.stringify({ model: 'default', input }) }));
  const message = aMessage({ body: undefined, bodyPointer: { bucket: bucketName, key: Key } });
  await generate(makeQueueEvent(message), makeContext());
  expect(await jobOf(message)).toMatchObject({ status: 'incomplete', input: { place: 's3' } });
});

test('completes a chat completion', async () => {
  const message = aMessage({
    endpoint: '/v1/chat/completions',
    replyTo: 'answers',
    body: { model: 'default', messages: [{ role: 'user', content: 'Hello' }] },
  });
  await generate(makeQueueEvent(message), makeContext());
  const [reply] = await surroundings.services.messagesOf(surroundings.replyUrl);
  expect(JSON.parse(reply?.body ?? '')).toMatchObject({ status: 'completed', response: { object: 'chat.completion' } });
  expect(await jobOf(message)).toMatchObject({ status: 'completed', stored: true });
});

test('lets a job wait whose function has no time left, and counts no attempt', async () => {
  const message = aMessage();
  expect(await generate(makeQueueEvent(message), makeContext(0))).toEqual(all);
  expect(await jobOf(message)).toMatchObject({ status: 'queued', attempts: 0, releases: 1 });
  const [pointer] = await surroundings.services.messagesOf(surroundings.queueUrl);
  expect(JSON.parse(pointer?.body ?? '')).toEqual({
    version: 1,
    type: 'job',
    tenant: 'local',
    id: deriveResponseId('local', message.idempotencyKey),
    tier: 'default',
  });
  await generate(makeQueueEvent(pointer?.body ?? ''), makeContext());
  expect((await jobOf(message))?.status).toBe('completed');
});

test('announces a job again whose message was lost', async () => {
  const message = aMessage();
  await generate(makeQueueEvent(message), makeContext(0));
  await surroundings.services.messagesOf(surroundings.queueUrl);
  const { id = '' } = (await jobOf(message)) ?? {};
  await jobs().update('local', id, [], { set: { dueAt: Date.now() - 1 } });
  await sweep({}, makeContext());
  const [again] = await surroundings.services.messagesOf(surroundings.queueUrl);
  expect(JSON.parse(again?.body ?? '')).toMatchObject({ type: 'job', id });
});
