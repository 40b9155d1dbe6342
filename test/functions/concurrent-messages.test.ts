import { PutItemCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, beforeEach, expect, it, vi } from 'vitest';
import { createSenderItem } from '../../shared/access/senders.ts';
import { deriveResponseId } from '../../shared/api/queue-message.ts';
import { createDynamoDBFleetStore } from '../../shared/gpu/registry/dynamodb-fleet.ts';
import { aWorker } from '../shared/gpu/fleets.ts';
import type { ReceivedRequest } from '../upstreams/openai-upstream.ts';
import { waitUntil } from '../wait.ts';
import {
  answerAsAsked,
  type Behavior,
  CONCURRENCY,
  captureLogLines,
  createGate,
  type Handler,
  handlerOf,
  inputTokensOf,
  type LogLine,
  metricsIn,
  modelOf,
  TENANTS,
  tenantOf,
  textOf,
} from './concurrency.ts';
import { makeContext, makeQueueEvent, startTestEnvironment, type TestEnvironment } from './test-environment.ts';

/** Messages of one invocation. */
const BATCH_SIZE = 4;
const BATCHES = CONCURRENCY / BATCH_SIZE;
/** Milliseconds before the function's timeout at which messages are aborted. */
const MARGIN_MS = 8_000;

let surroundings: TestEnvironment;
let generate: Handler;
let dispatch: Handler;
let lines: LogLine[];
let passGate: (request: Pick<ReceivedRequest, 'text'>) => Promise<void> = async () => {};

beforeAll(async () => {
  surroundings = await startTestEnvironment(
    async (request) => {
      await passGate(request);
      return answerAsAsked(request);
    },
    { aliases: TENANTS.map(modelOf), fleet: { stallMs: 20_000, waitMs: 20_000 } },
  );
  const { dynamodb } = surroundings.services;
  const Item = createSenderItem('000000000000', { keyId: 'tests', tenants: TENANTS, scopes: ['inference'] });
  await dynamodb.send(new PutItemCommand({ TableName: 'access', Item }));
  const fleet = createDynamoDBFleetStore(dynamodb, { tableName: 'fleet' });
  for (const id of ['w1', 'w2', 'w3', 'w4']) {
    const { leases: _, ...worker } = aWorker({ id, url: surroundings.upstream.baseUrl, slots: CONCURRENCY / 2 });
    await fleet.register(worker);
  }
  for (const [name, value] of Object.entries(surroundings.environment)) vi.stubEnv(name, value);
  vi.stubEnv('LOG_LEVEL', 'info');
  [generate, dispatch] = await Promise.all([
    import('../../functions/generate.ts').then(handlerOf),
    import('../../functions/dispatch.ts').then(handlerOf),
  ]);
  lines = captureLogLines();
});
afterAll(async () => {
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
  await surroundings[Symbol.asyncDispose]();
});
beforeEach(() => {
  lines.splice(0);
  passGate = async () => {};
});

type Kind = Behavior | 'refused' | 'forbidden';

/** A batch in three ends before its function's time is up, and hangs until then. */
const isAborted = (batch: number) => batch % 3 === 2;
const batchOf = (index: number) => Math.floor(index / BATCH_SIZE);
/** What a message asks for: one that hangs is always in a batch that is aborted. */
const kindOf = (index: number, kinds: readonly Kind[]): Kind =>
  (isAborted(batchOf(index)) ? 'hang' : kinds[index % kinds.length]) ?? 'answer';

/** Part of the idempotency keys: each test has its own. */
let keyPrefix = '';
const messageOf = (index: number, kind: Kind, model: string) => ({
  version: 1,
  type: 'generate',
  tenant: kind === 'forbidden' ? 'strangers' : tenantOf(index),
  idempotencyKey: `${keyPrefix}-${index}`,
  endpoint: '/v1/responses',
  body: {
    model,
    input: textOf(index, kind === 'refused' || kind === 'forbidden' ? 'answer' : kind),
    ...(kind === 'refused' ? { temperature: 9 } : {}),
  },
});
const jobIdOf = (index: number) => deriveResponseId(tenantOf(index), `${keyPrefix}-${index}`);

/** Calls a handler with a batch. The request's id is `r<batch>`, the messages' are `m<index>`. */
function callBatch(handler: Handler, batch: number, bodyOf: (index: number) => unknown): Promise<unknown> {
  const indices = Array.from({ length: BATCH_SIZE }, (_, offset) => batch * BATCH_SIZE + offset);
  const { Records } = makeQueueEvent(...indices.map(bodyOf));
  const event = { Records: Records.map((record, offset) => ({ ...record, messageId: `m${indices[offset]}` })) };
  return handler(event, makeContext(isAborted(batch) ? MARGIN_MS + 1_500 : 60_000, `r${batch}`));
}

const linesOf = (index: number) => lines.filter(({ messageId }) => messageId === `m${index}`);
const outcomesOf = (index: number) => linesOf(index).filter(({ message }) => message === 'job');

/** Asserts that every log line names one of the messages, and that message's invocation, tenant, job and model. */
function expectOwnLines(modelOfMessage: (index: number) => string): void {
  for (const line of lines.filter(({ message }) => message !== undefined)) {
    expect(line['messageId']).toMatch(/^m\d+$/);
    const index = Number(String(line['messageId']).slice(1));
    expect(line['requestId']).toBe(`r${batchOf(index)}`);
    if (line['tenant'] !== undefined) expect(line['tenant']).toBe(tenantOf(index));
    if (line['jobId'] !== undefined) expect(line['jobId']).toBe(jobIdOf(index));
    if (line['model'] !== undefined) expect(line['model']).toBe(modelOfMessage(index));
  }
}

/** Asserts that exactly these messages' input tokens were counted, each under its own model. */
function expectTokensPublished(indices: readonly number[], modelOfMessage: (index: number) => string): void {
  const published = lines.flatMap((line) => metricsIn(line, 'InputTokens'));
  const byTokens = (a: (typeof published)[number], b: (typeof published)[number]) =>
    Number(a['InputTokens']) - Number(b['InputTokens']);
  expect(published.toSorted(byTokens)).toEqual(
    indices.map((index) => ({
      FunctionName: 'local',
      Model: modelOfMessage(index),
      InputTokens: inputTokensOf(index),
    })),
  );
}

it('the generate function keeps the log lines, metrics and aborts of 64 interleaved messages apart', async () => {
  keyPrefix = 'generate';
  const kind = (index: number) =>
    kindOf(index, ['answer', 'fail', 'answer', 'refused', 'answer', 'answer', 'forbidden']);
  const indices = [...Array(CONCURRENCY).keys()];
  const answered = indices.filter((index) => kind(index) === 'answer');
  const failed = indices.filter((index) => kind(index) === 'fail');
  const openGate = createGate(answered.length + failed.length);
  const calls = Array.from({ length: BATCHES }, (_, batch) =>
    callBatch(generate, batch, (index) => messageOf(index, kind(index), modelOf(tenantOf(index)))),
  );
  const aborts = Promise.all(calls.filter((_, batch) => isAborted(batch)));
  passGate = async ({ text }) => {
    if (text.includes('please hang')) return;
    await aborts;
    await openGate();
  };
  for (const result of await Promise.all(calls)) expect(result).toEqual({ batchItemFailures: [] });

  expectOwnLines((index) => modelOf(tenantOf(index)));
  for (const index of indices) {
    const common = { tenant: tenantOf(index), jobId: jobIdOf(index) };
    const warnings = linesOf(index).filter(({ level }) => level === 'warn');
    switch (kind(index)) {
      case 'answer':
        expect(outcomesOf(index)).toMatchObject([
          {
            ...common,
            outcome: 'ended',
            status: 'completed',
            model: modelOf(tenantOf(index)),
            inputTokens: inputTokensOf(index),
          },
        ]);
        expect(warnings).toEqual([]);
        break;
      case 'fail':
        expect(outcomesOf(index)).toMatchObject([{ ...common, outcome: 'ended', status: 'failed' }]);
        expect(warnings).toContainEqual(expect.objectContaining({ model: modelOf(tenantOf(index)) }));
        break;
      case 'refused':
        expect(warnings).toMatchObject([{ message: 'message rejected', code: 'invalid_value' }]);
        break;
      case 'forbidden':
        expect(warnings).toMatchObject([{ message: 'message rejected', code: 'insufficient_permissions' }]);
        break;
      default:
        expect(outcomesOf(index)).toMatchObject([{ ...common, outcome: 'paused', status: 'queued' }]);
    }
  }
  expectTokensPublished(answered, (index) => modelOf(tenantOf(index)));
  for (const request of surroundings.upstream.requests) {
    expect(await request.closedEarly).toBe(request.text.includes('please hang'));
  }
});

it('the dispatch function keeps the log lines, metrics and aborts of 64 interleaved messages apart', async () => {
  keyPrefix = 'dispatch';
  const kind = (index: number) => kindOf(index, ['answer', 'fail', 'answer', 'answer', 'answer']);
  const model = (index: number) => `${modelOf(tenantOf(index))}-gpu`;
  const indices = [...Array(CONCURRENCY).keys()];
  // The jobs exist and have been forwarded to the queue of dispatch.
  await Promise.all(
    indices.map((index) => generate(makeQueueEvent(messageOf(index, kind(index), model(index))), makeContext())),
  );
  lines.splice(0);
  const { requests } = surroundings.upstream;
  const before = requests.length;
  const answered = indices.filter((index) => kind(index) === 'answer');
  const failed = indices.filter((index) => kind(index) === 'fail');
  const openGate = createGate(answered.length + failed.length);
  passGate = async ({ text }) => {
    if (!text.includes('please hang')) await openGate();
  };
  // Every batch that answers is in flight before the first answer comes. A batch begins when the messages of the one
  // before are with their workers, lest they contend for slots longer than batch work waits for one.
  const calls: Promise<unknown>[] = [];
  for (let batch = 0; batch < BATCHES; batch += 1) {
    const arrived = requests.length + BATCH_SIZE;
    const call = callBatch(dispatch, batch, (index) => ({
      version: 1,
      type: 'job',
      tenant: tenantOf(index),
      id: jobIdOf(index),
    }));
    calls.push(call);
    let ended = false;
    void call.finally(() => {
      ended = true;
    });
    await waitUntil('the requests have arrived', () => ended || requests.length >= arrived);
  }
  for (const result of await Promise.all(calls)) expect(result).toEqual({ batchItemFailures: [] });

  expectOwnLines(model);
  for (const index of indices) {
    const common = { tenant: tenantOf(index), jobId: jobIdOf(index) };
    const warnings = linesOf(index).filter(({ level }) => level === 'warn');
    switch (kind(index)) {
      case 'answer':
        expect(outcomesOf(index)).toMatchObject([
          {
            ...common,
            status: 'completed',
            model: model(index),
            worker: expect.stringMatching(/^w\d$/),
            inputTokens: inputTokensOf(index),
          },
        ]);
        expect(warnings).toEqual([]);
        break;
      case 'fail':
        expect(outcomesOf(index)).toMatchObject([{ ...common, outcome: 'ended', status: 'failed' }]);
        expect(warnings).toContainEqual(expect.objectContaining({ model: model(index) }));
        break;
      default:
        expect(outcomesOf(index)).toMatchObject([{ ...common, outcome: 'paused', status: 'queued' }]);
    }
  }
  expectTokensPublished(answered, model);
  for (const request of requests.slice(before)) {
    expect(await request.closedEarly).toBe(request.text.includes('please hang'));
  }
});
