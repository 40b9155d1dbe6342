import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ApiState } from '../../../shared/api/api-state.ts';
import { createConversationStep } from '../../../shared/api/conversation-step.ts';
import { QueueLimits } from '../../../shared/api/queue-limits.ts';
import { StorageLimits } from '../../../shared/api/storage-limits.ts';
import { LambentError } from '../../../shared/core/errors.ts';
import { createIdempotencyRecords } from '../../../shared/idempotency/idempotency-records.ts';
import { CLAIM_TIMINGS } from '../../../shared/idempotency/key-lease.ts';
import { createBodies } from '../../../shared/jobs/bodies.ts';
import { createEventLog } from '../../../shared/jobs/event-log.ts';
import { createJobList } from '../../../shared/jobs/job-list.ts';
import { createMemoryStore } from '../../../shared/jobs/memory-store.ts';
import type { JobStore } from '../../../shared/jobs/ports.ts';
import { JOB_TIMINGS } from '../../../shared/jobs/timings.ts';
import { createConversationTable } from '../../../shared/sessions/conversation-table.ts';
import { createConversations } from '../../../shared/sessions/conversations.ts';
import { makeAnswer } from '../inference/requests.ts';
import { HOUR_MS } from '../jobs/jobs.ts';
import { createMemoryBlobs } from '../jobs/memory-blobs.ts';
import { recordTickets } from '../jobs/recorded-tickets.ts';
import { sweepOnce } from '../jobs/sweep-once.ts';
import { MemoryCounters } from '../limits/memory-counters.ts';
import { type Stores, startStores } from '../sessions/services.ts';
import { rejectLimits } from './receiver-ports.ts';
import { startService, TENANT } from './service.ts';

let stores: Stores;
beforeAll(async () => {
  stores = await startStores();
});
afterAll(() => stores[Symbol.asyncDispose]());

let conversationCount = 0;

/** Creates the API's stores with one conversation. `faults` override methods of the job store. */
async function createState(faults: (jobs: JobStore) => Partial<JobStore>) {
  const clock = { now: Date.now() };
  const jobs = createMemoryStore(() => clock.now);
  const blobs = createMemoryBlobs();
  const conversations = createConversations({
    table: createConversationTable(stores.client, stores.tableName, stores.bucket),
    vault: stores.vault,
    retentionDays: 30,
  });
  const queue = recordTickets();
  const bodies = createBodies(stores.vault, blobs);
  const state: ApiState = {
    vault: stores.vault,
    jobs: { ...jobs, ...faults(jobs) },
    bodies,
    events: createEventLog(stores.vault, blobs),
    queue,
    chats: createJobList(stores.client, stores.tableName, stores.vault),
    conversations,
    openQueueLimits: rejectLimits,
    openStorageLimits: rejectLimits,
    lifetime: { deadlineMs: HOUR_MS, retentionMs: HOUR_MS },
    timings: JOB_TIMINGS,
  };
  conversationCount += 1;
  const key = { tenant: TENANT, id: `conv_${conversationCount}` };
  await conversations.create(key, {}, []);
  return {
    state,
    conversation: key.id,
    async countItems() {
      let count = 0;
      for await (const page of (await conversations.readEarlier(key)).pages()) count += page.length;
      return count;
    },
    async sweep() {
      clock.now = Math.max(clock.now, Date.now()) + JOB_TIMINGS.completionMs;
      const steps = { conversation: createConversationStep(conversations) };
      const rest = { timings: JOB_TIMINGS, shards: 1, now: () => clock.now, onError: () => {} };
      const ports = { jobs, bodies, queue, steps, onStepFailed: async () => {}, ...rest };
      return (await sweepOnce(ports)).step;
    },
  };
}

describe('a turn of a conversation', () => {
  it('a response is returned even if its completion step cannot be recorded, and its turn is added once', async () => {
    const { state, conversation, countItems, sweep } = await createState(() => ({
      update: () => Promise.reject(new Error('throttled')),
    }));
    await using service = await startService([makeAnswer('Hello')], undefined, state);
    const response = await service.client.responses.create({ model: 'default', input: 'Hi', conversation });
    expect(response.output_text).toBe('Hello');
    expect(service.logLines).toMatchObject([{ level: 'warn', message: 'completion step not recorded' }]);
    expect(await countItems()).toBe(2);
    expect(await sweep()).toMatchObject({ completed: 1, failed: 0 });
    expect(await countItems()).toBe(2);
    expect(await sweep()).toMatchObject({ seen: 0 });
  });
});

describe('a response whose store is away when it is complete', () => {
  const awsError = (name: string, httpStatusCode?: number) =>
    Object.assign(new Error(name), { name, $metadata: { httpStatusCode } });

  /** Creates a response while the table refuses new jobs for `awayMs`. */
  async function createResponse(awayMs: number, thrown: Error) {
    const startedAt = Date.now();
    const clock = { now: startedAt };
    const { state, conversation, countItems } = await createState(({ create }) => ({
      create: (...job) => (clock.now < startedAt + awayMs ? Promise.reject(thrown) : create(...job)),
    }));
    const pauses: number[] = [];
    const sleep = async (ms: number) => {
      pauses.push(ms);
      clock.now += ms;
    };
    await using service = await startService([makeAnswer('Hello')], undefined, state, undefined, {
      now: () => clock.now,
      sleep,
    });
    const body = { model: 'default', input: 'Hi', conversation };
    const result = await service.client.responses.create(body).catch((error: unknown) => ({ error }));
    const job = 'error' in result && 'id' in result ? await state.jobs.read(TENANT, result.id) : undefined;
    return { result, job, pauses, items: await countItems(), asked: service.generationRequests.length };
  }

  it('is stored when the store is back within 45 s, with its turn', async () => {
    const { result, job, pauses, items, asked } = await createResponse(44_000, awsError('InternalServerError', 500));
    expect(result).toMatchObject({ output_text: 'Hello' });
    expect(job).toMatchObject({ status: 'completed', stored: true });
    expect(pauses).toEqual(Array.from({ length: 22 }, () => 2_000));
    expect({ items, asked }).toEqual({ items: 2, asked: 1 });
  });

  it('fails after 45 s', async () => {
    const { result, pauses, items } = await createResponse(100_000, awsError('TimeoutError'));
    expect(result).toMatchObject({ error: { status: 500 } });
    expect(pauses.length).toBeLessThanOrEqual(23);
    expect(items).toBe(0);
  });

  it('fails at once if the store refuses the request itself', async () => {
    const { result, pauses } = await createResponse(100_000, awsError('AccessDeniedException', 400));
    expect(result).toMatchObject({ error: { status: 500 } });
    expect(pauses).toEqual([]);
  });

  it('waits for a store that throttles', async () => {
    const throttled = awsError('ProvisionedThroughputExceededException', 400);
    expect(await createResponse(2_000, throttled)).toMatchObject({ result: { output_text: 'Hello' }, pauses: [2_000] });
  });
});

it.each(['response', 'chat completion'])(
  'a %s that can not be sealed gives back the storage that it reserved',
  async (kind) => {
    const { state } = await createState(() => ({}));
    const fail = () => Promise.reject(new LambentError('external_key_unavailable', 'The key is disabled'));
    const store = new MemoryCounters();
    const limits = new StorageLimits({ store, metrics: { publish: () => {} }, whenDown: 'refuse' });
    const unsealed: ApiState = {
      ...state,
      bodies: createBodies({ ...stores.vault, seal: fail, prepareSeal: fail }, createMemoryBlobs()),
      openStorageLimits: async () => limits,
    };
    const policy = { project: { limits: { storedItems: 9 } } };
    await using service = await startService([makeAnswer('Hello')], undefined, unsealed, undefined, {}, policy);
    const { chat, responses } = service.client;
    const messages = [{ role: 'user' as const, content: 'Hi' }];
    const call =
      kind === 'response'
        ? responses.create({ model: 'default', input: 'Hi' })
        : chat.completions.create({ model: 'default', messages, store: true });
    await expect(call).rejects.toThrow();
    expect(service.generationRequests).toHaveLength(1);
    expect(await store.read(`stored#${TENANT}`)).toMatchObject({ B: 0n, I: 0n });
  },
);

it('a background response counts once for limits on queued jobs, however often its request is repeated', async () => {
  const counters = new MemoryCounters();
  const { state } = await createState(() => ({}));
  const { jobs, bodies } = state;
  const limits = new QueueLimits({ store: counters, jobs, whenDown: 'refuse' });
  const limited = { ...state, openQueueLimits: async () => limits };
  // The first call can't record its response, so that a repetition runs again.
  const finish = () => Promise.reject(new Error('throttled'));
  const records = { ...createIdempotencyRecords(stores.client, stores.tableName), finish };
  const idempotency = { records, bodies, jobs, vault: stores.vault, timings: CLAIM_TIMINGS };
  const policy = { project: { limits: { jobsQueued: 100 } } };
  await using service = await startService([], undefined, limited, idempotency, {}, policy);
  const create = (index: number) =>
    service.client.responses.create(
      { model: 'default', input: 'Hi', background: true },
      { headers: { 'idempotency-key': `key-${index}` } },
    );
  const { id } = await create(0);
  // So many that the first ones are moved to a page.
  for (let index = 1; index < 64; index += 1) await create(index);
  expect(await create(0)).toMatchObject({ id, status: 'queued' });
  expect(await counters.read(`jobs#${TENANT}`)).toMatchObject({ 'p.j': 64n });
});
