import { setTimeout as sleep } from 'node:timers/promises';
import { SendMessageCommand, SQSClient } from '@aws-sdk/client-sqs';
import * as v from 'valibot';
import type { Cloud } from '../../local/cloud.ts';
import { LOCAL_API_KEY } from '../../local/seed.ts';
import { deriveResponseId } from '../../shared/api/queue-message.ts';
import type { Ledger } from './ledger.ts';
import type { Questions } from './questions.ts';

/** What the producers of work went through. */
export interface Produced {
  /** Job numbers by the id of the response that each became, for all that were accepted. */
  readonly accepted: Map<string, number>;
  /** Jobs that somebody set out to have done. */
  begun: number;
  http: number;
  queue: number;
  /** Requests that were answered with an error, or not at all, and were made again. */
  httpRefusals: number;
  /** Messages that SQS had taken, and forgot in a restart before they became a job: sent again. */
  forgotten: number;
}

export interface ProducerOptions {
  readonly cloud: Cloud;
  readonly ledger: Ledger;
  readonly questions: Questions;
  readonly jobs: number;
  /** Begins no more jobs when it aborts. */
  readonly enough: AbortSignal;
  /** Jobs on their way at once. */
  readonly window: number;
  /** Makes ids of one run unlike another's. */
  readonly run: string;
  /** When the queues were emptied, in epoch milliseconds. */
  readonly restarts: () => readonly number[];
  /** Ends the waiting for jobs that don't end. */
  readonly givenUp: AbortSignal;
  readonly replyTo: string;
}

const TENANT = 'local';
const RETRY_MS = 100;
/** More than these would only be refused for want of a process that could serve them. */
const REQUESTS_AT_ONCE = 4;
/** How long a program waits for a sign of its message, before it asks whether SQS has forgotten it. */
const RESEND_MS = 1_000;

const acceptedSchema = v.object({ id: v.string(), status: v.string() });

/** Puts jobs into the service, by HTTP and by its queue in turn, until all are accepted and have ended. */
export function startProducers(options: ProducerOptions): {
  readonly produced: Produced;
  readonly done: Promise<void>;
} {
  const { cloud, jobs, window } = options;
  const produced: Produced = { accepted: new Map(), begun: 0, http: 0, queue: 0, httpRefusals: 0, forgotten: 0 };
  const sqs = new SQSClient({
    region: 'eu-west-1',
    endpoint: cloud.endpoints['AWS_ENDPOINT_URL_SQS'] ?? '',
    credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
  });
  const requests = new Places(REQUESTS_AT_ONCE);
  async function produce(): Promise<void> {
    while (produced.begun < jobs && !options.enough.aborted) {
      const job = produced.begun;
      produced.begun += 1;
      if (job % 2 === 0) await byHttp(job, options, produced, requests);
      else await byQueue(job, options, produced, sqs);
    }
  }
  const done = Promise.all(Array.from({ length: Math.min(window, jobs) }, produce)).then(() => sqs.destroy());
  return { produced, done };
}

async function byHttp(job: number, options: ProducerOptions, produced: Produced, requests: Places): Promise<void> {
  const { cloud, ledger, run, givenUp, questions } = options;
  const body = { ...questions.body(job), background: true };
  // Every fourth has a key, with which a repetition finds what the first request made.
  const key: Record<string, string> = job % 8 === 0 ? { 'idempotency-key': `${run}-${job}` } : {};
  for (let attempt = 0; !givenUp.aborted; attempt += 1) {
    const id = await requests.within(() => posted(`${cloud.url}/responses`, body, attempt < 5 ? key : {}));
    if (id === undefined) {
      produced.httpRefusals += 1;
      await sleep(RETRY_MS);
      continue;
    }
    produced.accepted.set(id, job);
    produced.http += 1;
    return endOf(id, ledger, givenUp);
  }
}

async function posted(
  url: string,
  body: object,
  headers: Readonly<Record<string, string>>,
): Promise<string | undefined> {
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

async function byQueue(job: number, options: ProducerOptions, produced: Produced, sqs: SQSClient): Promise<void> {
  const { ledger, run, givenUp, restarts, replyTo, questions } = options;
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
  await sent(sqs, options, MessageBody);
  let sentAt = Date.now();
  const ended = endOf(id, ledger, givenUp);
  produced.queue += 1;
  produced.accepted.set(id, job);
  // A message that SQS itself forgot, as the real one never does, is its sender's to send again; no other is.
  while (!givenUp.aborted && !ledger.entries.has(id)) {
    await Promise.race([ended, sleep(RESEND_MS)]);
    if (ledger.entries.has(id) || !restarts().some((at) => at >= sentAt)) continue;
    produced.forgotten += 1;
    await sent(sqs, options, MessageBody);
    sentAt = Date.now();
  }
  await ended;
}

async function sent(sqs: SQSClient, { cloud, givenUp }: ProducerOptions, MessageBody: string): Promise<void> {
  while (!givenUp.aborted) {
    try {
      const QueueUrl = cloud.resources['GENERATION_QUEUE_URL'];
      await sqs.send(new SendMessageCommand({ QueueUrl, MessageBody, MessageGroupId: TENANT }));
      return;
    } catch {
      await sleep(RETRY_MS);
    }
  }
}

/** Resolves when a job has ended, or nobody waits any more. */
function endOf(id: string, ledger: Ledger, givenUp: AbortSignal): Promise<void> {
  if (givenUp.aborted) return Promise.resolve();
  const { promise, resolve } = Promise.withResolvers<void>();
  const done = (): void => {
    givenUp.removeEventListener('abort', done);
    resolve();
  };
  givenUp.addEventListener('abort', done);
  void ledger.ended(id).then(done);
  return promise;
}

/** Lets only so many do something at once. */
class Places {
  #free: number;
  readonly #waiting: (() => void)[] = [];
  constructor(places: number) {
    this.#free = places;
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
