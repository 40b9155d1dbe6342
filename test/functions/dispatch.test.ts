import { GetItemCommand, UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it, vi } from 'vitest';
import { deriveResponseId } from '../../shared/api/queue-message.ts';
import { createDynamoDBFleetStore } from '../../shared/gpu/registry/dynamodb-fleet.ts';
import { createWorker, FLEET } from '../shared/gpu/fleets.ts';
import { type GpuWorker, startGpuWorker } from '../upstreams/gpu-worker.ts';
import { waitUntil } from '../wait.ts';
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
let dispatch: Handler;
let sweep: Handler;
let w1: GpuWorker;
let w2: GpuWorker;

beforeAll(async () => {
  testEnvironment = await startTestEnvironment();
  for (const [name, value] of Object.entries(testEnvironment.variables)) vi.stubEnv(name, value);
  [intake, generate, dispatch, sweep] = await Promise.all([
    import('../../functions/intake.ts').then(getHandler),
    import('../../functions/generate.ts').then(getHandler),
    import('../../functions/dispatch.ts').then(getHandler),
    import('../../functions/sweep.ts').then(getHandler),
  ]);
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await testEnvironment[Symbol.asyncDispose]();
});
beforeEach(async () => {
  [w1, w2] = await Promise.all([startGpuWorker(), startGpuWorker()]);
  await register('w1', w1);
  await register('w2', w2);
});
afterEach(async () => {
  expect(await readLeases()).toEqual([]);
  for (const worker of [w1, w2]) await worker[Symbol.asyncDispose]();
});

const fleet = () => createDynamoDBFleetStore(testEnvironment.services.dynamodb, { tableName: 'fleet' });
const readWorkers = async () => (await fleet().read(FLEET)).workers;
const readLeases = async () => (await readWorkers()).flatMap(({ leases: held }) => Object.keys(held));
let boots = 0;
async function register(id: string, { url }: GpuWorker, slots = 4): Promise<void> {
  boots += 1;
  const { leases: _, ...worker } = createWorker({ id, url, slots, bootId: `boot-${boots}` });
  await fleet().register(worker);
}

let keys = 0;
function makeMessage(changes: object = {}) {
  keys += 1;
  return {
    version: 1,
    type: 'generate',
    tenant: 'local',
    idempotencyKey: `gpu-order-${keys}`,
    endpoint: '/v1/responses',
    body: { model: 'gpu', input: 'The canary sings.' },
    ...changes,
  };
}
const getId = ({ idempotencyKey }: { idempotencyKey: string }) => deriveResponseId('local', idempotencyKey);
const readJob = (message: { idempotencyKey: string }) => testEnvironment.jobs.read('local', getId(message));
const receiveTickets = () => receiveEvent(testEnvironment, testEnvironment.gpuQueueUrl);
const countTickets = () => countMessages(testEnvironment, testEnvironment.gpuQueueUrl);
/** Passes a message to the intake function and takes the ticket of its job from the queue. */
async function acceptMessage(message: object) {
  await intake(makeQueueEvent(message), makeContext());
  return receiveTickets();
}
const NO_FAILURES = { batchItemFailures: [] };

it('dispatch runs a job once, as batch work, even if its ticket is delivered again', async () => {
  const message = makeMessage();
  const ticket = await acceptMessage(message);
  expect(await readJob(message)).toMatchObject({ status: 'queued', lane: 'gpu', epoch: 0 });
  expect(await dispatch(ticket, makeContext())).toEqual(NO_FAILURES);
  expect(await dispatch(ticket, makeContext())).toEqual(NO_FAILURES);
  expect(await countTickets()).toBe(0);
  expect(await readJob(message)).toMatchObject({ status: 'completed', epoch: 1, usage: { outputTokens: 3 } });
  const served = [...w1.served, ...w2.served];
  expect(served.map(({ body }) => [body['stream'], body['priority']])).toEqual([[true, 1]]);
});

it('a job that was announced on the other queue is forwarded to dispatch and costs no attempt', async () => {
  const message = makeMessage();
  const { Records } = await acceptMessage(message);
  expect(await generate(makeQueueEvent(Records[0]?.body), makeContext())).toEqual(NO_FAILURES);
  expect(await readJob(message)).toMatchObject({ status: 'queued', lane: 'gpu', epoch: 1, attempts: 0, asks: 0 });
  const forwarded = await receiveTickets();
  expect(forwarded.Records.map(({ body }) => JSON.parse(body).id)).toEqual([getId(message)]);
  expect(await dispatch(forwarded, makeContext())).toEqual(NO_FAILURES);
  expect((await readJob(message))?.status).toBe('completed');
  expect(await dispatch({ Records }, makeContext())).toEqual(NO_FAILURES);
  expect(await countTickets()).toBe(0);
});

it('a job whose worker is killed during the answer continues on another worker in the same invocation', async () => {
  for (const worker of [w1, w2]) worker.behave({ tokens: 50, tokenMs: 20 });
  const message = makeMessage();
  const ticket = await acceptMessage(message);
  const running = dispatch(ticket, makeContext());
  await waitUntil('a worker generates', () => w1.countTokensSince(0) + w2.countTokensSince(0) > 3);
  const [victim, other] = w1.served.length > 0 ? [w1, w2] : [w2, w1];
  await victim.kill();
  expect(await running).toEqual(NO_FAILURES);
  expect(await readJob(message)).toMatchObject({ status: 'completed', epoch: 2, attempts: 2 });
  expect(other.served).toHaveLength(1);
  expect(await countTickets()).toBe(0);
  expect((await readWorkers()).map(({ state }) => state).toSorted()).toEqual(['ready', 'suspect']);
});

it('a job whose worker hangs during the answer continues on another worker', async () => {
  let hung: GpuWorker | undefined;
  for (const worker of [w1, w2]) {
    worker.behave(() => {
      // The worker that gets the job hangs, for the probe, too.
      if (hung === undefined) {
        hung = worker;
        return { hangAfter: 2 };
      }
      return hung === worker ? { hangAfter: 0 } : {};
    });
  }
  const message = makeMessage();
  expect(await dispatch(await acceptMessage(message), makeContext())).toEqual(NO_FAILURES);
  expect(await readJob(message)).toMatchObject({ status: 'completed', epoch: 2 });
  expect((await readWorkers()).map(({ state }) => state).toSorted()).toEqual(['ready', 'suspect']);
});

it('a job that gets no slot waits again, keeps its ticket and uses no attempt', async () => {
  for (const [id, worker] of [['w1', w1] as const, ['w2', w2] as const]) {
    await register(id, worker);
    await fleet().setState(FLEET, id, `boot-${boots}`, { state: 'draining', reason: 'spot', at: Date.now() });
  }
  const message = makeMessage();
  const ticket = await acceptMessage(message);
  expect(await dispatch(ticket, makeContext(10_000))).toEqual({
    batchItemFailures: ticket.Records.map(({ messageId }) => ({ itemIdentifier: messageId })),
  });
  expect(await readJob(message)).toMatchObject({
    status: 'queued',
    lane: 'gpu',
    attempts: 0,
    errorCode: 'overloaded',
  });
  expect([...w1.served, ...w2.served]).toEqual([]);
  expect(await countTickets()).toBe(1);
  await deleteMessages(testEnvironment, testEnvironment.gpuQueueUrl, ticket);
  expect(await testEnvironment.jobs.delete('local', getId(message))).toBeDefined();
});

it('the sweep sends the ticket of a job for dispatch whose creator died before it sent one', async () => {
  const message = makeMessage();
  await acceptMessage(message);
  await testEnvironment.jobs.update('local', getId(message), [], {
    index: { purpose: 'wake', queue: 'gpu', dueAt: Date.now() - 1 },
  });
  await sweepUntil(sweep, async () => (await readJob(message))?.duePartition?.startsWith('wait#gpu#') ?? false);
  const again = await receiveTickets();
  expect(again.Records.map(({ body }) => JSON.parse(body).id)).toEqual([getId(message)]);
  await dispatch(again, makeContext());
  expect((await readJob(message))?.status).toBe('completed');
});

it('dispatch closes the connection to the engine after the job is cancelled', async () => {
  for (const worker of [w1, w2]) worker.behave({ tokens: 100_000, tokenMs: 20 });
  const message = makeMessage();
  const ticket = await acceptMessage(message);
  const running = dispatch(ticket, makeContext());
  await waitUntil('a worker generates', () => w1.countTokensSince(0) + w2.countTokensSince(0) > 3);
  await testEnvironment.jobs.update('local', getId(message), [], { set: { cancelRequested: true } });
  expect(await running).toEqual(NO_FAILURES);
  expect(await readJob(message)).toMatchObject({ status: 'cancelled' });
  // It would generate for half an hour.
  await Promise.all([w1, w2].map((worker) => worker.served.at(-1)?.closed));
});

it('dispatch seals the answer with the current tenant key and does not rotate it, even if a rotation is due', async () => {
  const message = makeMessage();
  const ticket = await acceptMessage(message);
  const item = { TableName: 'keys', Key: { pk: { S: 'tenant#local' }, sk: { S: 'keys' } } };
  await testEnvironment.services.dynamodb.send(
    new UpdateItemCommand({
      ...item,
      UpdateExpression: 'SET versions.#current.createdAt = :longAgo',
      ExpressionAttributeNames: { '#current': '1' },
      ExpressionAttributeValues: { ':longAgo': { N: '0' } },
    }),
  );
  // A new environment has no keys in its cache.
  vi.resetModules();
  const freshDispatch = getHandler(await import('../../functions/dispatch.ts'));
  expect(await freshDispatch(ticket, makeContext())).toEqual(NO_FAILURES);
  expect((await readJob(message))?.status).toBe('completed');
  const { Item } = await testEnvironment.services.dynamodb.send(new GetItemCommand({ ...item, ConsistentRead: true }));
  expect(Item?.['current']).toEqual({ N: '1' });
});

it('dispatch moves a message that is not a ticket to its dead-letter queue, with the reason', async () => {
  expect(await dispatch(makeQueueEvent(makeMessage()), makeContext())).toEqual(NO_FAILURES);
  const [dead] = await testEnvironment.services.messagesOf(testEnvironment.gpuDeadLetterUrl);
  expect(dead?.attributes['reason']).toBe('unsupported_value');
});

it('a job of a model with a fallback is answered by the fallback if the fleet has no worker', async () => {
  for (const id of ['w1', 'w2']) await fleet().deregister(FLEET, id);
  const message = makeMessage({ body: { model: 'helped', input: 'Hi' } });
  await dispatch(await acceptMessage(message), makeContext());
  expect((await readJob(message))?.status).toBe('completed');
});
