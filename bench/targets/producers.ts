import { SendMessageBatchCommand, SQSClient } from '@aws-sdk/client-sqs';
import type { Cloud } from '../../local/cloud.ts';
import { LOCAL_API_KEY } from '../../local/seed.ts';
import { deriveResponseId } from '../../shared/api/queue-message.ts';
import { MODEL, REGION } from './functions.ts';

const QUESTION = 'Why is the sky blue, and why are sunsets red?';
/** The tenant of the local cloud's key and of its queue senders. */
const TENANT = 'local';

/** SQS's limit for one batch. */
export const BATCH_SIZE = 10;
/** Concurrent requests of a producer. */
export const PRODUCERS = 8;

/** Returns an SQS client as a program would use it. */
export function createSqsClient({ endpoints, credentials }: Pick<Cloud, 'endpoints' | 'credentials'>): SQSClient {
  return new SQSClient({ endpoint: endpoints['AWS_ENDPOINT_URL_SQS'] ?? '', region: REGION, credentials });
}

/**
 * Sends `count` messages to the generation queue, ten per request. Returns the ids of their responses.
 * @param bodyOf returns a request's body by its idempotency key. Absent: a short question to the hosted model
 */
export async function sendJobs(
  client: SQSClient,
  queueUrl: string,
  name: string,
  count: number,
  bodyOf?: (key: string) => object,
): Promise<string[]> {
  const keys = Array.from({ length: count }, (_, index) => `${name}-${index}`);
  await sendAll(
    client,
    queueUrl,
    keys.map((key) => createGenerateMessage(key, bodyOf?.(key))),
  );
  return keys.map((key) => deriveResponseId(TENANT, key));
}

/** Returns a message as a program sends it. */
export function createGenerateMessage(
  idempotencyKey: string,
  body: object = { model: MODEL, input: QUESTION },
): string {
  return JSON.stringify({
    version: 1,
    type: 'generate',
    tenant: TENANT,
    idempotencyKey,
    endpoint: '/v1/responses',
    body,
  });
}

/** Sends messages ten per request, with `PRODUCERS` concurrent requests. */
export async function sendAll(client: SQSClient, QueueUrl: string, bodies: readonly string[]): Promise<void> {
  const batches = Array.from({ length: Math.ceil(bodies.length / BATCH_SIZE) }, (_, index) =>
    bodies.slice(index * BATCH_SIZE, (index + 1) * BATCH_SIZE),
  );
  await mapConcurrently(PRODUCERS, batches, async (batch) => {
    const Entries = batch.map((MessageBody, index) => ({ Id: `${index}`, MessageBody }));
    const { Failed = [] } = await client.send(new SendMessageBatchCommand({ QueueUrl, Entries }));
    if (Failed.length > 0) throw new Error(`${Failed.length} messages were not sent`);
  });
}

/** Returns the results of `work` for each item, in order, with at most `width` running at once. */
export async function mapConcurrently<Thing, Result>(
  width: number,
  things: readonly Thing[],
  work: (thing: Thing) => Promise<Result>,
): Promise<Result[]> {
  const results: Result[] = [];
  const entries = things.entries();
  const runWorker = async () => {
    for (const [index, thing] of entries) results[index] = await work(thing);
  };
  await Promise.all(Array.from({ length: width }, runWorker));
  return results;
}

/**
 * Sends a POST request with the local cloud's API key.
 * @param url the API's base, with `/v1`
 * @throws Error if the request fails or the response has no id
 */
export async function post(url: string, path: string, body: object): Promise<{ readonly id: string }> {
  const answer = await fetch(`${url}${path}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${LOCAL_API_KEY}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`status ${answer.status}: ${text.slice(0, 500)}`);
  const parsed: unknown = JSON.parse(text);
  if (typeof parsed === 'object' && parsed !== null && 'id' in parsed && typeof parsed.id === 'string') {
    return { id: parsed.id };
  }
  throw new Error(`the response has no id: ${text.slice(0, 500)}`);
}

/** Returns the body of a `POST /responses`. */
export function createResponseBody(more: object): object {
  return { model: MODEL, input: QUESTION, ...more };
}
