import { DeleteItemCommand, PutItemCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { createPolicyAdministration } from '../../shared/access/policy-administration.ts';
import { createSenderItem } from '../../shared/access/senders.ts';
import { deriveResponseId } from '../../shared/api/queue-message.ts';
import type { Job } from '../../shared/jobs/job.ts';
import { JOB_TIMINGS } from '../../shared/jobs/timings.ts';
import { claim } from '../../shared/jobs/transitions.ts';
import {
  countMessages,
  deleteMessages,
  getHandler,
  type Handler,
  makeContext,
  makeQueueEvent,
  receiveEvent,
  startTestEnvironment,
  sweepUntil,
  type TestEnvironment,
} from './test-environment.ts';

let testEnvironment: TestEnvironment;
let intake: Handler;
let generate: Handler;
let sweep: Handler;

beforeAll(async () => {
  testEnvironment = await startTestEnvironment();
  for (const [name, value] of Object.entries(testEnvironment.variables)) vi.stubEnv(name, value);
  [intake, generate, sweep] = await Promise.all([
    import('../../functions/intake.ts').then(getHandler),
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
const getId = ({ idempotencyKey }: { idempotencyKey: string }) => deriveResponseId('local', idempotencyKey);
const readJob = (message: { idempotencyKey: string }) => testEnvironment.jobs.read('local', getId(message));
/** Passes messages to the intake function and takes the tickets of their jobs from the queue. */
async function acceptMessages(...messages: object[]) {
  await intake(makeQueueEvent(...messages), makeContext());
  return receiveEvent(testEnvironment, testEnvironment.jobsQueueUrl);
}
const countTickets = () => countMessages(testEnvironment, testEnvironment.jobsQueueUrl);
const receiveReply = async () => {
  const [reply] = await testEnvironment.services.messagesOf(testEnvironment.replyUrl);
  return JSON.parse(reply?.body ?? '');
};
const NO_FAILURES = { batchItemFailures: [] };

it('a ticket runs its job once, however often it is delivered, and is deleted', async () => {
  const message = makeMessage();
  const requestsBefore = testEnvironment.upstream.requests.length;
  const tickets = await acceptMessages(message);
  expect(await generate(tickets, makeContext())).toEqual(NO_FAILURES);
  expect(await countTickets()).toBe(0);
  const ticket = { version: 1, type: 'job', tenant: 'local', id: getId(message) };
  expect(await generate(makeQueueEvent(ticket, ticket), makeContext())).toEqual(NO_FAILURES);
  const job = await readJob(message);
  expect(job).toMatchObject({ status: 'completed', epoch: 1, attempts: 1, asks: 1, tenant: 'local' });
  expect(job).not.toHaveProperty('dueAt');
  expect(job).not.toHaveProperty('duePartition');
  expect(testEnvironment.upstream.requests.length - requestsBefore).toBe(1);
});

it('an invocation receives the tickets of further jobs itself', async () => {
  const messages = Array.from({ length: 15 }, () => makeMessage());
  for (const message of messages) await intake(makeQueueEvent(message), makeContext());
  const tickets = await receiveEvent(testEnvironment, testEnvironment.jobsQueueUrl);
  expect(await generate(tickets, makeContext())).toEqual(NO_FAILURES);
  for (const message of messages) expect((await readJob(message))?.status).toBe('completed');
  expect(await countTickets()).toBe(0);
});

it('the answer is sent to the reply queue that the message names', async () => {
  const message = makeMessage({ replyTo: 'answers' });
  await generate(await acceptMessages(message), makeContext());
  expect(await receiveReply()).toMatchObject({
    version: 1,
    type: 'answer',
    tenant: 'local',
    id: getId(message),
    idempotencyKey: message.idempotencyKey,
    status: 'completed',
    response: { object: 'response', status: 'completed', output: [{ type: 'message' }] },
  });
});

it('a flex job is deferred when another ticket of its batch has waited long', async () => {
  const flex = makeMessage({ body: { model: 'default', input: 'x', service_tier: 'flex' } });
  const other = makeMessage();
  const tickets = await acceptMessages(flex, other);
  const sentAt = String(Date.now() - 10_000);
  const waiting = tickets.Records.map((record) => ({
    ...record,
    attributes: { ...record.attributes, SentTimestamp: sentAt },
  }));
  const [deferred] = waiting.filter(({ body }) => JSON.parse(body).tier === 'flex');
  const requestsBefore = testEnvironment.upstream.requests.length;
  expect(await generate({ Records: waiting }, makeContext())).toEqual({
    batchItemFailures: [{ itemIdentifier: deferred?.messageId }],
  });
  expect(await readJob(other)).toMatchObject({ status: 'completed' });
  expect(await readJob(flex)).toMatchObject({ status: 'queued', tier: 'flex', attempts: 0, asks: 0, releases: 1 });
  expect(testEnvironment.upstream.requests.length - requestsBefore).toBe(1);
  expect(await countTickets()).toBe(1);
  await deleteMessages(testEnvironment, testEnvironment.jobsQueueUrl, tickets);
  expect(await testEnvironment.jobs.delete('local', getId(flex))).toBeDefined();
});

it('the jobs table holds no readable content', async () => {
  await generate(await acceptMessages(makeMessage()), makeContext());
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
  await generate(await acceptMessages(message), makeContext());
  expect(await testEnvironment.services.messagesOf(testEnvironment.replyUrl)).toHaveLength(1);
  expect(await readJob(message)).toBeUndefined();
  const text = await testEnvironment.services.textOf(testEnvironment.jobsTable);
  expect(text.split(getId(message))).toHaveLength(2);
});

it('a job whose input is missing fails, and its reply is sent from the item alone', async () => {
  const message = makeMessage({ replyTo: 'answers' });
  const tickets = await acceptMessages(message);
  const id = getId(message);
  const Key = { pk: { S: `local#${id}` }, sk: { S: 'input' } };
  await testEnvironment.services.dynamodb.send(new DeleteItemCommand({ TableName: testEnvironment.jobsTable, Key }));
  await generate(tickets, makeContext());
  const { response, ...head } = await receiveReply();
  expect(head).toEqual({ version: 1, type: 'answer', tenant: 'local', id, status: 'failed' });
  expect(response).toMatchObject({ error: { code: 'record_unreadable' } });
  expect(await readJob(message)).not.toHaveProperty('dueAt');
});

it('a chat completion is completed and its answer sent', async () => {
  const message = makeMessage({
    endpoint: '/v1/chat/completions',
    replyTo: 'answers',
    body: { model: 'default', messages: [{ role: 'user', content: 'Hello' }] },
  });
  await generate(await acceptMessages(message), makeContext());
  expect(await receiveReply()).toMatchObject({ status: 'completed', response: { object: 'chat.completion' } });
  expect(await readJob(message)).toMatchObject({ status: 'completed', stored: true });
});

it('a message that is not a ticket goes to the dead-letter queue with the reason', async () => {
  expect(await generate(makeQueueEvent(makeMessage()), makeContext())).toEqual(NO_FAILURES);
  const [dead] = await testEnvironment.services.messagesOf(testEnvironment.jobsDeadLetterUrl);
  expect(dead?.attributes['reason']).toBe('unsupported_value');
});

it('a job whose function has no time left waits again, keeps its ticket and uses no attempt', async () => {
  const message = makeMessage();
  const tickets = await acceptMessages(message);
  expect(await generate(tickets, makeContext(0))).toEqual({
    batchItemFailures: tickets.Records.map(({ messageId }) => ({ itemIdentifier: messageId })),
  });
  expect(await readJob(message)).toMatchObject({ status: 'queued', attempts: 0 });
  await generate(await receiveEvent(testEnvironment, testEnvironment.jobsQueueUrl), makeContext());
  expect((await readJob(message))?.status).toBe('completed');
});

const isTicketed = (job: Job | undefined) => job?.duePartition?.startsWith('wait#jobs#') ?? false;

it('the sweep sends the ticket of a job whose creator died before it sent one', async () => {
  const message = makeMessage();
  await acceptMessages(message);
  await testEnvironment.jobs.update('local', getId(message), [], {
    index: { purpose: 'wake', queue: 'jobs', dueAt: Date.now() - 1 },
  });
  await sweepUntil(sweep, async () => isTicketed(await readJob(message)));
  const { Records } = await receiveEvent(testEnvironment, testEnvironment.jobsQueueUrl);
  expect(Records.map(({ body }) => JSON.parse(body).id)).toEqual([getId(message)]);
  await generate({ Records }, makeContext());
  expect((await readJob(message))?.status).toBe('completed');
});

it('the sweep makes a job wait again whose worker died, and the ticket that its worker held runs it', async () => {
  const message = makeMessage();
  const tickets = await acceptMessages(message);
  const claimedAt = Date.now() - 10 * 60_000;
  const owner = 'dead';
  const { guard, change } = claim({ owner, alone: false, whole: true }, claimedAt, JOB_TIMINGS);
  await testEnvironment.jobs.update('local', getId(message), guard, change);
  await sweepUntil(sweep, async () => (await readJob(message))?.status === 'queued');
  expect(await readJob(message)).toMatchObject({ status: 'queued', epoch: 1, crashes: 1, attempts: 0 });
  expect(await generate(tickets, makeContext())).toEqual(NO_FAILURES);
  expect(await readJob(message)).toMatchObject({ status: 'completed', epoch: 2, attempts: 1 });
});

describe('the policy of a job', () => {
  const administer = () => createPolicyAdministration(testEnvironment.services.dynamodb, 'access');
  let tenants = 0;
  let tenant: string;
  beforeEach(async () => {
    tenants += 1;
    tenant = `governed-${tenants}`;
    const sender = { keyId: 'orders', tenants: [tenant], scopes: ['generate'], replyQueues: ['*'] };
    const Item = createSenderItem(`AROA${tenants}`, sender);
    await testEnvironment.services.dynamodb.send(new PutItemCommand({ TableName: 'access', Item }));
  });

  /** Has a message of the tenant turned into a job. */
  async function accept(message: ReturnType<typeof makeMessage>) {
    const { Records } = makeQueueEvent({ ...message, tenant });
    const attributes = { SenderId: `AROA${tenants}`, ApproximateReceiveCount: '1' };
    await intake({ Records: Records.map((record) => ({ ...record, attributes })) }, makeContext());
    const id = deriveResponseId(tenant, message.idempotencyKey);
    return { id, read: () => testEnvironment.jobs.read(tenant, id) };
  }
  const run = (id: string) => generate(makeQueueEvent({ version: 1, type: 'job', tenant, id }), makeContext());

  it('a job fails, and is not run, if its project was archived while it waited', async () => {
    const { id, read } = await accept(makeMessage());
    const requestsBefore = testEnvironment.upstream.requests.length;
    await administer().changeProject(tenant, (project) => ({ ...project, status: 'archived' }));
    await run(id);
    expect(await read()).toMatchObject({ status: 'failed', errorCode: 'project_archived' });
    expect(testEnvironment.upstream.requests.length).toBe(requestsBefore);
  });

  it('a job fails if its project may not use its model any more', async () => {
    const { id, read } = await accept(makeMessage());
    const models = { mode: 'deny', models: ['default'] } as const;
    await administer().changeProject(tenant, (project) => ({ ...project, restrictions: { models } }));
    await run(id);
    expect(await read()).toMatchObject({ status: 'failed', errorCode: 'model_not_found' });
  });

  it('a message is refused if its project may not use its model', async () => {
    const models = { mode: 'allow', models: ['helped'] } as const;
    await administer().changeProject(tenant, (project) => ({ ...project, restrictions: { models } }));
    const { read } = await accept(makeMessage());
    expect(await read()).toBeUndefined();
    const [refused] = await testEnvironment.services.messagesOf(testEnvironment.deadLetterUrl);
    expect(refused?.attributes['reason']).toBe('model_not_found');
  });

  it('a message is refused if its project only reads', async () => {
    await administer().changeProject(tenant, (project) => ({ ...project, restrictions: { readOnly: true } }));
    const { read } = await accept(makeMessage());
    expect(await read()).toBeUndefined();
    const [refused] = await testEnvironment.services.messagesOf(testEnvironment.deadLetterUrl);
    expect(refused?.attributes['reason']).toBe('insufficient_permissions');
  });

  it('a message is refused if its project is archived', async () => {
    await administer().changeProject(tenant, (project) => ({ ...project, status: 'archived' }));
    const { read } = await accept(makeMessage());
    expect(await read()).toBeUndefined();
    const [refused] = await testEnvironment.services.messagesOf(testEnvironment.deadLetterUrl);
    expect(refused?.attributes['reason']).toBe('project_archived');
  });
});
