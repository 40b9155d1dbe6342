import type OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { UNRESTRICTED } from '../../../shared/access/policy.ts';
import type { ApiState } from '../../../shared/api/api-state.ts';
import { createConversationStep } from '../../../shared/api/conversation-step.ts';
import { QueueLimits } from '../../../shared/api/queue-limits.ts';
import { StorageLimits } from '../../../shared/api/storage-limits.ts';
import { LambentError } from '../../../shared/core/errors.ts';
import { createIdempotencyRecords } from '../../../shared/idempotency/idempotency-records.ts';
import { CLAIM_TIMINGS } from '../../../shared/idempotency/key-lease.ts';
import { createBodies } from '../../../shared/jobs/bodies.ts';
import { readInput, readOutput } from '../../../shared/jobs/completion.ts';
import { createEventLog } from '../../../shared/jobs/event-log.ts';
import { createJobList } from '../../../shared/jobs/job-list.ts';
import { createMemoryStore } from '../../../shared/jobs/memory-store.ts';
import type { JobStore } from '../../../shared/jobs/ports.ts';
import { JOB_TIMINGS } from '../../../shared/jobs/timings.ts';
import { createConversationTable } from '../../../shared/sessions/conversation-table.ts';
import { createConversations } from '../../../shared/sessions/conversations.ts';
import type { Vault } from '../../../shared/vault/vault.ts';
import { makeAnswer } from '../inference/requests.ts';
import { HOUR_MS } from '../jobs/jobs.ts';
import { createMemoryBlobs } from '../jobs/memory-blobs.ts';
import { recordTickets } from '../jobs/recorded-tickets.ts';
import { sweepOnce } from '../jobs/sweep-once.ts';
import { MemoryCounters } from '../limits/memory-counters.ts';
import { type Stores, startStores } from '../sessions/services.ts';
import { rejectLimits } from './receiver-ports.ts';
import { createTestRegistry, startService, TENANT } from './service.ts';

let stores: Stores;
beforeAll(async () => {
  stores = await startStores();
});
afterAll(() => stores[Symbol.asyncDispose]());

let conversationCount = 0;

/** Creates the API's stores with one conversation. `faults` override methods of the job store. */
async function createState(faults: (jobs: JobStore) => Partial<JobStore>, vault: Vault = stores.vault) {
  const clock = { now: Date.now() };
  const jobs = createMemoryStore(() => clock.now);
  const blobs = createMemoryBlobs();
  const conversations = createConversations({
    table: createConversationTable(stores.client, stores.tableName, stores.bucket),
    vault,
    retentionDays: 30,
  });
  const queue = recordTickets();
  const bodies = createBodies(vault, blobs);
  const state: ApiState = {
    vault,
    jobs: { ...jobs, ...faults(jobs) },
    bodies,
    events: createEventLog(vault, blobs),
    queue,
    chats: createJobList(stores.client, stores.tableName, vault),
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

/** The stores' vault, whose tenants' external key can be revoked. */
function createRevocableVault() {
  const state = { isRevoked: false };
  const check = () => {
    if (state.isRevoked) throw new LambentError('external_key_unavailable', 'The key is disabled');
  };
  const { vault } = stores;
  const revocable: Vault = {
    ...vault,
    async seal(...args) {
      check();
      return vault.seal(...args);
    },
    async prepareSeal(...args) {
      check();
      return vault.prepareSeal(...args);
    },
    async open(...args) {
      check();
      return vault.open(...args);
    },
  };
  return { vault: revocable, state };
}

describe('an external key that is revoked', () => {
  const messages = [{ role: 'user' as const, content: 'Hi' }];
  type Kind = 'response' | 'response of a conversation' | 'turn that is not stored' | 'chat completion';
  const request = (client: OpenAI, kind: Kind, stream: boolean, conversation: string): Promise<unknown> => {
    const body = { model: 'default', input: 'Hi', stream };
    if (kind === 'response') return client.responses.create(body);
    if (kind === 'response of a conversation') return client.responses.create({ ...body, conversation });
    if (kind === 'turn that is not stored') return client.responses.create({ ...body, conversation, store: false });
    const chat = { model: 'default', messages, stream, store: true, metadata: { a: 'b' } };
    return client.chat.completions.create(chat);
  };

  it.each([
    ['response', false],
    ['response', true],
    ['turn that is not stored', false],
    ['chat completion', false],
    ['chat completion', true],
  ] as const)('costs no call of the model and no storage: %s, streamed: %s', async (kind, isStreamed) => {
    const { vault, state: key } = createRevocableVault();
    const { state, conversation } = await createState(() => ({}), vault);
    key.isRevoked = true;
    const store = new MemoryCounters();
    const limits = new StorageLimits({ store, metrics: { publish: () => {} }, whenDown: 'refuse' });
    const limited: ApiState = { ...state, openStorageLimits: async () => limits };
    const policy = { project: { limits: { storedItems: 9 } } };
    await using service = await startService([makeAnswer('Hello')], undefined, limited, undefined, {}, policy);
    await expect(request(service.client, kind, isStreamed, conversation)).rejects.toMatchObject({
      ...{ status: 403, code: 'external_key_unavailable' },
    });
    expect(service.generationRequests).toEqual([]);
    expect(await store.read(`stored#${TENANT}`)).toMatchObject({ B: 0n, I: 0n });
  });

  it('costs no call of the model: a response that is not stored, whose context is compacted', async () => {
    const { vault, state: key } = createRevocableVault();
    const { state } = await createState(() => ({}), vault);
    key.isRevoked = true;
    await using service = await startService([makeAnswer('Notes')], undefined, state);
    const input = [
      { role: 'user' as const, content: 'Which bird? '.repeat(1_000) },
      { role: 'assistant' as const, content: 'A falcon.' },
      { role: 'user' as const, content: 'Go on' },
    ];
    const context_management = [{ type: 'compaction', compact_threshold: 1_000 }];
    const body = { model: 'default', input, store: false, context_management };
    await expect(service.client.responses.create(body)).rejects.toMatchObject({
      ...{ status: 403, code: 'external_key_unavailable' },
    });
    expect(service.generationRequests).toEqual([]);
  });

  it('costs no call of the model: a compaction', async () => {
    const { vault, state: key } = createRevocableVault();
    const { state } = await createState(() => ({}), vault);
    key.isRevoked = true;
    await using service = await startService([makeAnswer('Notes')], undefined, state);
    await expect(service.client.responses.compact({ model: 'default', input: 'Hi' })).rejects.toMatchObject({
      ...{ status: 403, code: 'external_key_unavailable' },
    });
    expect(service.generationRequests).toEqual([]);
    key.isRevoked = false;
    await service.client.responses.compact({ model: 'default', input: 'Hi' });
    expect(service.generationRequests).toHaveLength(1);
  });

  it.each(['response', 'response of a conversation', 'chat completion'] as const)(
    'during the call leaves a stored answer readable once it works again: %s',
    async (kind) => {
      const { vault, state: key } = createRevocableVault();
      const { state, conversation, countItems, sweep } = await createState(() => ({}), vault);
      const finish = makeAnswer('Hello');
      const registry = createTestRegistry();
      await using service = await startService([finish], registry, state, undefined, {}, UNRESTRICTED, () => {
        key.isRevoked = true;
      });
      const answered = await request(service.client, kind, false, conversation);
      expect(answered).toMatchObject({ id: expect.any(String) });
      const { id } = answered as { id: string };
      key.isRevoked = false;
      const job = await state.jobs.read(TENANT, id);
      expect(job).toMatchObject({ status: 'completed' });
      expect(job && (await readInput(job, state.bodies))).toMatchObject({ body: { model: 'default' } });
      expect(job && (await readOutput(job, state.bodies))).toMatchObject({ answer: { id } });
      if (kind === 'chat completion')
        expect(job && (await state.chats.read(job))).toMatchObject({ labels: { a: 'b' } });
      if (kind !== 'response of a conversation') return;
      expect(await countItems()).toBe(0);
      expect(await sweep()).toMatchObject({ completed: 1, failed: 0 });
      expect(await countItems()).toBe(2);
    },
  );
});

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
