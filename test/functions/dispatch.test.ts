import { GetItemCommand, UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { deriveResponseId } from '../../shared/api/queue-message.ts';
import { createDynamoDBFleetStore } from '../../shared/gpu/registry/dynamodb-fleet.ts';
import { createDynamoDBStore } from '../../shared/jobs/dynamodb-store.ts';
import { aWorker, FLEET } from '../shared/gpu/fleets.ts';
import { type GpuWorker, startGpuWorker } from '../upstreams/gpu-worker.ts';
import { waitUntil } from '../wait.ts';
import { makeContext, makeQueueEvent, startTestEnvironment, type TestEnvironment } from './test-environment.ts';

type Handler = (event: unknown, context: unknown) => Promise<unknown>;

let surroundings: TestEnvironment;
let generate: Handler;
let dispatch: Handler;
let sweep: Handler;
let w1: GpuWorker;
let w2: GpuWorker;

beforeAll(async () => {
  surroundings = await startTestEnvironment();
  for (const [name, value] of Object.entries(surroundings.environment)) vi.stubEnv(name, value);
  const functions = await Promise.all([
    import('../../functions/generate.ts'),
    import('../../functions/dispatch.ts'),
    import('../../functions/sweep.ts'),
  ]);
  const called =
    ({ handler }: { handler: unknown }): Handler =>
    (event, context) =>
      Promise.resolve(Reflect.apply(handler as Handler, undefined, [event, context]));
  generate = called(functions[0]);
  dispatch = called(functions[1]);
  sweep = called(functions[2]);
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await surroundings[Symbol.asyncDispose]();
});
beforeEach(async () => {
  [w1, w2] = await Promise.all([startGpuWorker(), startGpuWorker()]);
  // In the order of their load: the first is asked first.
  await register('w1', w1);
  await register('w2', w2);
});
afterEach(async () => {
  expect(await leases()).toEqual([]);
  for (const worker of [w1, w2]) await worker[Symbol.asyncDispose]();
});

const fleet = () => createDynamoDBFleetStore(surroundings.services.dynamodb, { tableName: 'fleet' });
const workers = async () => (await fleet().read(FLEET)).workers;
const leases = async () => (await workers()).flatMap(({ leases: held }) => Object.keys(held));
let boots = 0;
async function register(id: string, { url }: GpuWorker, slots = 4): Promise<void> {
  boots += 1;
  const { leases: _, ...worker } = aWorker({ id, url, slots, bootId: `boot-${boots}` });
  await fleet().register(worker);
}

let keys = 0;
function aMessage(changes: object = {}) {
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
const jobs = () => createDynamoDBStore(surroundings.services.dynamodb, { tableName: surroundings.jobsTable });
const jobOf = ({ idempotencyKey }: { idempotencyKey: string }) =>
  jobs().read('local', deriveResponseId('local', idempotencyKey));
const onGpuQueue = () => surroundings.services.messagesOf(surroundings.gpuQueueUrl);
/** Sends a message through generate and returns what dispatch then gets. */
async function accepted(message: object): Promise<string> {
  await generate(makeQueueEvent(message), makeContext());
  const [pointer] = await onGpuQueue();
  return pointer?.body ?? '';
}
const all = { batchItemFailures: [] };

test('does what generate hands over, as batch work of its tenant, and asks a worker once', async () => {
  const message = aMessage();
  const pointer = await accepted(message);
  expect(await jobOf(message)).toMatchObject({ status: 'queued', lane: 'gpu', epoch: 0 });
  expect(await dispatch(makeQueueEvent(pointer, pointer), makeContext())).toEqual(all);
  expect(await jobOf(message)).toMatchObject({ status: 'completed', epoch: 1, usage: { outputTokens: 3 } });
  const served = [...w1.served, ...w2.served];
  expect(served.map(({ body }) => [body['stream'], body['priority']])).toEqual([[true, 1]]);
});

test('goes on in the same invocation, on another worker, when one is killed in the middle', async () => {
  for (const worker of [w1, w2]) worker.behave({ tokens: 50, tokenMs: 20 });
  const message = aMessage();
  const pointer = await accepted(message);
  const running = dispatch(makeQueueEvent(pointer), makeContext());
  await waitUntil('a worker generates', () => w1.countTokensSince(0) + w2.countTokensSince(0) > 3);
  const [victim, other] = w1.served.length > 0 ? [w1, w2] : [w2, w1];
  await victim.kill();
  expect(await running).toEqual(all);
  expect(await jobOf(message)).toMatchObject({ status: 'completed', epoch: 2, attempts: 2 });
  expect(other.served).toHaveLength(1);
  expect(await onGpuQueue()).toEqual([]);
  expect((await workers()).map(({ state }) => state).toSorted()).toEqual(['ready', 'suspect']);
});

test('goes on on another worker when one hangs in the middle', async () => {
  let asked = 0;
  const hangsFirst = () => {
    asked += 1;
    return asked === 1 ? { hangAfter: 2 } : {};
  };
  for (const worker of [w1, w2]) worker.behave(hangsFirst);
  const message = aMessage();
  expect(await dispatch(makeQueueEvent(await accepted(message)), makeContext())).toEqual(all);
  expect(await jobOf(message)).toMatchObject({ status: 'completed', epoch: 2 });
  expect((await workers()).map(({ state }) => state).toSorted()).toEqual(['ready', 'suspect']);
});

test('puts a job back without an attempt when there is no slot', async () => {
  for (const [id, worker] of [['w1', w1] as const, ['w2', w2] as const]) {
    await register(id, worker);
    await fleet().setState(FLEET, id, `boot-${boots}`, { state: 'draining', reason: 'spot', at: Date.now() });
  }
  const message = aMessage();
  expect(await dispatch(makeQueueEvent(await accepted(message)), makeContext())).toEqual(all);
  expect(await jobOf(message)).toMatchObject({
    status: 'queued',
    lane: 'gpu',
    attempts: 0,
    releases: 1,
    errorCode: 'overloaded',
  });
  expect([...w1.served, ...w2.served]).toEqual([]);
});

test('is told of a job again on its own queue when the message was lost', async () => {
  const message = aMessage();
  await accepted(message);
  const { id = '' } = (await jobOf(message)) ?? {};
  await jobs().update('local', id, [], { set: { dueAt: Date.now() - 1 } });
  await sweep({}, makeContext());
  const [again] = await onGpuQueue();
  expect(JSON.parse(again?.body ?? '')).toMatchObject({ type: 'job', id });
  await dispatch(makeQueueEvent(again?.body ?? ''), makeContext());
  expect((await jobOf(message))?.status).toBe('completed');
});

test('closes the connection to the engine within a heartbeat of a cancel', async () => {
  for (const worker of [w1, w2]) worker.behave({ tokens: 100_000, tokenMs: 20 });
  const message = aMessage();
  const pointer = await accepted(message);
  const running = dispatch(makeQueueEvent(pointer), makeContext());
  await waitUntil('a worker generates', () => w1.countTokensSince(0) + w2.countTokensSince(0) > 3);
  const { id = '' } = (await jobOf(message)) ?? {};
  await jobs().update('local', id, [], { set: { cancelRequested: true } });
  expect(await running).toEqual(all);
  const endedAt = performance.now();
  expect(await jobOf(message)).toMatchObject({ status: 'cancelled' });
  await new Promise((wake) => setTimeout(wake, 100));
  expect(w1.countTokensSince(endedAt) + w2.countTokensSince(endedAt)).toBe(0);
});

test('seals with the key that is there, and leaves one that is due to whoever accepts work', async () => {
  const message = aMessage();
  const pointer = await accepted(message);
  const item = { TableName: 'keys', Key: { pk: { S: 'tenant#local' }, sk: { S: 'keys' } } };
  await surroundings.services.dynamodb.send(
    new UpdateItemCommand({
      ...item,
      UpdateExpression: 'SET versions.#current.createdAt = :long_ago',
      ExpressionAttributeNames: { '#current': '1' },
      ExpressionAttributeValues: { ':long_ago': { N: '0' } },
    }),
  );
  // One that holds no key yet.
  vi.resetModules();
  const { handler } = await import('../../functions/dispatch.ts');
  expect(await Reflect.apply(handler as Handler, undefined, [makeQueueEvent(pointer), makeContext()])).toEqual(all);
  expect((await jobOf(message))?.status).toBe('completed');
  const { Item } = await surroundings.services.dynamodb.send(new GetItemCommand({ ...item, ConsistentRead: true }));
  expect(Item?.['current']).toEqual({ N: '1' });
});

test('puts whatever is no pointer into its dead-letter queue, with the reason', async () => {
  expect(await dispatch(makeQueueEvent(aMessage()), makeContext())).toEqual(all);
  const [dead] = await surroundings.services.messagesOf(surroundings.gpuDeadLetterUrl);
  expect(dead?.attributes['reason']).toBe('unsupported_value');
});

test('answers from elsewhere, where the model has a fallback, when no worker has room', async () => {
  for (const id of ['w1', 'w2']) await fleet().deregister(FLEET, id);
  const message = aMessage({ body: { model: 'helped', input: 'Hi' } });
  await dispatch(makeQueueEvent(await accepted(message)), makeContext());
  expect((await jobOf(message))?.status).toBe('completed');
});
