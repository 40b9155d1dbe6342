import { setTimeout as sleep } from 'node:timers/promises';
import { SendMessageCommand, SQSClient } from '@aws-sdk/client-sqs';
import * as v from 'valibot';
import type { Cloud } from '../../local/cloud.ts';
import { LOCAL_API_KEY } from '../../local/seed.ts';
import { deriveResponseId } from '../../shared/api/queue-message.ts';
import type { Ledger } from './ledger.ts';
import type { Questions } from './questions.ts';

/** The jobs that producers submitted. */
export interface Produced {
  /** Job numbers of the accepted jobs, by response id. */
  readonly accepted: Map<string, number>;
  /** Number of jobs that a producer started. */
  started: number;
  http: number;
  queue: number;
  /** Number of failed or unanswered requests, which were repeated. */
  httpRefusals: number;
  /** Number of messages that a restart of SQS lost before they became jobs, and that were sent again. */
  forgotten: number;
}

export interface ProducerOptions {
  readonly cloud: Cloud;
  readonly ledger: Ledger;
  readonly questions: Questions;
  readonly jobs: number;
  /** When aborted, no more jobs are started. */
  readonly stopStarting: AbortSignal;
  /** Maximum of unfinished jobs. */
  readonly window: number;
  /** Distinguishes the ids of this run. */
  readonly run: string;
  /** Times of SQS restarts, in epoch milliseconds. */
  readonly restarts: () => readonly number[];
  /** When aborted, producers stop waiting for jobs. */
  readonly giveUp: AbortSignal;
  readonly replyTo: string;
}

const TENANT = 'local';
const RETRY_MS = 100;
/** More concurrent requests would only be refused, for lack of processes. */
const REQUESTS_AT_ONCE = 4;
/** How long a producer waits for its job to appear before it checks whether SQS has lost the message. */
const RESEND_MS = 1_000;

const acceptedSchema = v.object({ id: v.string(), status: v.string() });

/** Submits jobs, alternately by HTTP and by message, and resolves `done` when all have been accepted and have ended. */
export function startProducers(options: ProducerOptions): {
  readonly produced: Produced;
  readonly done: Promise<void>;
} {
  const { cloud, jobs, window } = options;
  const produced: Produced = { accepted: new Map(), started: 0, http: 0, queue: 0, httpRefusals: 0, forgotten: 0 };
  const sqs = new SQSClient({
    region: 'eu-west-1',
    endpoint: cloud.endpoints['AWS_ENDPOINT_URL_SQS'] ?? '',
    credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
  });
  const requests = new Semaphore(REQUESTS_AT_ONCE);
  async function produce(): Promise<void> {
    while (produced.started < jobs && !options.stopStarting.aborted) {
      const job = produced.started;
      produced.started += 1;
      if (job % 2 === 0) await produceByHttp(job, options, produced, requests);
      else await produceByQueue(job, options, produced, sqs);
    }
  }
  const done = Promise.all(Array.from({ length: Math.min(window, jobs) }, produce)).then(() => sqs.destroy());
  return { produced, done };
}

async function produceByHttp(
  job: number,
  options: ProducerOptions,
  produced: Produced,
  requests: Semaphore,
): Promise<void> {
  const { cloud, ledger, run, giveUp, questions } = options;
  const body = { ...questions.body(job), background: true };
  // Every fourth request has an idempotency key, so that a repetition finds the job of the first attempt.
  const key: Record<string, string> = job % 8 === 0 ? { 'idempotency-key': `${run}-${job}` } : {};
  for (let attempt = 0; !giveUp.aborted; attempt += 1) {
    const id = await requests.within(() => post(`${cloud.url}/responses`, body, attempt < 5 ? key : {}));
    if (id === undefined) {
      produced.httpRefusals += 1;
      await sleep(RETRY_MS);
      continue;
    }
    produced.accepted.set(id, job);
    produced.http += 1;
    return waitForEnd(id, ledger, giveUp);
  }
}

async function post(url: string, body: object, headers: Readonly<Record<string, string>>): Promise<string | undefined> {
  try {
    const response = await fetch(url, {
      method: 'POST',
      headers: { ...headers, authorization: `Bearer ${LOCAL_API_KEY}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    const answer = v.safeParse(acceptedSchema, await response.json());
    return response.status === 200 && answer.success ? answer.output.id : undefined;
  } catch {
    return undefined;
  }
}

async function produceByQueue(
  job: number,
  options: ProducerOptions,
  produced: Produced,
  sqs: SQSClient,
): Promise<void> {
  const { ledger, run, giveUp, restarts, replyTo, questions } = options;
  const idempotencyKey = `${run}-${job}`;
  const id = deriveResponseId(TENANT, idempotencyKey);
  const MessageBody = JSON.stringify({
    version: 1,
    type: 'generate',
    tenant: TENANT,
    idempotencyKey,
    endpoint: '/v1/responses',
    body: questions.body(job),
    replyTo,
  });
  await send(sqs, options, MessageBody);
  let sentAt = Date.now();
  const ended = waitForEnd(id, ledger, giveUp);
  produced.queue += 1;
  produced.accepted.set(id, job);
  // Only a message that a restart of SQS lost is sent again. The real SQS loses none.
  while (!giveUp.aborted && !ledger.entries.has(id)) {
    await Promise.race([ended, sleep(RESEND_MS)]);
    if (ledger.entries.has(id) || !restarts().some((at) => at >= sentAt)) continue;
    produced.forgotten += 1;
    await send(sqs, options, MessageBody);
    sentAt = Date.now();
  }
  await ended;
}

async function send(sqs: SQSClient, { cloud, giveUp }: ProducerOptions, MessageBody: string): Promise<void> {
  while (!giveUp.aborted) {
    try {
      const QueueUrl = cloud.resources['GENERATION_QUEUE_URL'];
      await sqs.send(new SendMessageCommand({ QueueUrl, MessageBody, MessageGroupId: TENANT }));
      return;
    } catch {
      await sleep(RETRY_MS);
    }
  }
}

/** Resolves when a job has ended or producers give up. */
function waitForEnd(id: string, ledger: Ledger, givenUp: AbortSignal): Promise<void> {
  if (givenUp.aborted) return Promise.resolve();
  const { promise, resolve } = Promise.withResolvers<void>();
  const done = (): void => {
    givenUp.removeEventListener('abort', done);
    resolve();
  };
  givenUp.addEventListener('abort', done);
  void ledger.waitUntilEnded(id).then(done);
  return promise;
}

/** Limits concurrency. */
class Semaphore {
  #free: number;
  readonly #waiting: (() => void)[] = [];
  constructor(permits: number) {
    this.#free = permits;
  }

  async within<T>(act: () => Promise<T>): Promise<T> {
    if (this.#free === 0) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#free -= 1;
    try {
      return await act();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free += 1;
      else next();
    }
  }
}
