import { DeleteItemCommand } from '@aws-sdk/client-dynamodb';
import { ListObjectsV2Command, PutObjectCommand } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { deriveResponseId } from '../../shared/api/queue-message.ts';
import { createDynamoDBStore } from '../../shared/jobs/dynamodb-store.ts';
import {
  getHandler,
  type Handler,
  makeContext,
  makeQueueEvent,
  startTestEnvironment,
  type TestEnvironment,
} from './test-environment.ts';

let testEnvironment: TestEnvironment;
let generate: Handler;
let sweep: Handler;

beforeAll(async () => {
  testEnvironment = await startTestEnvironment();
  for (const [name, value] of Object.entries(testEnvironment.variables)) vi.stubEnv(name, value);
  [generate, sweep] = await Promise.all([
    import('../../functions/generate.ts').then(getHandler),
    import('../../functions/sweep.ts').then(getHandler),
  ]);
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await testEnvironment[Symbol.asyncDispose]();
});

let keys = 0;
function makeMessage(changes: object = {}) {
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
const jobStore = () => createDynamoDBStore(testEnvironment.services.dynamodb, { tableName: testEnvironment.jobsTable });
const readJob = ({ idempotencyKey }: { idempotencyKey: string }) =>
  jobStore().read('local', deriveResponseId('local', idempotencyKey));
const receiveDeadLetters = () => testEnvironment.services.messagesOf(testEnvironment.deadLetterUrl);
const NO_FAILURES = { batchItemFailures: [] };

it('a message becomes a job that calls the model once, however often the message is delivered', async () => {
  const message = makeMessage();
  const requestsBefore = testEnvironment.upstream.requests.length;
  expect(await generate(makeQueueEvent(message), makeContext())).toEqual(NO_FAILURES);
  expect(await generate(makeQueueEvent(message, message), makeContext())).toEqual(NO_FAILURES);
  expect(await readJob(message)).toMatchObject({ status: 'completed', epoch: 1, attempts: 1, tenant: 'local' });
  expect((await readJob(message))?.dueAt).toBeUndefined();
  expect(testEnvironment.upstream.requests.length - requestsBefore).toBe(1);
});

it('the answer is sent to the reply queue that the message names', async () => {
  const message = makeMessage({ replyTo: 'answers' });
  await generate(makeQueueEvent(message), makeContext());
  const [reply] = await testEnvironment.services.messagesOf(testEnvironment.replyUrl);
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

it('a flex job is deferred when another message of its batch has waited long', async () => {
  const flex = makeMessage({ body: { model: 'default', input: 'x', service_tier: 'flex' } });
  const other = makeMessage();
  const { Records } = makeQueueEvent(flex, other);
  const sentAt = String(Date.now() - 10_000);
  const waiting = Records.map((record) => ({ ...record, attributes: { ...record.attributes, SentTimestamp: sentAt } }));
  const requestsBefore = testEnvironment.upstream.requests.length;
  expect(await generate({ Records: waiting }, makeContext())).toEqual(NO_FAILURES);
  expect(await readJob(other)).toMatchObject({ status: 'completed' });
  expect(await readJob(flex)).toMatchObject({ status: 'queued', tier: 'flex', attempts: 0, releases: 1 });
  expect(testEnvironment.upstream.requests.length - requestsBefore).toBe(1);
});

it('the jobs table holds no readable content', async () => {
  await generate(makeQueueEvent(makeMessage()), makeContext());
  const text = await testEnvironment.services.textOf(testEnvironment.jobsTable);
  expect(text).toContain('completed');
  expect(text).not.toContain('canary');
});

it.each([
  ['response', { body: { model: 'default', input: 'x', store: false } }],
  [
    'chat completion',
    {
      endpoint: '/v1/chat/completions',
      body: { model: 'default', messages: [{ role: 'user', content: 'x' }], store: false },
    },
  ],
])('a %s with store: false is deleted once its answer is sent', async (_name, changes) => {
  const message = makeMessage({ replyTo: 'answers', ...changes });
  await generate(makeQueueEvent(message), makeContext());
  expect(await testEnvironment.services.messagesOf(testEnvironment.replyUrl)).toHaveLength(1);
  expect(await readJob(message)).toBeUndefined();
  const text = await testEnvironment.services.textOf(testEnvironment.jobsTable);
  const id = deriveResponseId('local', message.idempotencyKey);
  expect(text.split(id)).toHaveLength(2);
});

it.each([
  ['that is not JSON', '{"version":1', 'invalid_json'],
  ['of a newer version', { ...makeMessage(), version: 2 }, 'unsupported_value'],
  ['of an unknown type', { ...makeMessage(), type: 'dream' }, 'unsupported_value'],
  ['with an unknown field', { ...makeMessage(), reply_to: 'answers' }, 'unknown_parameter'],
  ['with an unknown reply queue', { ...makeMessage(), replyTo: 'elsewhere' }, 'invalid_value'],
  ['whose tenant is not the sender’s', { ...makeMessage(), tenant: 'other' }, 'insufficient_permissions'],
  [
    'with a body that the endpoint rejects',
    { ...makeMessage(), body: { model: 'default', input: 'x', temperature: 9 } },
    'invalid_value',
  ],
  ['with an unknown model', { ...makeMessage(), body: { model: 'none', input: 'x' } }, 'model_not_found'],
  [
    'that points to another bucket',
    { ...makeMessage(), body: undefined, bodyPointer: { bucket: 'theirs', key: 'local/inbox/a' } },
    'invalid_value',
  ],
  [
    "that points to another tenant's object",
    { ...makeMessage(), body: undefined, bodyPointer: { bucket: 'bodies', key: 'other/inbox/a' } },
    'invalid_value',
  ],
  [
    'with a webhook, which is not supported yet',
    { ...makeMessage(), webhook: 'https://example.com' },
    'unsupported_parameter',
  ],
])(
  'a message %s goes to the dead-letter queue with the reason, and the rest of its batch is processed',
  async (_name, bad, reason) => {
    const good = makeMessage();
    expect(await generate(makeQueueEvent(bad, good), makeContext())).toEqual(NO_FAILURES);
    const [message, ...more] = await receiveDeadLetters();
    expect(message?.attributes['reason']).toBe(reason);
    expect(message?.body).toBe(typeof bad === 'string' ? bad : JSON.stringify(bad));
    expect(more).toEqual([]);
    expect((await readJob(good))?.status).toBe('completed');
  },
);

it('an idempotency key that is reused with another body is rejected', async () => {
  const message = makeMessage();
  await generate(makeQueueEvent(message), makeContext());
  await generate(makeQueueEvent({ ...message, body: { model: 'default', input: 'other' } }), makeContext());
  expect((await receiveDeadLetters())[0]?.attributes['reason']).toBe('idempotency_key_reused');
});

const small = { model: 'default', input: 'x' };
/** Too large for the table, so that it is stored in the bucket. */
const large = { model: 'default', input: 'long '.repeat(100_000) };

it.each([
  ['small, after a large one', large, small],
  ['large, after a small one', small, large],
  ['large, after a small one that was streamed', { ...small, stream: true }, large],
])('an idempotency key that is reused with a body that is %s is rejected each time', async (_name, first, second) => {
  const message = makeMessage({ body: first });
  await generate(makeQueueEvent(message), makeContext());
  const job = await readJob(message);
  for (const _ of [1, 2]) {
    expect(await generate(makeQueueEvent({ ...message, body: second }), makeContext())).toEqual(NO_FAILURES);
    expect((await receiveDeadLetters())[0]?.attributes['reason']).toBe('idempotency_key_reused');
  }
  expect(await generate(makeQueueEvent(message), makeContext())).toEqual(NO_FAILURES);
  expect(await receiveDeadLetters()).toEqual([]);
  expect(await readJob(message)).toEqual(job);
});

it('a job whose input is missing fails, and its reply is sent from the item alone', async () => {
  const message = makeMessage({ replyTo: 'answers' });
  await generate(makeQueueEvent(message), makeContext(0));
  const [pointer] = await testEnvironment.services.messagesOf(testEnvironment.queueUrl);
  const { id = '' } = (await readJob(message)) ?? {};
  const Key = { pk: { S: `local#${id}` }, sk: { S: 'input' } };
  await testEnvironment.services.dynamodb.send(new DeleteItemCommand({ TableName: testEnvironment.jobsTable, Key }));
  await generate(makeQueueEvent(pointer?.body ?? ''), makeContext());
  const [reply] = await testEnvironment.services.messagesOf(testEnvironment.replyUrl);
  const { response, ...head } = JSON.parse(reply?.body ?? '');
  expect(head).toEqual({ version: 1, type: 'answer', tenant: 'local', id, status: 'failed' });
  expect(response).toMatchObject({ error: { code: 'record_unreadable' } });
  expect((await readJob(message))?.dueAt).toBeUndefined();
});

describe("a message that points to a body in the tenant's inbox", () => {
  async function makePointedMessage(body: object = { model: 'default', input: 'x' }, changes: object = {}) {
    const { s3, bucketName } = testEnvironment.services;
    const message = makeMessage({ body: undefined, ...changes });
    const key = `local/inbox/${message.idempotencyKey}`;
    await s3.send(new PutObjectCommand({ Bucket: bucketName, Key: key, Body: JSON.stringify(body) }));
    return { message: { ...message, bodyPointer: { bucket: bucketName, key } }, key };
  }
  async function listInbox(): Promise<string[]> {
    const { s3, bucketName } = testEnvironment.services;
    const { Contents = [] } = await s3.send(new ListObjectsV2Command({ Bucket: bucketName, Prefix: 'local/inbox/' }));
    return Contents.flatMap(({ Key }) => Key ?? []);
  }

  it('the body in the inbox is deleted once its job exists, and the message may be delivered again', async () => {
    const { message } = await makePointedMessage();
    const requestsBefore = testEnvironment.upstream.requests.length;
    await generate(makeQueueEvent(message), makeContext());
    expect(await listInbox()).toEqual([]);
    expect(await generate(makeQueueEvent(message), makeContext())).toEqual(NO_FAILURES);
    expect(await receiveDeadLetters()).toEqual([]);
    expect(await readJob(message)).toMatchObject({ status: 'completed', epoch: 1 });
    expect(testEnvironment.upstream.requests.length - requestsBefore).toBe(1);
  });

  it('a body that a crash left in the inbox is deleted when the message is delivered again', async () => {
    const { message, key } = await makePointedMessage();
    await generate(makeQueueEvent(message), makeContext());
    const { s3, bucketName } = testEnvironment.services;
    const body = JSON.stringify({ model: 'default', input: 'x' });
    await s3.send(new PutObjectCommand({ Bucket: bucketName, Key: key, Body: body }));
    await generate(makeQueueEvent(message), makeContext());
    expect(await listInbox()).toEqual([]);
  });

  it('a message whose job was deleted is processed without its body', async () => {
    const { message } = await makePointedMessage(
      { model: 'default', input: 'x', store: false },
      { replyTo: 'answers' },
    );
    await generate(makeQueueEvent(message), makeContext());
    expect(await testEnvironment.services.messagesOf(testEnvironment.replyUrl)).toHaveLength(1);
    expect(await readJob(message)).toBeUndefined();
    expect(await generate(makeQueueEvent(message), makeContext())).toEqual(NO_FAILURES);
    expect(await receiveDeadLetters()).toEqual([]);
  });

  it('a message whose body is not in the inbox goes to the dead-letter queue', async () => {
    const { bucketName } = testEnvironment.services;
    const bodyPointer = { bucket: bucketName, key: 'local/inbox/nothing' };
    await generate(makeQueueEvent(makeMessage({ body: undefined, bodyPointer })), makeContext());
    expect((await receiveDeadLetters())[0]?.attributes['reason']).toBe('not_found');
  });

  it('the body of a rejected message stays in the inbox', async () => {
    const { message, key } = await makePointedMessage({ model: 'default', input: 'x', temperature: 9 });
    await generate(makeQueueEvent(message), makeContext());
    expect(await receiveDeadLetters()).toHaveLength(1);
    expect(await listInbox()).toEqual([key]);
  });
});

it('an idempotency key that is reused with a large body in the inbox after a small one is rejected', async () => {
  const message = makeMessage();
  await generate(makeQueueEvent(message), makeContext());
  const { s3, bucketName } = testEnvironment.services;
  const key = 'local/inbox/another';
  await s3.send(new PutObjectCommand({ Bucket: bucketName, Key: key, Body: JSON.stringify(large) }));
  const bodyPointer = { bucket: bucketName, key };
  expect(await generate(makeQueueEvent({ ...message, body: undefined, bodyPointer }), makeContext())).toEqual(
    NO_FAILURES,
  );
  expect((await receiveDeadLetters())[0]?.attributes['reason']).toBe('idempotency_key_reused');
});

it('a large body in the inbox is read and stored in the bucket', async () => {
  // The model repeats its input until it reaches the token limit.
  const input = 'long '.repeat(100_000);
  const Key = 'local/inbox/large';
  const { s3, bucketName } = testEnvironment.services;
  await s3.send(new PutObjectCommand({ Bucket: bucketName, Key, Body: JSON.stringify({ model: 'default', input }) }));
  const message = makeMessage({ body: undefined, bodyPointer: { bucket: bucketName, key: Key } });
  await generate(makeQueueEvent(message), makeContext());
  expect(await readJob(message)).toMatchObject({ status: 'incomplete', input: { place: 's3' } });
});

it('a chat completion is completed and its answer sent', async () => {
  const message = makeMessage({
    endpoint: '/v1/chat/completions',
    replyTo: 'answers',
    body: { model: 'default', messages: [{ role: 'user', content: 'Hello' }] },
  });
  await generate(makeQueueEvent(message), makeContext());
  const [reply] = await testEnvironment.services.messagesOf(testEnvironment.replyUrl);
  expect(JSON.parse(reply?.body ?? '')).toMatchObject({ status: 'completed', response: { object: 'chat.completion' } });
  expect(await readJob(message)).toMatchObject({ status: 'completed', stored: true });
});

it('a job whose function has no time left returns to the queue and uses no attempt', async () => {
  const message = makeMessage();
  expect(await generate(makeQueueEvent(message), makeContext(0))).toEqual(NO_FAILURES);
  expect(await readJob(message)).toMatchObject({ status: 'queued', attempts: 0, releases: 1 });
  const [pointer] = await testEnvironment.services.messagesOf(testEnvironment.queueUrl);
  expect(JSON.parse(pointer?.body ?? '')).toEqual({
    version: 1,
    type: 'job',
    tenant: 'local',
    id: deriveResponseId('local', message.idempotencyKey),
    tier: 'default',
  });
  await generate(makeQueueEvent(pointer?.body ?? ''), makeContext());
  expect((await readJob(message))?.status).toBe('completed');
});

it('the sweep re-enqueues a job whose message was lost', async () => {
  const message = makeMessage();
  await generate(makeQueueEvent(message), makeContext(0));
  await testEnvironment.services.messagesOf(testEnvironment.queueUrl);
  const { id = '' } = (await readJob(message)) ?? {};
  await jobStore().update('local', id, [], { set: { dueAt: Date.now() - 1 } });
  await sweep({}, makeContext());
  // On a slow machine, jobs that earlier tests deferred may be due as well.
  const pointers = await testEnvironment.services.messagesOf(testEnvironment.queueUrl);
  expect(pointers.map(({ body }) => JSON.parse(body))).toContainEqual(expect.objectContaining({ type: 'job', id }));
});
