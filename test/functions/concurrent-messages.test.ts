import { PutItemCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { createSenderItem } from '../../shared/access/senders.ts';
import { deriveResponseId } from '../../shared/api/queue-message.ts';
import { createDynamoDBFleetStore } from '../../shared/gpu/registry/dynamodb-fleet.ts';
import { createWorker } from '../shared/gpu/fleets.ts';
import type { ReceivedRequest } from '../upstreams/openai-upstream.ts';
import { waitUntil } from '../wait.ts';
import {
  answerByInstruction,
  type Behavior,
  CONCURRENCY,
  createGate,
  findMetrics,
  getInputTokens,
  getModel,
  getTenant,
  type LogLine,
  makeText,
  TENANTS,
} from './concurrency.ts';
import { getFunctionName, type PackagedFunctions, startPackagedFunctions } from './packaged-functions.ts';
import { makeQueueEvent, startTestEnvironment, type TestEnvironment } from './test-environment.ts';

/** Messages of one invocation. */
const BATCH_SIZE = 4;
const BATCHES = CONCURRENCY / BATCH_SIZE;
/** Milliseconds before the function's timeout at which messages are aborted. */
const MARGIN_MS = 8_000;
/** Milliseconds after which hanging messages are aborted: enough to reach the upstream, even on a busy machine. */
const UNTIL_ABORT_MS = 10_000;

/** Milliseconds that the first runs of the sweep have: less than until their second pass, for which they would wait. */
const SWEEP_MS = 14_000;

let testEnvironment: TestEnvironment;
let functions: PackagedFunctions;
let lines: LogLine[];
let passGate: (request: Pick<ReceivedRequest, 'text'>) => Promise<void> = async () => {};

beforeAll(async () => {
  testEnvironment = await startTestEnvironment(
    async (request) => {
      await passGate(request);
      return answerByInstruction(request);
    },
    { aliases: TENANTS.map(getModel), fleet: { stallMs: 600_000, waitMs: 600_000 } },
  );
  const { dynamodb } = testEnvironment.services;
  const Item = createSenderItem('000000000000', {
    keyId: 'tests',
    tenants: TENANTS,
    scopes: ['inference'],
    replyQueues: ['answers'],
  });
  await dynamodb.send(new PutItemCommand({ TableName: 'access', Item }));
  const fleet = createDynamoDBFleetStore(dynamodb, { tableName: 'fleet' });
  for (const id of ['w1', 'w2', 'w3', 'w4']) {
    const { leases: _, ...worker } = createWorker({
      id,
      url: testEnvironment.upstream.baseUrl,
      slots: CONCURRENCY / 2,
    });
    await fleet.register(worker);
  }
  functions = await startPackagedFunctions(['intake', 'generate', 'dispatch', 'sweep'], {
    ...testEnvironment.variables,
    LOG_LEVEL: 'info',
    // No lease may expire before the last of all messages has arrived.
    TIMINGS_DIVISOR: '1',
  });
  lines = functions.lines;
});
afterAll(async () => {
  await functions[Symbol.asyncDispose]();
  await testEnvironment[Symbol.asyncDispose]();
});
beforeEach(() => {
  lines.splice(0);
  passGate = async () => {};
});

type Kind = Behavior | 'refused' | 'forbidden';

/**
 * Outcomes of an aborted job. It counts as fenced if DynamoDB's response to its release is lost, as on a busy machine.
 */
const ABORTED = expect.stringMatching(/^(released|fenced)$/);
/** Every third batch hangs until its deadline. */
const isAborted = (batch: number) => batch % 3 === 2;
const getBatch = (index: number) => Math.floor(index / BATCH_SIZE);
/** Returns how a message is treated. Only messages of aborted batches hang. */
const getKind = (index: number, kinds: readonly Kind[]): Kind =>
  (isAborted(getBatch(index)) ? 'hang' : kinds[index % kinds.length]) ?? 'answer';

/** Prefix of the idempotency keys. Each test has its own. */
let keyPrefix = '';
const makeMessage = (index: number, kind: Kind, model: string) => ({
  version: 1,
  type: 'generate',
  tenant: kind === 'forbidden' ? 'strangers' : getTenant(index),
  idempotencyKey: `${keyPrefix}-${index}`,
  endpoint: '/v1/responses',
  body: {
    model,
    input: makeText(index, kind === 'refused' || kind === 'forbidden' ? 'answer' : kind),
    ...(kind === 'refused' ? { temperature: 9 } : {}),
  },
});
const makeTicket = (index: number) => ({ version: 1, type: 'job', tenant: getTenant(index), id: getJobId(index) });
const getJobId = (index: number) => deriveResponseId(getTenant(index), `${keyPrefix}-${index}`);

const getIndices = (batch: number) => Array.from({ length: BATCH_SIZE }, (_, offset) => batch * BATCH_SIZE + offset);

/** Calls a function with a batch. The request id is `r<batch>`, the message ids are `m<index>`. */
function callBatch(name: string, batch: number, makeBody: (index: number) => unknown): Promise<unknown> {
  const indices = getIndices(batch);
  const { Records } = makeQueueEvent(...indices.map(makeBody));
  const event = { Records: Records.map((record, offset) => ({ ...record, messageId: `m${indices[offset]}` })) };
  return functions.call(name, event, {
    requestId: `r${batch}`,
    ...(isAborted(batch) ? { remainingMs: MARGIN_MS + UNTIL_ABORT_MS } : {}),
  });
}

/**
 * Calls a function with all batches, and asserts that it keeps exactly the messages that `isKept` names. All are in flight
 * before the first answer. Each batch begins when the upstream has the messages of the previous one, so that a busy machine
 * isn't overloaded.
 */
async function callBatches(
  name: string,
  makeBody: (index: number) => unknown,
  { callsUpstream, isKept }: Readonly<Record<'callsUpstream' | 'isKept', (index: number) => boolean>>,
): Promise<void> {
  const { requests } = testEnvironment.upstream;
  const calls: Promise<unknown>[] = [];
  for (let batch = 0; batch < BATCHES; batch += 1) {
    const indices = getIndices(batch);
    const arrived = requests.length + indices.filter(callsUpstream).length;
    const call = callBatch(name, batch, makeBody);
    calls.push(call);
    let ended = false;
    void call.finally(() => {
      ended = true;
    });
    await waitUntil('the requests have arrived', () => ended || requests.length >= arrived);
  }
  for (const [batch, result] of (await Promise.all(calls)).entries()) {
    const { batchItemFailures } = result as { batchItemFailures: { itemIdentifier: string }[] };
    const kept = batchItemFailures.map(({ itemIdentifier }) => itemIdentifier);
    expect(new Set(kept)).toEqual(
      new Set(
        getIndices(batch)
          .filter(isKept)
          .map((index) => `m${index}`),
      ),
    );
  }
}

const findLines = (index: number) => lines.filter(({ messageId }) => messageId === `m${index}`);
const findOutcomes = (index: number) => findLines(index).filter(({ message }) => message === 'job');

/**
 * Asserts that each log line has the id of a message, and no other invocation, tenant, job or model than its own. Lines about
 * the visibility of a whole batch, whose receipt handles SQS doesn't know here, name none of these.
 */
function expectOwnLines(getModelOfMessage: (index: number) => string): void {
  for (const line of lines.filter(({ message }) => message !== undefined)) {
    if (line['message'] === 'visibility not changed') {
      for (const field of ['tenant', 'jobId', 'model']) expect(line).not.toHaveProperty(field);
      continue;
    }
    expect(line['messageId']).toMatch(/^m\d+$/);
    const index = Number(String(line['messageId']).slice(1));
    expect(line['requestId']).toBe(`r${getBatch(index)}`);
    if (line['tenant'] !== undefined) expect(line['tenant']).toBe(getTenant(index));
    if (line['jobId'] !== undefined) expect(line['jobId']).toBe(getJobId(index));
    if (line['model'] !== undefined) expect(line['model']).toBe(getModelOfMessage(index));
  }
}

/** Asserts that the input tokens of exactly these messages were published, each under its own model. */
function expectTokensPublished(
  name: string,
  indices: readonly number[],
  getModelOfMessage: (index: number) => string,
): void {
  const published = lines.flatMap((line) => findMetrics(line, 'InputTokens'));
  const byTokens = (a: (typeof published)[number], b: (typeof published)[number]) =>
    Number(a['InputTokens']) - Number(b['InputTokens']);
  expect(published.toSorted(byTokens)).toEqual(
    indices.map((index) => ({
      FunctionName: getFunctionName(name),
      Model: getModelOfMessage(index),
      InputTokens: getInputTokens(index),
    })),
  );
}

/** Turns messages into jobs. Takes their tickets from the queues, so that only the test's own batches run them. */
async function acceptMessages(
  indices: readonly number[],
  kind: (index: number) => Kind,
  model: (index: number) => string,
): Promise<void> {
  await functions.call(
    'intake',
    makeQueueEvent(...indices.map((index) => makeMessage(index, kind(index), model(index)))),
  );
  await emptyTicketQueues();
  lines.splice(0);
}

async function emptyTicketQueues(): Promise<void> {
  const { jobsQueueUrl, gpuQueueUrl } = testEnvironment;
  for (const url of [jobsQueueUrl, gpuQueueUrl]) await takeTickets(url);
}

/** Takes all tickets from a queue. Returns their bodies. */
async function takeTickets(queueUrl: string): Promise<string[]> {
  const bodies: string[] = [];
  for (;;) {
    const messages = await testEnvironment.services.messagesOf(queueUrl);
    if (messages.length === 0) return bodies;
    bodies.push(...messages.map(({ body }) => body));
  }
}

it('the intake function keeps the log lines of 64 interleaved messages apart', async () => {
  keyPrefix = 'intake';
  const kinds: readonly Kind[] = ['answer', 'refused', 'answer', 'forbidden'];
  const kind = (index: number) => kinds[index % kinds.length] ?? 'answer';
  const makeBody = (index: number) => makeMessage(index, kind(index), getModel(getTenant(index)));
  await callBatches('intake', makeBody, { callsUpstream: () => false, isKept: () => false });

  expectOwnLines((index) => getModel(getTenant(index)));
  for (let index = 0; index < CONCURRENCY; index += 1) {
    const warnings = findLines(index).filter(({ message }) => message === 'message rejected');
    const job = await testEnvironment.jobs.read(getTenant(index), getJobId(index));
    switch (kind(index)) {
      case 'refused':
        expect(warnings).toMatchObject([{ code: 'invalid_value' }]);
        expect(job).toBeUndefined();
        break;
      case 'forbidden':
        expect(warnings).toMatchObject([{ code: 'insufficient_permissions' }]);
        expect(job).toBeUndefined();
        break;
      default:
        expect(warnings).toEqual([]);
        expect(job).toMatchObject({ status: 'queued', model: getModel(getTenant(index)) });
    }
  }
  expect(testEnvironment.upstream.requests).toEqual([]);
});

it('the sweep keeps the log lines and deadlines of 64 runs at once apart, and sends each missing ticket once', async () => {
  keyPrefix = 'sweep';
  const indices = [...Array(CONCURRENCY).keys()];
  await acceptMessages(
    indices,
    () => 'answer',
    () => 'default',
  );
  const { jobs, jobsQueueUrl } = testEnvironment;
  for (const index of indices) {
    const dueAt = Date.now() - 1;
    await jobs.update(getTenant(index), getJobId(index), [], { index: { purpose: 'wake', queue: 'jobs', dueAt } });
  }
  /** One run in four has no time left. */
  const hasTime = (run: number) => run % 4 > 0;
  const sent: string[] = [];
  // On a busy machine, the time of the first runs may end before their pass does. Later ones have more.
  let remainingMs = 0;
  await waitUntil('each job has a ticket', async () => {
    remainingMs += SWEEP_MS;
    await Promise.all(
      indices.map((run) =>
        functions.call('sweep', {}, { requestId: `r${run}`, remainingMs: hasTime(run) ? remainingMs : 0 }),
      ),
    );
    for (const body of await takeTickets(jobsQueueUrl)) sent.push(JSON.parse(body).id);
    return sent.length >= CONCURRENCY;
  });
  expect(sent.toSorted()).toEqual(indices.map(getJobId).toSorted());
  const countSent = () => {
    const swept = lines.filter(({ message }) => message === 'swept');
    return swept.reduce((sum, { ticketsSent }) => sum + Number(ticketsSent), 0);
  };
  await waitUntil('all tickets are logged', () => countSent() >= CONCURRENCY);
  expect(countSent()).toBe(CONCURRENCY);
  // Every 15 minutes, runs look for stranded calls too. Those without time warn of it.
  const messages = lines.filter(({ message }) => message !== undefined && message !== 'limits not swept to the end');
  for (const { message, requestId } of messages) {
    expect(message).toBe('swept');
    expect(indices.filter(hasTime).map((run) => `r${run}`)).toContain(requestId);
  }
});

it('the generate function keeps the log lines, metrics and aborts of 64 interleaved tickets apart', async () => {
  keyPrefix = 'generate';
  const kind = (index: number) => getKind(index, ['answer', 'fail', 'answer', 'answer', 'answer']);
  const indices = [...Array(CONCURRENCY).keys()];
  await acceptMessages(indices, kind, (index) => getModel(getTenant(index)));
  const { requests } = testEnvironment.upstream;
  const before = requests.length;
  const answered = indices.filter((index) => kind(index) === 'answer');
  const failed = indices.filter((index) => kind(index) === 'fail');
  const openGate = createGate(answered.length + failed.length);
  passGate = async ({ text }) => {
    if (!text.includes('please hang')) await openGate();
  };
  await callBatches('generate', makeTicket, { callsUpstream: () => true, isKept: (index) => kind(index) === 'hang' });

  expectOwnLines((index) => getModel(getTenant(index)));
  for (const index of indices) {
    const common = { tenant: getTenant(index), jobId: getJobId(index) };
    const warnings = findLines(index).filter(({ message }) => /^(attempt failed|message rejected)$/.test(`${message}`));
    switch (kind(index)) {
      case 'answer':
        expect(findOutcomes(index)).toMatchObject([
          {
            ...common,
            outcome: 'ended',
            status: 'completed',
            model: getModel(getTenant(index)),
            inputTokens: getInputTokens(index),
          },
        ]);
        expect(warnings).toEqual([]);
        break;
      case 'fail':
        expect(findOutcomes(index)).toMatchObject([{ ...common, outcome: 'ended', status: 'failed' }]);
        expect(warnings).toContainEqual(expect.objectContaining({ model: getModel(getTenant(index)) }));
        break;
      default:
        expect(findOutcomes(index)).toMatchObject([{ ...common, outcome: ABORTED }]);
    }
  }
  expectTokensPublished('generate', answered, (index) => getModel(getTenant(index)));
  for (const request of requests.slice(before)) {
    expect(await request.closedEarly).toBe(request.text.includes('please hang'));
  }
});

it('the dispatch function keeps the log lines, metrics and aborts of 64 interleaved tickets apart', async () => {
  keyPrefix = 'dispatch';
  const kind = (index: number) => getKind(index, ['answer', 'fail', 'answer', 'answer', 'answer']);
  const model = (index: number) => `${getModel(getTenant(index))}-gpu`;
  const indices = [...Array(CONCURRENCY).keys()];
  await acceptMessages(indices, kind, model);
  const { requests } = testEnvironment.upstream;
  const before = requests.length;
  const answered = indices.filter((index) => kind(index) === 'answer');
  const failed = indices.filter((index) => kind(index) === 'fail');
  const openGate = createGate(answered.length + failed.length);
  passGate = async ({ text }) => {
    if (!text.includes('please hang')) await openGate();
  };
  await callBatches('dispatch', makeTicket, { callsUpstream: () => true, isKept: (index) => kind(index) === 'hang' });

  expectOwnLines(model);
  for (const index of indices) {
    const common = { tenant: getTenant(index), jobId: getJobId(index) };
    const warnings = findLines(index).filter(({ message }) => /^(attempt failed|message rejected)$/.test(`${message}`));
    switch (kind(index)) {
      case 'answer':
        expect(findOutcomes(index)).toMatchObject([
          {
            ...common,
            status: 'completed',
            model: model(index),
            worker: expect.stringMatching(/^w\d$/),
            inputTokens: getInputTokens(index),
          },
        ]);
        expect(warnings).toEqual([]);
        break;
      case 'fail':
        expect(findOutcomes(index)).toMatchObject([{ ...common, outcome: 'ended', status: 'failed' }]);
        expect(warnings).toContainEqual(expect.objectContaining({ model: model(index) }));
        break;
      default:
        expect(findOutcomes(index)).toMatchObject([{ ...common, outcome: ABORTED }]);
    }
  }
  expectTokensPublished('dispatch', answered, model);
  for (const request of requests.slice(before)) {
    expect(await request.closedEarly).toBe(request.text.includes('please hang'));
  }
});
