import { PutItemCommand } from '@aws-sdk/client-dynamodb';
import { ListObjectsV2Command, PutObjectCommand } from '@aws-sdk/client-s3';
import { SendMessageCommand } from '@aws-sdk/client-sqs';
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import { getProjectPartition } from '../../shared/access/policy-table.ts';
import { createSenderItem } from '../../shared/access/senders.ts';
import { deriveResponseId } from '../../shared/api/queue-message.ts';
import {
  countMessages,
  getHandler,
  type Handler,
  makeContext,
  makeQueueEvent,
  receiveEvent,
  startTestEnvironment,
  type TestEnvironment,
} from './test-environment.ts';

let testEnvironment: TestEnvironment;
let intake: Handler;

beforeAll(async () => {
  testEnvironment = await startTestEnvironment();
  for (const [name, value] of Object.entries(testEnvironment.variables)) vi.stubEnv(name, value);
  intake = getHandler(await import('../../functions/intake.ts'));
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
const getId = ({ idempotencyKey }: { idempotencyKey: string }) => deriveResponseId('local', idempotencyKey);
const readJob = (message: { idempotencyKey: string }) => testEnvironment.jobs.read('local', getId(message));
const small = { model: 'default', input: 'x' };
const receiveDeadLetters = () => testEnvironment.services.messagesOf(testEnvironment.deadLetterUrl);
/** Returns the tickets that were sent since the last call. */
async function receiveTickets(queueUrl = testEnvironment.jobsQueueUrl) {
  const messages = await testEnvironment.services.messagesOf(queueUrl);
  return messages.map(({ body }) => JSON.parse(body));
}
const NO_FAILURES = { batchItemFailures: [] };

it('a message becomes a waiting job whose ticket is sent once, however often the message is delivered', async () => {
  const message = makeMessage();
  expect(await intake(makeQueueEvent(message), makeContext())).toEqual(NO_FAILURES);
  const job = await readJob(message);
  expect(job).toMatchObject({ status: 'queued', epoch: 0, attempts: 0, tenant: 'local' });
  expect(job?.duePartition).toMatch(/^wait#jobs#/);
  expect(await intake(makeQueueEvent(message, message), makeContext())).toEqual(NO_FAILURES);
  expect(await readJob(message)).toEqual(job);
  expect(await receiveTickets()).toEqual([
    {
      version: 1,
      type: 'job',
      tenant: 'local',
      id: getId(message),
      tier: 'default',
      model: 'default',
      bytes: job?.input.sizeBytes,
    },
  ]);
  expect(testEnvironment.upstream.requests).toEqual([]);
});

it('the message is deleted once its job exists, and nothing that is left shows its content', async () => {
  const { services, queueUrl } = testEnvironment;
  const message = makeMessage();
  const QueueUrl = queueUrl;
  await services.sqs.send(new SendMessageCommand({ QueueUrl, MessageBody: JSON.stringify(message) }));
  expect(await intake(await receiveEvent(testEnvironment, queueUrl), makeContext())).toEqual(NO_FAILURES);
  expect((await readJob(message))?.status).toBe('queued');
  expect(await countMessages(testEnvironment, queueUrl)).toBe(0);
  expect(JSON.stringify(await receiveTickets())).not.toContain('canary');
  expect(await services.textOf(testEnvironment.jobsTable)).not.toContain('canary');
});

it("the ticket of a GPU worker's job is sent to the queue of dispatch", async () => {
  const message = makeMessage({ body: { model: 'gpu', input: 'x' } });
  await intake(makeQueueEvent(message), makeContext());
  expect(await readJob(message)).toMatchObject({ status: 'queued', lane: 'gpu' });
  expect(await receiveTickets(testEnvironment.gpuQueueUrl)).toMatchObject([{ type: 'job', id: getId(message) }]);
  expect(await receiveTickets()).toEqual([]);
});

it('an invocation receives further messages itself until the queue is empty', async () => {
  const { services, queueUrl } = testEnvironment;
  const messages = Array.from({ length: 25 }, () => makeMessage());
  for (const message of messages) {
    await services.sqs.send(new SendMessageCommand({ QueueUrl: queueUrl, MessageBody: JSON.stringify(message) }));
  }
  expect(await intake(await receiveEvent(testEnvironment, queueUrl), makeContext())).toEqual(NO_FAILURES);
  for (const message of messages) expect((await readJob(message))?.status).toBe('queued');
  expect(await countMessages(testEnvironment, queueUrl)).toBe(0);
});

it('a message that crashed its process ten times goes to the dead-letter queue, one that only failed as often does not', async () => {
  const receiveLate = (message: object, firstReceivedAt: number) => {
    const { Records } = makeQueueEvent(message);
    const attributes = {
      SenderId: '000000000000',
      ApproximateReceiveCount: '10',
      ApproximateFirstReceiveTimestamp: String(firstReceivedAt),
    };
    return intake({ Records: Records.map((record) => ({ ...record, attributes })) }, makeContext());
  };
  const failed = makeMessage();
  expect(await receiveLate(failed, Date.now() - 3_600_000)).toEqual(NO_FAILURES);
  expect((await readJob(failed))?.status).toBe('queued');
  expect(await receiveDeadLetters()).toEqual([]);
  const crashed = makeMessage();
  expect(await receiveLate(crashed, Date.now() - 600_000)).toEqual(NO_FAILURES);
  expect(await readJob(crashed)).toBeUndefined();
  expect((await receiveDeadLetters())[0]?.attributes['reason']).toBe('internal');
});

it.each([
  ['the sender', 'AROAHELD1', 'AROAHELD1', 3_600, 'key_held'],
  ['its keyId', 'AROAHELD2', 'orders', 3_600, 'key_held'],
  ['another key', 'AROAHELD3', 'key_other', 3_600, undefined],
  ['the sender, until a minute ago', 'AROAHELD4', 'AROAHELD4', -60, undefined],
])(
  'a message of a sender is rejected only if its project holds the sender: %s',
  async (_, sender, held, seconds, reason) => {
    // Intake remembers the policies of tenants, so each case has another tenant.
    const tenant = `of-${sender}`;
    const until = Math.floor(Date.now() / 1000) + seconds;
    const holds = JSON.stringify({ [held]: { since: 0, until, reason: 'manual' } });
    const rights = { keyId: 'orders', tenants: [tenant], scopes: ['generate'], replyQueues: [] };
    const project = { pk: { S: getProjectPartition(tenant) }, holds: { S: holds } };
    for (const Item of [createSenderItem(sender, rights), project])
      await testEnvironment.services.dynamodb.send(new PutItemCommand({ TableName: 'access', Item }));
    const message = makeMessage({ tenant });
    const { Records } = makeQueueEvent(message);
    const attributes = { SenderId: `${sender}:session`, ApproximateReceiveCount: '1' };
    await intake({ Records: Records.map((record) => ({ ...record, attributes })) }, makeContext());
    const job = await testEnvironment.jobs.read(tenant, deriveResponseId(tenant, message.idempotencyKey));
    expect(job?.status).toBe(reason === undefined ? 'queued' : undefined);
    const reasons = (await receiveDeadLetters()).map((each) => each.attributes['reason']);
    expect(reasons).toEqual(reason === undefined ? [] : [reason]);
  },
);

it('a message of a sender that may not use its reply queue is rejected', async () => {
  const sender = { keyId: 'orders', tenants: ['local'], scopes: ['inference' as const], replyQueues: ['orders'] };
  const Item = createSenderItem('AROAORDERS', sender);
  await testEnvironment.services.dynamodb.send(new PutItemCommand({ TableName: 'access', Item }));
  const message = makeMessage({ replyTo: 'answers' });
  const { Records } = makeQueueEvent(message);
  const attributes = { SenderId: 'AROAORDERS:session', ApproximateReceiveCount: '1' };
  expect(await intake({ Records: Records.map((record) => ({ ...record, attributes })) }, makeContext())).toEqual(
    NO_FAILURES,
  );
  expect(await readJob(message)).toBeUndefined();
  expect((await receiveDeadLetters())[0]?.attributes['reason']).toBe('insufficient_permissions');
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
    expect(await intake(makeQueueEvent(bad, good), makeContext())).toEqual(NO_FAILURES);
    const [message, ...more] = await receiveDeadLetters();
    expect(message?.attributes['reason']).toBe(reason);
    expect(JSON.parse(message?.body ?? '')).toMatchObject({
      type: 'rejected',
      error: { code: reason },
      message: typeof bad === 'string' ? bad : JSON.parse(JSON.stringify(bad)),
    });
    expect(more).toEqual([]);
    expect((await readJob(good))?.status).toBe('queued');
  },
);

it('the attributes of a rejected message hold none of its words', async () => {
  const bad = { ...makeMessage(), body: { ...small, 'my secret': 1 }, model: 'x', endpoint: '/v1/a-secret' };
  await intake(makeQueueEvent(bad), makeContext());
  const [message] = await receiveDeadLetters();
  expect(Object.keys(message?.attributes ?? {}).toSorted()).toEqual(['messageId', 'reason', 'senderId']);
  expect(JSON.stringify(message?.attributes)).not.toContain('secret');
});

it('the record of a rejected message names the tenant that its sender may use, or the one that it only claims', async () => {
  const lines: string[] = [];
  const write = vi.spyOn(process.stdout, 'write').mockImplementation((line) => lines.push(String(line)) > 0);
  onTestFinished(() => write.mockRestore());
  await intake(makeQueueEvent(makeMessage({ tenant: 'unknown-tenant' })), makeContext());
  await intake(makeQueueEvent(makeMessage({ body: { model: 'none', input: 'x' } })), makeContext());
  write.mockRestore();
  const recorded = lines.filter((line) => line.includes('"record":"call"')).map((line) => JSON.parse(line));
  expect(recorded).toMatchObject([
    { errorCode: 'insufficient_permissions', claimedTenant: 'unknown-tenant' },
    { errorCode: 'model_not_found', tenant: 'local', keyId: expect.any(String) },
  ]);
  expect(recorded[0]).not.toHaveProperty('tenant');
  expect(recorded[1]).not.toHaveProperty('claimedTenant');
  await receiveDeadLetters();
});

it('a rejected message that is moved back becomes a job once its cause is gone', async () => {
  const message = makeMessage();
  await intake(makeQueueEvent({ ...message, tenant: 'unknown-tenant' }), makeContext());
  const [dead] = await receiveDeadLetters();
  const moved = dead?.body.replace('unknown-tenant', message.tenant);
  expect(await intake(makeQueueEvent(moved), makeContext())).toEqual(NO_FAILURES);
  expect(await receiveDeadLetters()).toEqual([]);
  expect((await readJob(message))?.status).toBe('queued');
});

it('an idempotency key that is reused with another body is rejected', async () => {
  const message = makeMessage();
  await intake(makeQueueEvent(message), makeContext());
  await intake(makeQueueEvent({ ...message, body: { model: 'default', input: 'other' } }), makeContext());
  expect((await receiveDeadLetters())[0]?.attributes['reason']).toBe('idempotency_key_reused');
});

/** Too large for the table, so that it is stored in the bucket. */
const large = { model: 'default', input: 'long '.repeat(100_000) };

it.each([
  ['small, after a large one', large, small],
  ['large, after a small one', small, large],
  ['large, after a small one that was streamed', { ...small, stream: true }, large],
])('an idempotency key that is reused with a body that is %s is rejected each time', async (_name, first, second) => {
  const message = makeMessage({ body: first });
  await intake(makeQueueEvent(message), makeContext());
  const job = await readJob(message);
  for (const _ of [1, 2]) {
    expect(await intake(makeQueueEvent({ ...message, body: second }), makeContext())).toEqual(NO_FAILURES);
    expect((await receiveDeadLetters())[0]?.attributes['reason']).toBe('idempotency_key_reused');
  }
  expect(await intake(makeQueueEvent(message), makeContext())).toEqual(NO_FAILURES);
  expect(await receiveDeadLetters()).toEqual([]);
  expect(await readJob(message)).toEqual(job);
});

describe("a message that points to a body in the tenant's inbox", () => {
  async function makePointedMessage(body: object = { model: 'default', input: 'x' }) {
    const { s3, bucketName } = testEnvironment.services;
    const message = makeMessage({ body: undefined });
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
    await intake(makeQueueEvent(message), makeContext());
    expect(await listInbox()).toEqual([]);
    expect(await intake(makeQueueEvent(message), makeContext())).toEqual(NO_FAILURES);
    expect(await receiveDeadLetters()).toEqual([]);
    expect(await readJob(message)).toMatchObject({ status: 'queued', epoch: 0 });
  });

  it('a body that a crash left in the inbox is deleted when the message is delivered again', async () => {
    const { message, key } = await makePointedMessage();
    await intake(makeQueueEvent(message), makeContext());
    const { s3, bucketName } = testEnvironment.services;
    const body = JSON.stringify({ model: 'default', input: 'x' });
    await s3.send(new PutObjectCommand({ Bucket: bucketName, Key: key, Body: body }));
    await intake(makeQueueEvent(message), makeContext());
    expect(await listInbox()).toEqual([]);
  });

  it('a message whose job was deleted is processed without its body', async () => {
    const { message } = await makePointedMessage();
    await intake(makeQueueEvent(message), makeContext());
    expect(await testEnvironment.jobs.delete('local', getId(message))).toBeDefined();
    expect(await intake(makeQueueEvent(message), makeContext())).toEqual(NO_FAILURES);
    expect(await receiveDeadLetters()).toEqual([]);
  });

  it('a message whose body is not in the inbox goes to the dead-letter queue', async () => {
    const { bucketName } = testEnvironment.services;
    const bodyPointer = { bucket: bucketName, key: 'local/inbox/nothing' };
    await intake(makeQueueEvent(makeMessage({ body: undefined, bodyPointer })), makeContext());
    expect((await receiveDeadLetters())[0]?.attributes['reason']).toBe('not_found');
  });

  it('the body of a rejected message stays in the inbox', async () => {
    const { message, key } = await makePointedMessage({ model: 'default', input: 'x', temperature: 9 });
    await intake(makeQueueEvent(message), makeContext());
    expect(await receiveDeadLetters()).toHaveLength(1);
    expect(await listInbox()).toEqual([key]);
  });
});

it('an idempotency key that is reused with a large body in the inbox after a small one is rejected', async () => {
  const message = makeMessage();
  await intake(makeQueueEvent(message), makeContext());
  const { s3, bucketName } = testEnvironment.services;
  const key = 'local/inbox/another';
  await s3.send(new PutObjectCommand({ Bucket: bucketName, Key: key, Body: JSON.stringify(large) }));
  const bodyPointer = { bucket: bucketName, key };
  expect(await intake(makeQueueEvent({ ...message, body: undefined, bodyPointer }), makeContext())).toEqual(
    NO_FAILURES,
  );
  expect((await receiveDeadLetters())[0]?.attributes['reason']).toBe('idempotency_key_reused');
});

it('a large body in the inbox is read and stored in the bucket', async () => {
  const input = 'long '.repeat(100_000);
  const Key = 'local/inbox/large';
  const { s3, bucketName } = testEnvironment.services;
  await s3.send(new PutObjectCommand({ Bucket: bucketName, Key, Body: JSON.stringify({ model: 'default', input }) }));
  const message = makeMessage({ body: undefined, bodyPointer: { bucket: bucketName, key: Key } });
  await intake(makeQueueEvent(message), makeContext());
  expect(await readJob(message)).toMatchObject({ status: 'queued', input: { place: 's3' } });
});
