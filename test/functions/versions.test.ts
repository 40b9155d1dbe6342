import { GetItemCommand, PutItemCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { createJobStores } from '../../shared/api/job-dependencies.ts';
import { createDynamoDBClient } from '../../shared/aws/dynamodb.ts';
import { createKmsClient } from '../../shared/aws/kms.ts';
import { createS3Client } from '../../shared/aws/s3.ts';
import { createMetrics } from '../../shared/core/metrics.ts';
import type { Job } from '../../shared/jobs/job.ts';
import { itemKey, jobItem } from '../../shared/jobs/job-item.ts';
import { makeRequest } from '../shared/inference/requests.ts';
import { aJob } from '../shared/jobs/jobs.ts';
import { makeContext, makeQueueEvent, startTestEnvironment, type TestEnvironment } from './test-environment.ts';

/** During a roll-out the next version writes what this one reads, and the other way round. */
let surroundings: TestEnvironment;
let stores: ReturnType<typeof createJobStores>;
let generate: (event: unknown, context: unknown) => Promise<unknown>;
let sweep: (event: unknown, context: unknown) => Promise<unknown>;

beforeAll(async () => {
  surroundings = await startTestEnvironment();
  for (const [name, value] of Object.entries(surroundings.environment)) vi.stubEnv(name, value);
  const { KMS_KEY_ID = '', KEYS_TABLE = '', JOBS_TABLE = '', BUCKET = '' } = surroundings.environment;
  const clients = { dynamodb: createDynamoDBClient(), kms: createKmsClient(), s3: createS3Client() };
  const settings = { KMS_KEY_ID, KEYS_TABLE, JOBS_TABLE, BUCKET, TIMINGS_DIVISOR: 1 };
  stores = createJobStores(
    clients,
    settings,
    createMetrics('next', () => undefined),
    { mayCreateKeys: true },
  );
  const functions = await Promise.all([import('../../functions/generate.ts'), import('../../functions/sweep.ts')]);
  generate = (event, context) => Promise.resolve(Reflect.apply(functions[0].handler, undefined, [event, context]));
  sweep = (event, context) => Promise.resolve(Reflect.apply(functions[1].handler, undefined, [event, context]));
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await surroundings[Symbol.asyncDispose]();
});

const tenant = 'local';
const DAY_MS = 86_400_000;
let made = 0;

/** A job as the next version stores it: its item and its sealed input say more than this version knows. */
async function jobOfNextVersion(changes: Partial<Job> = {}): Promise<string> {
  made += 1;
  const id = `resp_next${made}`;
  const now = Date.now();
  const expiresAt = Math.floor((now + DAY_MS) / 1000);
  const asked = {
    body: { model: 'default', input: 'Hello', fromTheNext: true },
    generation: { ...makeRequest({ model: 'default' }), fromTheNext: true },
    fromTheNext: true,
  };
  const input = await stores.bodies.write({ tenant, id, kind: 'input', epoch: 0, expiresAt }, asked);
  const times = { createdAt: now, dueAt: now + 60_000, deadline: now + DAY_MS, expiresAt };
  const job = aJob({ tenant, id, streamed: true, input, ...times, ...changes });
  const item = { ...jobItem(job), fromTheNext: { M: { batch: { S: 'batch_1' } } } };
  await surroundings.services.dynamodb.send(new PutItemCommand({ TableName: surroundings.jobsTable, Item: item }));
  return id;
}

async function itemOf(id: string) {
  const Key = itemKey(tenant, id);
  const { Item } = await surroundings.services.dynamodb.send(
    new GetItemCommand({ TableName: surroundings.jobsTable, Key }),
  );
  return Item;
}

describe('beside the next version', () => {
  test('its jobs are run from its pointers, and keep what only it knows', async () => {
    const id = await jobOfNextVersion();
    const pointer = { version: 1, type: 'job', tenant, id, fromTheNext: { priority: 1 } };
    expect(await generate(makeQueueEvent(pointer), makeContext())).toEqual({ batchItemFailures: [] });
    expect(await stores.jobs.read(tenant, id)).toMatchObject({ status: 'completed', epoch: 1 });
    expect((await itemOf(id))?.['fromTheNext']).toEqual({ M: { batch: { S: 'batch_1' } } });
    expect(await surroundings.services.messagesOf(surroundings.deadLetterUrl)).toEqual([]);
  });

  test('events of kinds that only it knows are handed on as they are', async () => {
    const id = await jobOfNextVersion();
    const { expiresAt } = (await stores.jobs.read(tenant, id)) ?? { expiresAt: 0 };
    const event = { type: 'response.dreamt', sequence_number: 2, dream: { of: 'sheep' } };
    await stores.events.append({ tenant, id, epoch: 1, firstSequence: 2, expiresAt, events: [event] });
    const [chunk] = await stores.events.read(tenant, id, -1);
    expect(chunk?.events).toEqual([event]);
  });

  test('what only it has to tell of a job is left to it, and all else is told', async () => {
    const ended = { status: 'failed', errorCode: 'upstream_cut', completedAt: Date.now() } as const;
    const id = await jobOfNextVersion({
      ...ended,
      replyTo: 'answers',
      fanIn: ['reply', 'webhook', 'forget'],
      dueAt: 1,
    });
    await sweep({}, makeContext());
    const [reply] = await surroundings.services.messagesOf(surroundings.replyUrl);
    expect(JSON.parse(reply?.body ?? '')).toMatchObject({ type: 'answer', id, status: 'failed' });
    const job = await stores.jobs.read(tenant, id);
    expect(job).toMatchObject({ status: 'failed', fanIn: ['reply', 'webhook', 'forget'] });
    expect(job?.dueAt).toBeGreaterThan(Date.now());
  });

  test('a message of its own kind is put aside with the reason, not lost', async () => {
    await generate(makeQueueEvent({ version: 2, type: 'generate', tenant, what: 'ever' }), makeContext());
    const [message] = await surroundings.services.messagesOf(surroundings.deadLetterUrl);
    expect(message?.attributes).toMatchObject({ reason: 'unsupported_value', param: 'version' });
  });
});
