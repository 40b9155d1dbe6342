import { GetItemCommand, PutItemCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { createJobStores } from '../../shared/api/job-dependencies.ts';
import { createDynamoDBClient } from '../../shared/aws/dynamodb.ts';
import { createKmsClient } from '../../shared/aws/kms.ts';
import { createS3Client } from '../../shared/aws/s3.ts';
import { createMetrics } from '../../shared/core/metrics.ts';
import type { Job } from '../../shared/jobs/job.ts';
import { itemKey, jobItem } from '../../shared/jobs/job-item.ts';
import { makeRequest } from '../shared/inference/requests.ts';
import { aJob } from '../shared/jobs/jobs.ts';
import {
  getHandler,
  type Handler,
  makeContext,
  makeQueueEvent,
  startTestEnvironment,
  sweepUntil,
  type TestEnvironment,
} from './test-environment.ts';

// During a deployment, this version and the next one read each other's items and messages.

let testEnvironment: TestEnvironment;
let stores: ReturnType<typeof createJobStores>;
let intake: Handler;
let generate: Handler;
let sweep: Handler;

beforeAll(async () => {
  testEnvironment = await startTestEnvironment();
  for (const [name, value] of Object.entries(testEnvironment.variables)) vi.stubEnv(name, value);
  const { KMS_KEY_ID = '', KEYS_TABLE = '', JOBS_TABLE = '', BUCKET = '' } = testEnvironment.variables;
  const clients = { dynamodb: createDynamoDBClient(), kms: createKmsClient(), s3: createS3Client() };
  const settings = { KMS_KEY_ID, KEYS_TABLE, JOBS_TABLE, BUCKET, JOB_SHARDS: 4, TIMINGS_DIVISOR: 1 };
  stores = createJobStores(
    clients,
    settings,
    createMetrics('next', () => undefined),
    { mayCreateKeys: true },
  );
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

const tenant = 'local';
const DAY_MS = 86_400_000;
let count = 0;

/** Stores a job as the next version might: its item and its input have fields that this version doesn't know. */
async function createJobOfNextVersion(changes: Partial<Job> = {}): Promise<string> {
  count += 1;
  const id = `resp_next${count}`;
  const now = Date.now();
  const expiresAt = Math.floor((now + DAY_MS) / 1000);
  const jobInput = {
    body: { model: 'default', input: 'Hello', fromTheNext: true },
    generation: { ...makeRequest({ model: 'default' }), fromTheNext: true },
    fromTheNext: true,
  };
  const input = await stores.bodies.write({ tenant, id, kind: 'input', epoch: 0, expiresAt }, jobInput);
  const times = { createdAt: now, duePartition: 'wait#jobs#1', dueAt: now + 60_000, deadline: now + DAY_MS, expiresAt };
  const job = aJob({ tenant, id, streamed: true, input, ...times, ...changes });
  const item = { ...jobItem(job), fromTheNext: { M: { batch: { S: 'batch_1' } } } };
  await testEnvironment.services.dynamodb.send(
    new PutItemCommand({ TableName: testEnvironment.jobsTable, Item: item }),
  );
  return id;
}

async function readItem(id: string) {
  const Key = itemKey(tenant, id);
  const { Item } = await testEnvironment.services.dynamodb.send(
    new GetItemCommand({ TableName: testEnvironment.jobsTable, Key }),
  );
  return Item;
}

describe('a deployment of the next version', () => {
  it('this version runs the jobs of the next one and keeps unknown fields of their items', async () => {
    const id = await createJobOfNextVersion();
    const ticket = { version: 1, type: 'job', tenant, id, fromTheNext: { priority: 1 } };
    expect(await generate(makeQueueEvent(ticket), makeContext())).toEqual({ batchItemFailures: [] });
    expect(await stores.jobs.read(tenant, id)).toMatchObject({ status: 'completed', epoch: 1 });
    expect((await readItem(id))?.['fromTheNext']).toEqual({ M: { batch: { S: 'batch_1' } } });
    expect(await testEnvironment.services.messagesOf(testEnvironment.deadLetterUrl)).toEqual([]);
  });

  it('this version runs a job of an unknown tier as any other, and leaves the tier as it is', async () => {
    const id = await createJobOfNextVersion();
    const tier = { S: 'batch' };
    const Item = { ...(await readItem(id)), tier };
    await testEnvironment.services.dynamodb.send(new PutItemCommand({ TableName: testEnvironment.jobsTable, Item }));
    const ticket = { version: 1, type: 'job', tenant, id, tier: 'batch' };
    expect(await generate(makeQueueEvent(ticket), makeContext())).toEqual({ batchItemFailures: [] });
    expect(await stores.jobs.read(tenant, id)).toMatchObject({ status: 'completed', epoch: 1 });
    expect((await readItem(id))?.['tier']).toEqual(tier);
  });

  it('this version passes on events of unknown types unchanged', async () => {
    const id = await createJobOfNextVersion();
    const { expiresAt } = (await stores.jobs.read(tenant, id)) ?? { expiresAt: 0 };
    const event = { type: 'response.unknown_event', sequence_number: 2, detail: { of: 'the next version' } };
    await stores.events.append({ tenant, id, epoch: 1, firstSequence: 2, expiresAt, events: [event] });
    const [chunk] = await stores.events.read(tenant, id, -1);
    expect(chunk?.events).toEqual([event]);
  });

  it('this version runs the completion steps that it knows and leaves unknown ones to the next version', async () => {
    const ended = { status: 'failed', errorCode: 'upstream_cut', completedAt: Date.now() } as const;
    const id = await createJobOfNextVersion({
      ...ended,
      replyTo: 'answers',
      fanIn: ['reply', 'webhook', 'forget'],
      duePartition: 'step#1',
      dueAt: 1,
    });
    await sweepUntil(sweep, async () => ((await stores.jobs.read(tenant, id))?.dueAt ?? 0) > 1);
    const [reply] = await testEnvironment.services.messagesOf(testEnvironment.replyUrl);
    expect(JSON.parse(reply?.body ?? '')).toMatchObject({ type: 'answer', id, status: 'failed' });
    const job = await stores.jobs.read(tenant, id);
    expect(job).toMatchObject({ status: 'failed', fanIn: ['reply', 'webhook', 'forget'] });
    expect(job?.dueAt).toBeGreaterThan(Date.now());
  });

  it('this version makes a dead job of the next one wait again and keeps index entries with unknown purposes', async () => {
    const dead = { status: 'in_progress', epoch: 1, owner: 'next', leaseExpiresAt: 1, startedAt: 1 } as const;
    const id = await createJobOfNextVersion({ ...dead, duePartition: 'run#jobs#1', dueAt: 1 });
    const placedByNext = { duePartition: 'webhook#jobs#1', dueAt: 1 };
    const unknown = await createJobOfNextVersion(placedByNext);
    await sweepUntil(sweep, async () => (await stores.jobs.read(tenant, id))?.status === 'queued');
    expect(await stores.jobs.read(tenant, id)).toMatchObject({ status: 'queued', epoch: 1, crashes: 1 });
    expect((await readItem(id))?.['fromTheNext']).toEqual({ M: { batch: { S: 'batch_1' } } });
    expect(await stores.jobs.read(tenant, unknown)).toMatchObject(placedByNext);
  });

  it('a message of the next message version goes to the dead-letter queue with the reason', async () => {
    await intake(makeQueueEvent({ version: 2, type: 'generate', tenant, anything: 'else' }), makeContext());
    const [message] = await testEnvironment.services.messagesOf(testEnvironment.deadLetterUrl);
    expect(message?.attributes).toMatchObject({ reason: 'unsupported_value' });
    expect(JSON.parse(message?.body ?? '')).toMatchObject({ error: { param: 'version' } });
  });
});
