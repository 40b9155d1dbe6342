import { ScanCommand } from '@aws-sdk/client-dynamodb';
import type OpenAI from 'openai';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { ApiState } from '../../../shared/api/api-state.ts';
import { createConversationStep } from '../../../shared/api/conversation-step.ts';
import { createInputPreparation } from '../../../shared/api/input-preparation.ts';
import { viewStoredResponse } from '../../../shared/api/stored-response.ts';
import type { GenerationRequest } from '../../../shared/inference/generation.ts';
import { UpstreamError } from '../../../shared/inference/model.ts';
import { createBodies } from '../../../shared/jobs/bodies.ts';
import { deleteJob } from '../../../shared/jobs/control.ts';
import { createDynamoDBBlobs } from '../../../shared/jobs/dynamodb-blobs.ts';
import { createDynamoDBStore } from '../../../shared/jobs/dynamodb-store.ts';
import { createEventLog } from '../../../shared/jobs/event-log.ts';
import { createJobList } from '../../../shared/jobs/job-list.ts';
import { JOB_TIMINGS } from '../../../shared/jobs/timings.ts';
import { runJob } from '../../../shared/jobs/worker.ts';
import { createConversationTable } from '../../../shared/sessions/conversation-table.ts';
import { createConversations } from '../../../shared/sessions/conversations.ts';
import type { Vault } from '../../../shared/vault/vault.ts';
import { makeAnswer } from '../inference/requests.ts';
import { HOUR_MS } from '../jobs/jobs.ts';
import { recordTickets } from '../jobs/recorded-tickets.ts';
import { makeWorkerCall } from '../jobs/worker-call.ts';
import { startStores } from '../sessions/services.ts';
import { answerWith } from './answer-with.ts';
import { rejectLimits } from './receiver-ports.ts';
import { createTestRegistry, startService, TENANT } from './service.ts';

const MARKER = 'canary-7d3c91';
const MODEL = 'default';

/** Remembers the plaintext of everything that it seals. */
function recordPlaintexts(vault: Vault) {
  const plaintexts = new Map<string, string>();
  const keyOf = (sealed: Uint8Array) => Buffer.from(sealed).toString('base64');
  const remember = (sealed: Uint8Array, plaintext: Uint8Array): Uint8Array => {
    plaintexts.set(keyOf(sealed), Buffer.from(plaintext).toString('utf8'));
    return sealed;
  };
  return {
    vault: {
      ...vault,
      async seal(...[name, plaintext]: Parameters<Vault['seal']>) {
        return remember(await vault.seal(name, plaintext), plaintext);
      },
      async prepareSeal(...[name]: Parameters<Vault['prepareSeal']>) {
        const seal = await vault.prepareSeal(name);
        return (plaintext: Uint8Array) => remember(seal(plaintext), plaintext);
      },
    },
    open: (sealed: Uint8Array) => plaintexts.get(keyOf(sealed)),
  };
}

/** Creates the API's stores in one table and one bucket, and a worker for the jobs in them. */
async function createWorld() {
  const stores = await startStores();
  onTestFinished(() => stores[Symbol.asyncDispose]());
  const { vault, open } = recordPlaintexts(stores.vault);
  const { client, tableName, bucket } = stores;
  const clock = { now: Date.now() };
  const now = () => clock.now;
  const conversations = createConversations({
    table: createConversationTable(client, tableName, bucket),
    vault,
    retentionDays: 30,
  });
  const blobs = createDynamoDBBlobs(client, { tableName, bucket });
  const state: ApiState = {
    vault,
    jobs: createDynamoDBStore(client, { tableName, shards: 1 }),
    bodies: createBodies(vault, blobs),
    events: createEventLog(vault, blobs),
    queue: recordTickets(),
    chats: createJobList(client, tableName, vault),
    conversations,
    openQueueLimits: rejectLimits,
    openStorageLimits: rejectLimits,
    lifetime: { deadlineMs: HOUR_MS, retentionMs: HOUR_MS },
    timings: JOB_TIMINGS,
  };
  const key = { tenant: TENANT, id: 'conv_1' };
  const addItem = async (text: string) => {
    const turn = await conversations.beginTurn(key, `items_${text}`);
    await turn.commit([createItem(text)]);
  };
  await conversations.create(key, {}, [createItem(`${MARKER} first`)]);
  const asked: GenerationRequest[] = [];
  const failures: Error[] = [];
  let owners = 0;
  const registry = createTestRegistry();
  const worker = {
    ...state,
    answerJob: answerWith(async (request) => {
      asked.push(request);
      const failure = failures.shift();
      if (failure !== undefined) throw failure;
      return {
        events: (async function* () {
          yield* makeAnswer('Fine');
        })(),
      };
    }, now),
    prepareInput: createInputPreparation({ registry, conversations, jobs: state.jobs, bodies: state.bodies, vault }),
    steps: { conversation: createConversationStep(conversations) },
    onStepFailed: async () => {},
    onError: () => {},
    ids: () => `owner${++owners}`,
    random: () => 0,
    now,
    sleep: async () => {},
  };
  return {
    key,
    state,
    conversations,
    clock,
    addItem,
    /** The next attempts fail with these errors. */
    failures,
    /** The texts of the messages of the last request to the model. */
    readAskedTexts: () => asked.at(-1)?.messages.flatMap(({ content }) => content.map((part) => Object(part).text)),
    countAsked: () => asked.length,
    run: (id: string) => runJob({ tenant: TENANT, id }, worker, makeWorkerCall({ deadlineAt: clock.now + HOUR_MS })),
    async retrieve(id: string) {
      const job = await state.jobs.read(TENANT, id);
      return job && (await viewStoredResponse(job, state));
    },
    /** Returns the decrypted records and the keys of all items and objects that contain the marker. */
    async findMarker(): Promise<string[]> {
      const found: string[] = [];
      const look = (where: string, sealed: Uint8Array) => {
        if (open(sealed)?.includes(MARKER) || Buffer.from(sealed).includes(MARKER)) found.push(where);
      };
      const { Items = [] } = await client.send(new ScanCommand({ TableName: tableName }));
      for (const item of Items) {
        const where = `${item['pk']?.S} ${item['sk']?.S}`;
        if (JSON.stringify(item).includes(MARKER)) found.push(where);
        for (const { B } of Object.values(item)) if (B !== undefined) look(where, B);
      }
      for (const objectKey of await bucket.list('')) {
        if (objectKey.includes(MARKER)) found.push(objectKey);
        look(objectKey, (await bucket.get(objectKey)) ?? new Uint8Array());
      }
      return found;
    },
  };
}

let itemCount = 0;
function createItem(text: string) {
  itemCount += 1;
  const id = `msg_${String(itemCount).padStart(40, '0')}`;
  return { id, content: { item: { id, type: 'message', role: 'user', content: [{ type: 'input_text', text }] } } };
}

async function createResponse(
  client: OpenAI,
  more: Partial<OpenAI.Responses.ResponseCreateParamsNonStreaming>,
): Promise<string> {
  return (await client.responses.create({ model: MODEL, input: 'Go on', ...more })).id;
}

describe('a deleted conversation', () => {
  it('leaves no copy in a background response that waits, which fails with a clear error when it runs', async () => {
    const { key, state, conversations, findMarker, run, retrieve, countAsked } = await createWorld();
    await using service = await startService([], undefined, state);
    const id = await createResponse(service.client, { background: true, conversation: key.id });
    expect((await findMarker()).every((where) => where.includes(key.id))).toBe(true);
    expect(await findMarker()).not.toEqual([]);
    await conversations.delete(key);
    expect(await findMarker()).toEqual([]);
    expect(await run(id)).toMatchObject({ kind: 'ended', job: { status: 'failed', errorCode: 'not_found' } });
    expect(countAsked()).toBe(0);
    expect(await retrieve(id)).toMatchObject({
      status: 'failed',
      error: { message: 'The conversation of this response was deleted before the response was generated.' },
    });
  });

  it('leaves no copy in responses that have ended, in the background or not', async () => {
    const { key, state, conversations, findMarker, run, retrieve, readAskedTexts } = await createWorld();
    await using service = await startService([makeAnswer('Sure')], undefined, state);
    await createResponse(service.client, { conversation: key.id });
    const id = await createResponse(service.client, { background: true, conversation: key.id });
    expect(await run(id)).toMatchObject({ kind: 'ended', job: { status: 'completed' } });
    expect(readAskedTexts()).toEqual([`${MARKER} first`, 'Go on', 'Sure', 'Go on']);
    await conversations.delete(key);
    expect(await findMarker()).toEqual([]);
    expect(await retrieve(id)).toMatchObject({ status: 'completed', conversation: { id: key.id } });
  });

  it('leaves no copy in a response of which an attempt has failed', async () => {
    const { key, state, conversations, findMarker, run, failures, clock } = await createWorld();
    await using service = await startService([], undefined, state);
    const id = await createResponse(service.client, { background: true, conversation: key.id });
    failures.push(new UpstreamError('rate_limit_exceeded', 'Too many requests', { recovery: 'retry' }));
    expect(await run(id)).toMatchObject({ kind: 'released' });
    await conversations.delete(key);
    expect(await findMarker()).toEqual([]);
    clock.now += HOUR_MS / 2;
    expect(await run(id)).toMatchObject({ kind: 'ended', job: { status: 'failed', errorCode: 'not_found' } });
  });
});

describe('content that is stored in the bucket', () => {
  const LARGE = `${MARKER} ${'x'.repeat(30_000)}`;
  const isObject = (where: string) => where.startsWith(`${TENANT}/`);

  it('of a deleted conversation is left in no object and no other record', async () => {
    const { key, state, conversations, addItem, findMarker, run } = await createWorld();
    await addItem(LARGE);
    await using service = await startService([makeAnswer('Sure')], undefined, state);
    await createResponse(service.client, { conversation: key.id });
    const id = await createResponse(service.client, { background: true, conversation: key.id });
    expect((await findMarker()).filter(isObject)).toHaveLength(1);
    expect(await run(id)).toMatchObject({ kind: 'ended', job: { status: 'completed' } });
    await conversations.delete(key);
    expect(await findMarker()).toEqual([]);
  });

  it('of a deleted response is left in no object and no other record', async () => {
    const { key, state, conversations, findMarker, run } = await createWorld();
    await conversations.delete(key);
    await using service = await startService([makeAnswer(LARGE), makeAnswer('Sure')], undefined, state);
    const first = await createResponse(service.client, { input: LARGE });
    await createResponse(service.client, { previous_response_id: first });
    const id = await createResponse(service.client, { background: true, previous_response_id: first });
    expect(await run(id)).toMatchObject({ job: { status: 'completed' } });
    // Its input and its output.
    expect((await findMarker()).filter(isObject)).toHaveLength(2);
    await deleteJob(state, TENANT, first);
    expect(await findMarker()).toEqual([]);
  });
});

describe('a background response of a conversation', () => {
  it('is generated from the items that preceded it, without those that were added or deleted since', async () => {
    const { key, state, conversations, addItem, run, readAskedTexts, failures, clock } = await createWorld();
    await addItem('second');
    await using service = await startService([], undefined, state);
    const id = await createResponse(service.client, { background: true, conversation: key.id });
    await addItem('third');
    failures.push(new UpstreamError('rate_limit_exceeded', 'Too many requests', { recovery: 'retry' }));
    await run(id);
    expect(readAskedTexts()).toEqual([`${MARKER} first`, 'second', 'Go on']);
    const { items } = await conversations.list(key, { newestFirst: false, limit: 1 });
    await conversations.deleteItem(key, items[0]?.id ?? '');
    clock.now += HOUR_MS / 2;
    expect(await run(id)).toMatchObject({ kind: 'ended', job: { status: 'completed' } });
    expect(readAskedTexts()).toEqual(['second', 'Go on']);
    const after = await conversations.list(key, { newestFirst: false, limit: 10 });
    expect(after.items.map(({ content }) => Object(content).item.content[0].text)).toEqual([
      'second',
      'third',
      'Go on',
      'Fine',
    ]);
  });

  it('has a ticket that counts the bytes of its context', async () => {
    const { key, state, addItem } = await createWorld();
    await addItem('x'.repeat(50_000));
    await using service = await startService([], undefined, state);
    const id = await createResponse(service.client, { background: true, conversation: key.id });
    const job = await state.jobs.read(TENANT, id);
    expect(job?.input.sizeBytes).toBeLessThan(2_000);
    expect(job?.contextBytes).toBeGreaterThan(50_000);
    expect(Object(state.queue).tickets.at(-1).bytes).toBeGreaterThan(50_000);
  });

  it('is generated from the messages in its input if the previous version stored them', async () => {
    const { key, state, conversations, run, readAskedTexts } = await createWorld();
    await using service = await startService([], undefined, state);
    const id = await createResponse(service.client, { background: true, conversation: key.id });
    const job = await state.jobs.read(TENANT, id);
    if (job === undefined) throw new Error('The response has no job');
    const name = { tenant: TENANT, id, kind: 'input', epoch: 0, expiresAt: job.expiresAt } as const;
    const { context: _, ...input } = Object(await state.bodies.read(name, job.input));
    const messages = [{ role: 'user', content: [{ type: 'text', text: 'stored' }] }];
    await state.bodies.write(name, { ...input, generation: { ...input.generation, messages } });
    await conversations.delete(key);
    expect(await run(id)).toMatchObject({ kind: 'ended', job: { status: 'completed' } });
    expect(readAskedTexts()).toEqual(['stored']);
  });
});

describe('a deleted response', () => {
  it('leaves no copy in a background response that continues it, which fails with a clear error', async () => {
    const { key, state, conversations, findMarker, run, retrieve } = await createWorld();
    await conversations.delete(key);
    await using service = await startService([makeAnswer(`${MARKER} answer`)], undefined, state);
    const first = await createResponse(service.client, { input: `${MARKER} asked` });
    const id = await createResponse(service.client, { background: true, previous_response_id: first });
    expect(await findMarker()).not.toEqual([]);
    await deleteJob(state, TENANT, first);
    expect(await findMarker()).toEqual([]);
    expect(await run(id)).toMatchObject({ job: { status: 'failed', errorCode: 'previous_response_not_found' } });
    expect(await retrieve(id)).toMatchObject({
      error: { message: 'A previous response was deleted, or has expired, before this response was generated.' },
    });
  });

  it('leaves no copy in responses that continued it', async () => {
    const { key, state, conversations, findMarker, run, readAskedTexts } = await createWorld();
    await conversations.delete(key);
    await using service = await startService([makeAnswer(`${MARKER} answer`), makeAnswer('Sure')], undefined, state);
    const first = await createResponse(service.client, { input: `${MARKER} asked` });
    const second = await createResponse(service.client, { previous_response_id: first });
    const third = await createResponse(service.client, { background: true, previous_response_id: second });
    expect(await run(third)).toMatchObject({ job: { status: 'completed' } });
    expect(readAskedTexts()).toEqual([`${MARKER} asked`, `${MARKER} answer`, 'Go on', 'Sure', 'Go on']);
    await deleteJob(state, TENANT, first);
    expect(await findMarker()).toEqual([]);
  });
});
