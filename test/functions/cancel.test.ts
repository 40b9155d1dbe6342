import { DeleteQueueCommand } from '@aws-sdk/client-sqs';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { deriveResponseId } from '../../shared/api/queue-message.ts';
import { callHttp, makeHttpEvent, stubStreamingGlobals } from './concurrency.ts';
import {
  getHandler,
  type Handler,
  makeContext,
  makeQueueEvent,
  startTestEnvironment,
  type TestEnvironment,
} from './test-environment.ts';

const TENANT = 'local';

let testEnvironment: TestEnvironment;
let removedQueueUrl: string;
let intake: Handler;
let responses: Handler;

beforeAll(async () => {
  testEnvironment = await startTestEnvironment();
  const { services, replyUrl } = testEnvironment;
  removedQueueUrl = await services.newQueue();
  await services.sqs.send(new DeleteQueueCommand({ QueueUrl: removedQueueUrl }));
  for (const [name, value] of Object.entries(testEnvironment.variables)) vi.stubEnv(name, value);
  vi.stubEnv('REPLY_QUEUES', JSON.stringify({ answers: replyUrl, removed: removedQueueUrl }));
  stubStreamingGlobals();
  [intake, responses] = await Promise.all([
    import('../../functions/intake.ts').then(getHandler),
    import('../../functions/responses.ts').then(getHandler),
  ]);
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await testEnvironment[Symbol.asyncDispose]();
});

/** Creates a waiting job by a message, and cancels it over HTTP. */
async function cancelWaiting(changes: { readonly replyTo?: string; readonly store?: boolean }) {
  const { replyTo, store = true } = changes;
  const idempotencyKey = `order-${replyTo}-${store}`;
  const message = {
    version: 1,
    type: 'generate',
    tenant: TENANT,
    idempotencyKey,
    endpoint: '/v1/responses',
    body: { model: 'default', input: 'Hi', store },
    replyTo,
  };
  await intake(makeQueueEvent(message), makeContext());
  const id = deriveResponseId(TENANT, idempotencyKey);
  const route = 'POST /v1/responses/{id}/cancel';
  const event = makeHttpEvent({ requestId: id, route, tenant: TENANT, pathParameters: { id } });
  const { statusCode, text } = await callHttp(responses, event, makeContext());
  return { id, statusCode, response: JSON.parse(text), job: await testEnvironment.jobs.read(TENANT, id) };
}

const receiveReplies = async () =>
  (await testEnvironment.services.messagesOf(testEnvironment.replyUrl)).map(({ body }) => JSON.parse(body));

it('a job that is cancelled while it waits sends its reply at once, without the sweep', async () => {
  const { id, statusCode, response, job } = await cancelWaiting({ replyTo: 'answers' });
  expect({ statusCode, response }).toMatchObject({ statusCode: 200, response: { id, status: 'cancelled' } });
  expect(await receiveReplies()).toMatchObject([{ type: 'answer', id, status: 'cancelled' }]);
  expect(job).toMatchObject({ status: 'cancelled' });
  expect(job).not.toHaveProperty('fanIn');
  expect(job).not.toHaveProperty('dueAt');
});

it('a job that is not stored is forgotten once its reply was sent', async () => {
  const { id, statusCode, job } = await cancelWaiting({ replyTo: 'answers', store: false });
  expect(statusCode).toBe(200);
  expect(await receiveReplies()).toMatchObject([{ type: 'answer', id, status: 'cancelled' }]);
  expect(job).toBeUndefined();
});

it('a job whose reply cannot be sent is cancelled, and its reply is left to the sweep', async () => {
  const { statusCode, response, job } = await cancelWaiting({ replyTo: 'removed' });
  expect({ statusCode, response }).toMatchObject({ statusCode: 200, response: { status: 'cancelled' } });
  expect(job).toMatchObject({ status: 'cancelled', fanIn: ['reply'], dueAt: expect.any(Number) });
});

it('a job without a reply queue is cancelled, and nothing is left to do', async () => {
  const { statusCode, job } = await cancelWaiting({});
  expect(statusCode).toBe(200);
  expect(job).toMatchObject({ status: 'cancelled' });
  expect(job).not.toHaveProperty('dueAt');
});
