import { SetQueueAttributesCommand } from '@aws-sdk/client-sqs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createConversationStep } from '../../../shared/api/conversation-step.ts';
import { createReplyStep } from '../../../shared/api/reply-queue.ts';
import { type ErrorCode, LambentError } from '../../../shared/core/errors.ts';
import { createBodies } from '../../../shared/jobs/bodies.ts';
import { StepFailedError } from '../../../shared/jobs/completion.ts';
import type { Job } from '../../../shared/jobs/job.ts';
import { createMemoryStore } from '../../../shared/jobs/memory-store.ts';
import type { Bodies } from '../../../shared/jobs/ports.ts';
import { createSendText } from '../../../shared/jobs/ticket-queue.ts';
import { JOB_TIMINGS } from '../../../shared/jobs/timings.ts';
import { aJob, anInput, START } from '../jobs/jobs.ts';
import { createMemoryBlobs } from '../jobs/memory-blobs.ts';
import { recordTickets } from '../jobs/recorded-tickets.ts';
import { aVault, type Services, startServices } from '../jobs/services.ts';
import { sweepOnce } from '../jobs/sweep-once.ts';

let services: Services;
beforeAll(async () => {
  services = await startServices();
});
afterAll(() => services[Symbol.asyncDispose]());

const { tenant, id, expiresAt } = aJob();

interface EndedJobOptions {
  readonly text?: string;
  readonly errorCode?: ErrorCode;
  readonly idempotencyKey?: string;
}

/** Creates an ended job with output or `errorCode`, whose completion steps are pending, and a real reply queue. */
async function createEndedJob({ text = 'Hello', errorCode, idempotencyKey = 'key' }: EndedJobOptions = {}) {
  const queueUrl = await services.newQueue();
  /** Sets the largest message that the queue accepts, in bytes. */
  const limitSize = async (bytes: number) => {
    const Attributes = { MaximumMessageSize: String(bytes) };
    await services.sqs.send(new SetQueueAttributesCommand({ QueueUrl: queueUrl, Attributes }));
  };
  const bodies = createBodies(aVault(), createMemoryBlobs());
  const jobs = createMemoryStore(() => START);
  const input = await bodies.write(
    { tenant, id, kind: 'input', epoch: 0, expiresAt },
    { ...anInput(), idempotencyKey },
  );
  const answer = { object: 'response', id, output: [{ type: 'message', content: [{ type: 'output_text', text }] }] };
  const output = await bodies.write({ tenant, id, kind: 'output', epoch: 1, expiresAt }, { answer });
  const fanIn = ['conversation', 'reply'] as const;
  const ended: Partial<Job> =
    errorCode === undefined ? { status: 'completed', output } : { status: 'failed', errorCode };
  const pending = { epoch: 1, attempts: 1, completedAt: START, fanIn };
  await jobs.create(aJob({ input, replyTo: 'answers', conversation: 'conv_1', ...ended, ...pending }), {
    purpose: 'step',
    dueAt: START,
  });
  const turns: string[] = [];
  const errors: unknown[] = [];
  const steps = {
    conversation: createConversationStep({
      appendFinishedTurn: async (_conversation: unknown, turn: string) => void turns.push(turn),
    }),
    reply: createReplyStep({ answers: queueUrl }, createSendText(services.sqs)),
  };
  const onError = (_message: string, thrown: unknown) => void errors.push(thrown);
  return {
    answer,
    limitSize,
    turns,
    errors,
    job: () => jobs.read(tenant, id),
    /** Runs the sweep once. `overrides` replace methods of the body store. */
    sweep: async (overrides: Partial<Bodies> = {}, at = START) => {
      const ports = { jobs, bodies: { ...bodies, ...overrides }, steps, onError, onStepFailed: async () => {} };
      const rest = { queue: recordTickets(), timings: JOB_TIMINGS, shards: 1, now: () => at };
      return (await sweepOnce({ ...ports, ...rest })).step;
    },
    async answers() {
      return (await services.messagesOf(queueUrl)).map(({ body }) => JSON.parse(body));
    },
    /** Returns a `read` that fails with `code` for these kinds of bodies. */
    failing: (code: ErrorCode, ...kinds: string[]): Pick<Bodies, 'read'> => ({
      read: async (name, ref) => {
        if (kinds.includes(name.kind)) throw new LambentError(code, name.kind);
        return bodies.read(name, ref);
      },
    }),
  };
}

it.each([
  ['characters that XML forbids', 'a\ufffe b\uffff'],
  ['control characters', 'a\u0000 \u001b[1m b\u007f \u0085'],
  ['characters outside the Basic Multilingual Plane', 'Grüße 🌍 𝄞'],
  ['unpaired surrogates', 'a\ud83c b\udf0d'],
])('a response with %s is delivered unchanged', async (_name, text) => {
  const { answer, job, sweep, answers } = await createEndedJob({ text });
  expect(await sweep()).toMatchObject({ completed: 1, failed: 0 });
  expect(await answers()).toMatchObject([{ status: 'completed', response: answer }]);
  expect((await job())?.fanIn).toBeUndefined();
});

it('a response is delivered if its size in bytes is within the limit of SQS', async () => {
  const { answer, sweep, answers } = await createEndedJob({ text: '€'.repeat(333_000) });
  await sweep();
  expect(await answers()).toMatchObject([{ response: answer }]);
});

it('a message is sent without the response if that is too large for the reply queue', async () => {
  const { job, sweep, answers, limitSize } = await createEndedJob({ text: 'x'.repeat(3_000) });
  await limitSize(2_048);
  expect(await sweep()).toMatchObject({ completed: 1, failed: 0 });
  const sent = await answers();
  expect(sent).toEqual([{ version: 1, type: 'answer', tenant, id, idempotencyKey: 'key', status: 'completed' }]);
  expect((await job())?.fanIn).toBeUndefined();
});

it('a message that is too large for the reply queue without the response, too, is given up', async () => {
  const { job, sweep, answers, limitSize } = await createEndedJob({ idempotencyKey: '\u0000'.repeat(255) });
  await limitSize(1_024);
  expect(await sweep()).toMatchObject({ completed: 1, failed: 0 });
  expect(await answers()).toEqual([]);
  expect((await job())?.fanIn).toBeUndefined();
});

describe.each(['record_unreadable', 'tenant_deleted'] as const)('a body that fails with %s', (code) => {
  it('a job whose input is unreadable is delivered with its output', async () => {
    const { answer, turns, errors, job, failing, sweep, answers } = await createEndedJob();
    expect(await sweep(failing(code, 'input'))).toMatchObject({ completed: 1, failed: 0 });
    expect(await answers()).toMatchObject([{ id, status: 'completed', response: answer }]);
    expect(turns).toEqual([]);
    expect(errors).toMatchObject([{ code }]);
    expect(await job()).toMatchObject({ status: 'completed' });
    expect((await job())?.dueAt).toBeUndefined();
  });

  it('a job whose output is unreadable is delivered with an error', async () => {
    const { turns, job, failing, sweep, answers } = await createEndedJob();
    expect(await sweep(failing(code, 'output'))).toMatchObject({ completed: 1, failed: 0 });
    const error = { code: 'record_unreadable' };
    expect(await answers()).toMatchObject([{ id, status: 'completed', response: { error } }]);
    expect(turns).toEqual([]);
    expect((await job())?.dueAt).toBeUndefined();
  });

  it('a failed job whose input is unreadable is delivered with its error', async () => {
    const { failing, sweep, answers } = await createEndedJob({ errorCode: code });
    expect(await sweep(failing(code, 'input'))).toMatchObject({ completed: 1, failed: 0 });
    expect(await answers()).toMatchObject([{ id, status: 'failed', response: { error: { code } } }]);
  });
});

describe('a body whose external key can not be used', () => {
  const code = 'external_key_unavailable';

  it('a failed job is delivered with its error at once', async () => {
    const { failing, sweep, answers } = await createEndedJob({ errorCode: code });
    expect(await sweep(failing(code, 'input'))).toMatchObject({ completed: 1, failed: 0 });
    expect(await answers()).toMatchObject([{ id, status: 'failed', response: { error: { code } } }]);
  });

  it('an answer waits for its key, for as long as steps are repeated', async () => {
    const { answer, failing, sweep, answers } = await createEndedJob();
    expect(await sweep(failing(code, 'output'))).toMatchObject({ completed: 0, failed: 1 });
    expect(await answers()).toEqual([]);
    expect(await sweep({}, START + 3_600_000)).toMatchObject({ completed: 1 });
    expect(await answers()).toMatchObject([{ response: answer }]);
  });

  it('an answer is given up when steps are no longer repeated', async () => {
    const { failing, sweep, answers } = await createEndedJob();
    const at = START + JOB_TIMINGS.stepsEndMs + 1;
    expect(await sweep(failing(code, 'output'), at)).toMatchObject({ completed: 1, failed: 0 });
    expect(await answers()).toMatchObject([{ response: { error: { code: 'record_unreadable' } } }]);
  });
});

describe('a completion step that can never succeed', () => {
  const refused = (name: string) => Object.assign(new Error('refused'), { name, $metadata: {} });
  const ended = { job: aJob({ conversation: 'conv_1', replyTo: 'answers' }), input: anInput(), output: { answer: {} } };
  const failing = (thrown: Error) => ({
    reply: createReplyStep({ answers: 'http://127.0.0.1/answers' }, () => Promise.reject(thrown)),
    conversation: createConversationStep({ appendFinishedTurn: () => Promise.reject(thrown) }),
  });

  it('a reply that SQS refuses for its content is given up, and any other is repeated', async () => {
    await expect(failing(refused('InvalidMessageContents')).reply(ended)).rejects.toThrow(StepFailedError);
    for (const name of ['QueueDoesNotExist', 'AccessDenied', 'RequestThrottled'])
      await expect(failing(refused(name)).reply(ended)).rejects.toMatchObject({ name });
  });

  it('a turn that DynamoDB refuses for its content is given up, and any other is repeated', async () => {
    await expect(failing(refused('ValidationException')).conversation(ended)).rejects.toThrow(StepFailedError);
    for (const name of ['ProvisionedThroughputExceededException', 'TimeoutError'])
      await expect(failing(refused(name)).conversation(ended)).rejects.toMatchObject({ name });
  });
});

it('a job whose bodies are temporarily unavailable is delivered later', async () => {
  const { job, failing, sweep, answers } = await createEndedJob();
  expect(await sweep(failing('vault_unavailable', 'input'))).toMatchObject({ completed: 0, failed: 1 });
  expect(await answers()).toEqual([]);
  expect(await job()).toMatchObject({ fanIn: ['conversation', 'reply'], dueAt: START + 60_000 });
});
