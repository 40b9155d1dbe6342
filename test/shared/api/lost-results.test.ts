import { DynamoDBClient, ScanCommand } from '@aws-sdk/client-dynamodb';
import type OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type FaultProxy, startFaultProxy } from '../../../local/faults/proxy.ts';
import type { ApiState } from '../../../shared/api/api-state.ts';
import { createConversationStep } from '../../../shared/api/conversation-step.ts';
import { createIdempotencyRecords } from '../../../shared/idempotency/idempotency-records.ts';
import { CLAIM_TIMINGS } from '../../../shared/idempotency/key-lease.ts';
import type { GenerationEvent } from '../../../shared/inference/generation.ts';
import { createBodies } from '../../../shared/jobs/bodies.ts';
import { createDynamoDBBlobs } from '../../../shared/jobs/dynamodb-blobs.ts';
import { createDynamoDBStore } from '../../../shared/jobs/dynamodb-store.ts';
import { createEventLog } from '../../../shared/jobs/event-log.ts';
import { createJobList } from '../../../shared/jobs/job-list.ts';
import { JOB_TIMINGS } from '../../../shared/jobs/timings.ts';
import { createConversationTable } from '../../../shared/sessions/conversation-table.ts';
import { createConversations } from '../../../shared/sessions/conversations.ts';
import { waitUntil } from '../../wait.ts';
import { makeAnswer } from '../inference/requests.ts';
import { HOUR_MS } from '../jobs/jobs.ts';
import { recordTickets } from '../jobs/recorded-tickets.ts';
import { type Services, startServices } from '../jobs/services.ts';
import { sweepOnce } from '../jobs/sweep-once.ts';
import { type Stores, startStores } from '../sessions/services.ts';
import { rejectLimits } from './receiver-ports.ts';
import { createTestRegistry, type Service, startService, TENANT } from './service.ts';

let stores: Stores;
let services: Services;
let proxy: FaultProxy;
let client: DynamoDBClient;
let tableName: string;
beforeAll(async () => {
  [stores, services] = await Promise.all([startStores(), startServices()]);
  tableName = await services.newTable();
  proxy = await startFaultProxy({ service: 'dynamodb', target: services.urls.dynamodb, random: () => 0 });
  const credentials = { accessKeyId: 'test', secretAccessKey: 'test' };
  client = new DynamoDBClient({ region: 'eu-west-1', endpoint: proxy.url, credentials, maxAttempts: 1 });
});
afterAll(async () => {
  client.destroy();
  await proxy.close();
  await Promise.all([stores[Symbol.asyncDispose](), services[Symbol.asyncDispose]()]);
});

/** The writes of a call after which something happens. */
const WRITES = ['finish', 'create', 'commitTurn', 'createConversation'] as const;
type Write = (typeof WRITES)[number];
/** The connection is cut after the write or before it, or the process dies after it. */
type Fault = 'cut' | 'cutBefore' | 'death';

let count = 0;

/** Creates an unused key and a conversation, and what all function environments share: the tables and the time. */
async function createWorld() {
  count += 1;
  const key = `key-${count}`;
  const conversation = { tenant: TENANT, id: `conv_${count}` };
  const clock = { skewMs: 0 };
  const now = () => Date.now() + clock.skewMs;

  /** Creates the stores of one function environment. If a fault is given, it happens once, after the write. */
  function createStores(write?: Write, fault?: Fault) {
    let isLeft = true;
    let isDead = false;
    const inject =
      <Args extends unknown[], Result>(name: Write, send: (...args: Args) => Promise<Result>) =>
      async (...args: Args): Promise<Result> => {
        if (name !== write || !isLeft) return send(...args);
        isLeft = false;
        if (fault === 'cut') proxy.set({ cutAfter: 1 });
        if (fault === 'cutBefore') proxy.set({ cutBefore: 1 });
        try {
          const result = await send(...args);
          if (fault !== 'death') return result;
        } finally {
          proxy.set({});
        }
        isDead = true;
        return new Promise(() => {});
      };
    const jobs = createDynamoDBStore(client, { tableName, shards: 1, now });
    const blobs = createDynamoDBBlobs(client, { tableName, bucket: stores.bucket });
    const bodies = createBodies(stores.vault, blobs);
    const records = createIdempotencyRecords(client, tableName);
    const table = createConversationTable(client, tableName, stores.bucket);
    const conversations = createConversations({
      table: {
        ...table,
        commitTurn: inject('commitTurn', table.commitTurn),
        create: inject('createConversation', table.create),
      },
      vault: stores.vault,
      retentionDays: 30,
      now,
    });
    const faulty = { ...jobs, create: inject('create', jobs.create) };
    const queue = recordTickets();
    const state: ApiState = {
      vault: stores.vault,
      jobs: faulty,
      bodies,
      events: createEventLog(stores.vault, blobs),
      queue,
      chats: createJobList(client, tableName, stores.vault, now),
      conversations,
      openQueueLimits: rejectLimits,
      openStorageLimits: rejectLimits,
      lifetime: { deadlineMs: HOUR_MS, retentionMs: HOUR_MS },
      // No call waits for its store, so that a repetition has to find what was stored.
      timings: { ...JOB_TIMINGS, leaseMs: JOB_TIMINGS.graceMs },
    };
    const idempotency = {
      records: { ...records, finish: inject('finish', records.finish) },
      bodies,
      jobs: faulty,
      vault: stores.vault,
      timings: CLAIM_TIMINGS,
      now,
      sleep: (_ms: number, signal: AbortSignal) =>
        new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve())),
    };
    return { state, idempotency, queue, isDead: () => isDead };
  }

  const plain = createStores();
  await plain.state.conversations.create(conversation, {}, []);
  return {
    key,
    conversation: conversation.id,
    clock,
    /** Starts a function environment. */
    async start(write?: Write, fault?: Fault, script: readonly GenerationEvent[] = makeAnswer('Hello')) {
      const environment = createStores(write, fault);
      const service = await startService([script], createTestRegistry(), environment.state, environment.idempotency);
      return { service, queue: environment.queue, isDead: environment.isDead };
    },
    readItems: async () =>
      (await plain.state.conversations.list(conversation, { newestFirst: false, limit: 100 })).items,
    deleteJob: (id: string) => plain.state.jobs.delete(TENANT, id),
    async sweep() {
      clock.skewMs += 60_000;
      const steps = { conversation: createConversationStep(plain.state.conversations) };
      const ports = { ...plain.state, queue: plain.queue, steps, shards: 1, now, onError: () => {} };
      await sweepOnce({ ...ports, onStepFailed: async () => {} });
    },
  };
}

/** Counts the conversations of all tests. */
async function countConversations(): Promise<number> {
  const heads = { FilterExpression: 'sk = :head', ExpressionAttributeValues: { ':head': { S: 'head' } } };
  return (await client.send(new ScanCommand({ TableName: tableName, ...heads }))).Items?.length ?? 0;
}

type World = Awaited<ReturnType<typeof createWorld>>;
type Body = Partial<OpenAI.Responses.ResponseCreateParamsNonStreaming>;
type Call = (service: Service, world: World, body?: Body) => Promise<{ id: string; text: string }>;

const optionsOf = ({ key }: World) => ({ headers: { 'idempotency-key': key } });
const createBuffered: Call = async ({ client }, world, body) => {
  const response = await client.responses.create({ model: 'default', input: 'Hi', ...body }, optionsOf(world));
  return { id: response.id, text: response.output_text };
};
const createStreamed: Call = async ({ client }, world, body) => {
  const request = { model: 'default', input: 'Hi', ...body, stream: true as const };
  let text = '';
  let response: OpenAI.Responses.Response | undefined;
  for await (const event of await client.responses.create(request, optionsOf(world))) {
    if (event.type === 'response.output_text.delta') text += event.delta;
    if (event.type === 'response.completed') response = event.response;
  }
  const [item] = response?.output ?? [];
  expect(item).toMatchObject({ content: [{ text }] });
  return { id: response?.id ?? '', text };
};
const createChat: Call = async ({ client }, world) => {
  const messages = [{ role: 'user' as const, content: 'Hi' }];
  const completion = await client.chat.completions.create({ model: 'default', messages }, optionsOf(world));
  return { id: completion.id, text: completion.choices[0]?.message.content ?? '' };
};
const createStreamedChat: Call = async ({ client }, world) => {
  const messages = [{ role: 'user' as const, content: 'Hi' }];
  const request = { model: 'default', messages, stream: true as const };
  let text = '';
  let id = '';
  for await (const chunk of await client.chat.completions.create(request, optionsOf(world))) {
    id = chunk.id;
    text += chunk.choices[0]?.delta.content ?? '';
  }
  return { id, text };
};
const ITEMS = [{ type: 'message' as const, role: 'user' as const, content: 'Hi' }];
const createConversation: Call = async ({ client }, world) => {
  const { id } = await client.conversations.create({ items: ITEMS }, optionsOf(world));
  return { id, text: '' };
};
const addItems: Call = async ({ client }, world) => {
  const { data } = await client.conversations.items.create(world.conversation, { items: ITEMS }, optionsOf(world));
  return { id: String(data[0]?.id), text: '' };
};
const CALLS: readonly [string, Call][] = [
  ['response', createBuffered],
  ['streamed response', createStreamed],
];

/** Lets the first call meet a fault, and repeats it in another environment after the key's claim has lapsed. */
async function repeat(world: World, call: Call, body: Body | undefined, write: Write, fault: Fault) {
  await using stack = new AsyncDisposableStack();
  const first = await world.start(write, fault);
  stack.use(first.service);
  const result = call(first.service, world, body).catch((error: unknown) => ({ error }));
  if (fault === 'death') {
    await waitUntil('the process has died', first.isDead);
    world.clock.skewMs += CLAIM_TIMINGS.claimMs;
  } else await result;
  const second = await world.start();
  stack.use(second.service);
  const repeated = await call(second.service, world, body).catch((error: unknown) => ({ error }));
  const third = await call(second.service, world, body).catch((error: unknown) => ({ error }));
  return {
    first: fault === 'death' ? undefined : await result,
    repeated,
    third,
    modelCalls: first.service.generationRequests.length + second.service.generationRequests.length,
  };
}

describe.each(CALLS)('a %s with an idempotency key', (_name, call) => {
  it.each([
    ['finish', 'cut'],
    ['finish', 'cutBefore'],
    ['finish', 'death'],
    ['create', 'cut'],
    ['create', 'death'],
  ] as const)('is generated once if its write %s has the fault %s', async (write, fault) => {
    const { first, repeated, third, modelCalls } = await repeat(await createWorld(), call, undefined, write, fault);
    expect(modelCalls).toBe(1);
    expect(repeated).toMatchObject({ text: 'Hello' });
    expect(third).toEqual(repeated);
    if (write === 'finish' && fault !== 'death') expect(repeated).toEqual(first);
  });

  it.each([
    ['finish', 'cut'],
    ['finish', 'cutBefore'],
    ['finish', 'death'],
    ['create', 'cut'],
    ['create', 'death'],
    ['commitTurn', 'cut'],
    ['commitTurn', 'cutBefore'],
    ['commitTurn', 'death'],
  ] as const)('adds its turn once if its write %s has the fault %s', async (write, fault) => {
    const world = await createWorld();
    const body = { conversation: world.conversation };
    const { repeated, modelCalls } = await repeat(world, call, body, write, fault);
    expect(modelCalls).toBe(1);
    expect(repeated).toMatchObject({ text: 'Hello' });
    // Before the caller's next turn, unless a dead process still has the conversation's lock.
    if (fault === 'cut') expect(await world.readItems()).toHaveLength(2);
    await world.sweep();
    expect(await world.readItems()).toHaveLength(2);
    await world.sweep();
    expect(await world.readItems()).toHaveLength(2);
  });

  it('is refused if only its turn was to be stored, and the turn was', async () => {
    const world = await createWorld();
    const body = { conversation: world.conversation, store: false };
    const { repeated, third, modelCalls } = await repeat(world, call, body, 'commitTurn', 'cut');
    expect(modelCalls).toBe(1);
    expect(repeated).toMatchObject({ error: { code: 'idempotent_answer_not_kept' } });
    expect(third).toMatchObject({ error: { code: 'idempotent_answer_not_kept' } });
    expect(await world.readItems()).toHaveLength(2);
  });
});

describe.each([
  ['chat completion', createChat],
  ['streamed chat completion', createStreamedChat],
] as const)('a %s with an idempotency key', (_name, call) => {
  it.each(['cut', 'cutBefore', 'death'] as const)(
    'is generated once if its write finish has the fault %s',
    async (fault) => {
      const { first, repeated, third, modelCalls } = await repeat(
        await createWorld(),
        call,
        undefined,
        'finish',
        fault,
      );
      expect(modelCalls).toBe(1);
      expect(repeated).toMatchObject({ text: 'Hello' });
      expect(third).toEqual(repeated);
      if (fault !== 'death') expect(repeated).toEqual(first);
    },
  );
});

describe.each(CALLS)('a %s that is not stored, with an idempotency key', (_name, call) => {
  it.each(['cut', 'death'] as const)(
    'is generated once and then refused if its write finish has the fault %s',
    async (fault) => {
      const world = await createWorld();
      const { repeated, third, modelCalls } = await repeat(world, call, { store: false }, 'finish', fault);
      expect(modelCalls).toBe(1);
      for (const result of [repeated, third])
        expect(result).toMatchObject({ error: { code: 'idempotent_answer_not_kept' } });
    },
  );
});

it('a repeated stream of a stored chat completion has every field that an upstream has sent', async () => {
  const world = await createWorld();
  await using stack = new AsyncDisposableStack();
  const chunk = (delta: object, more: object = {}): GenerationEvent => ({
    type: 'native',
    event: { object: 'chat.completion.chunk', brand_new: 1, choices: [{ index: 0, delta, ...more }] },
  });
  const call = { id: 'call_1', type: 'function', function: { name: 'f', arguments: '{}' } };
  const script = [
    chunk({ role: 'assistant', content: 'Hel' }),
    chunk({ content: 'lo', annotations: [{ type: 'url_citation' }] }),
    chunk({ tool_calls: [{ index: 0, ...call }] }, { brand_new: 2 }),
    chunk({}, { finish_reason: 'tool_calls' }),
  ];
  const request = {
    model: 'default',
    messages: [{ role: 'user' as const, content: 'Hi' }],
    store: true,
    stream: true as const,
  };
  const first = await world.start('create', 'death', [...script, { type: 'finish', reason: 'stop', usage: undefined }]);
  stack.use(first.service);
  void (async () => {
    for await (const _ of await first.service.client.chat.completions.create(request, optionsOf(world)));
  })().catch(() => {});
  await waitUntil('the process has died', first.isDead);
  world.clock.skewMs += CLAIM_TIMINGS.claimMs;
  const second = await world.start();
  stack.use(second.service);
  const chunks = [];
  for await (const each of await second.service.client.chat.completions.create(request, optionsOf(world)))
    chunks.push(each);
  const delta = { role: 'assistant', content: 'Hello', annotations: [{ type: 'url_citation' }] };
  expect(chunks).toMatchObject([
    {
      brand_new: 1,
      object: 'chat.completion.chunk',
      choices: [{ delta: { ...delta, tool_calls: [{ index: 0, ...call }] }, brand_new: 2, finish_reason: null }],
    },
    { choices: [{ delta: {}, finish_reason: 'tool_calls' }] },
  ]);
  expect(second.service.generationRequests).toEqual([]);
});

describe('a conversation with an idempotency key', () => {
  it.each([
    ['createConversation', 'cut'],
    ['createConversation', 'cutBefore'],
    ['createConversation', 'death'],
    ['finish', 'cut'],
    ['finish', 'cutBefore'],
    ['finish', 'death'],
  ] as const)('is created once if its write %s has the fault %s', async (write, fault) => {
    const world = await createWorld();
    const before = await countConversations();
    const { first, repeated, third } = await repeat(world, createConversation, undefined, write, fault);
    expect(await countConversations()).toBe(before + 1);
    expect(repeated).toMatchObject({ id: expect.stringMatching(/^conv_[0-9a-f]{32}$/) });
    expect(third).toEqual(repeated);
    if (write === 'finish' && fault !== 'death') expect(repeated).toEqual(first);
  });

  it.each([
    ['commitTurn', 'cut'],
    ['commitTurn', 'cutBefore'],
    ['commitTurn', 'death'],
    ['finish', 'cut'],
    ['finish', 'cutBefore'],
    ['finish', 'death'],
  ] as const)('gets its items once if the write %s has the fault %s', async (write, fault) => {
    const world = await createWorld();
    const { repeated, third } = await repeat(world, addItems, undefined, write, fault);
    expect(third).toEqual(repeated);
    expect((await world.readItems()).map(({ id }) => id)).toEqual([Object(repeated).id]);
  });
});

it.each(['cut', 'death'] as const)(
  'a background response becomes one job if its write create has the fault %s',
  async (fault) => {
    const world = await createWorld();
    const { repeated, third } = await repeat(world, createBuffered, { background: true }, 'create', fault);
    expect(third).toEqual(repeated);
    expect(repeated).toMatchObject({ id: expect.stringMatching(/^resp_[0-9a-f]{32}$/) });
  },
);

it('a response that was deleted is not generated again, even if its write finish was lost', async () => {
  const world = await createWorld();
  const first = await world.start('finish', 'cut');
  await using service = first.service;
  const { id } = await createBuffered(service, world);
  await world.deleteJob(id);
  await expect(createBuffered(service, world)).rejects.toMatchObject({ code: 'idempotent_answer_not_kept' });
  expect(service.generationRequests).toHaveLength(1);
});

it('the ids of two operations with the same key and body differ, so an id shows nothing about them', async () => {
  const world = await createWorld();
  const { service } = await world.start();
  await using _ = service;
  const first = await createBuffered(service, world, { background: true });
  world.clock.skewMs += 25 * HOUR_MS;
  expect((await createBuffered(service, world, { background: true })).id).not.toBe(first.id);
});
