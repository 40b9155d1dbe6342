import { setTimeout as sleep } from 'node:timers/promises';
import { SendMessageCommand, type SQSClient } from '@aws-sdk/client-sqs';
import * as v from 'valibot';
import type { Cloud } from '../../local/cloud.ts';
import { LOCAL_API_KEY } from '../../local/seed.ts';
import { deriveResponseId } from '../../shared/api/queue-message.ts';
import { omitUndefined } from '../../shared/core/objects.ts';
import { hasKey, isByHttp } from './kinds.ts';
import type { Ledger } from './ledger.ts';
import { createMessage, createPoison, TENANT } from './messages.ts';
import type { LambdaMode } from './options.ts';
import type { Questions } from './questions.ts';
import { createQueueClient } from './queue-reader.ts';

/** The jobs that producers submitted. */
export interface Produced {
  /** Job numbers of the accepted jobs, by response id. */
  readonly accepted: Map<string, number>;
  /** Epoch milliseconds at which each message was sent that can't become a job, by its body. */
  readonly poison: Map<string, number>;
  /** Ids of the responses of each conversation. */
  readonly conversations: Map<string, readonly string[]>;
  /** The status that the cancellation of a job returned, by its id. */
  readonly cancelled: Map<string, string | undefined>;
  /** Number of jobs that a producer started. */
  started: number;
  http: number;
  queue: number;
  /** Number of requests that were repeated although they had succeeded, and of those that returned another id. */
  repetitions: number;
  otherIds: number;
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
  readonly mode?: LambdaMode;
  /** Distinguishes the ids of this run. */
  readonly run: string;
  /** Times of SQS restarts, in epoch milliseconds. */
  readonly restarts: () => readonly number[];
  /** When aborted, producers stop waiting for jobs. */
  readonly giveUp: AbortSignal;
  readonly replyTo: string;
}

const RETRY_MS = 100;
/** Concurrent requests. More would only be refused in standard mode, for lack of processes. */
const REQUESTS_AT_ONCE = { standard: 4, managed: 32 };
/** How long a producer waits for its job to appear before it checks whether SQS has lost the message. */
const RESEND_MS = 1_000;

/** Turns of a conversation, which run at the same time. */
const TURNS = 10;

const objectSchema = v.object({ id: v.string(), status: v.optional(v.string()) });
type ApiObject = v.InferOutput<typeof objectSchema>;

/** Submits jobs, alternately by HTTP and by message, and resolves `done` when all have been accepted and have ended. */
export function startProducers(options: ProducerOptions): {
  readonly produced: Produced;
  readonly done: Promise<void>;
} {
  const producers = new Producers(options);
  return { produced: producers.produced, done: producers.run() };
}

class Producers {
  readonly produced: Produced = {
    accepted: new Map(),
    poison: new Map(),
    conversations: new Map(),
    cancelled: new Map(),
    started: 0,
    http: 0,
    queue: 0,
    httpRefusals: 0,
    forgotten: 0,
    repetitions: 0,
    otherIds: 0,
  };
  readonly #options: ProducerOptions;
  readonly #sqs: SQSClient;
  readonly #requests: Semaphore;
  /** Ids of conversations, by number. */
  readonly #conversations = new Map<number, Promise<string>>();
  #turns = 0;

  constructor(options: ProducerOptions) {
    this.#options = options;
    this.#requests = new Semaphore(REQUESTS_AT_ONCE[options.mode ?? 'standard']);
    this.#sqs = createQueueClient(options.cloud);
  }

  async run(): Promise<void> {
    const { jobs, window, stopStarting } = this.#options;
    const produce = async (): Promise<void> => {
      while (this.produced.started < jobs && !stopStarting.aborted) {
        const job = this.produced.started;
        this.produced.started += 1;
        if (isByHttp(job)) await this.#produceByHttp(job);
        else await this.#produceByQueue(job);
      }
    };
    await Promise.all(Array.from({ length: Math.min(window, jobs) }, produce));
    this.#sqs.destroy();
  }

  async #produceByHttp(job: number): Promise<void> {
    const { questions, run } = this.#options;
    const kind = questions.kind(job);
    const conversation = kind === 'turn' ? await this.#openConversation() : undefined;
    const body = { ...questions.body(job), background: true, ...omitUndefined({ conversation }) };
    // With a key, a repetition finds the job of a request whose response was lost. Without one, it creates another job.
    const create = () => this.#request('POST', '/responses', body, hasKey(job, kind) ? `${run}-${job}` : undefined);
    const created = await create();
    if (created === undefined) return;
    const { id } = created;
    this.produced.accepted.set(id, job);
    this.produced.http += 1;
    if (conversation !== undefined) this.#noteTurn(conversation, id);
    if (kind === 'repeated') await this.#compareIds(id, create);
    // So that some have ended by then, some are running, and some are waiting.
    if (kind === 'cancelled' || kind === 'deleted') await sleep((job % 11) * 150);
    if (kind === 'cancelled') {
      const cancelled = await this.#request('POST', `/responses/${id}/cancel`);
      this.produced.cancelled.set(id, cancelled?.status);
    }
    if (kind === 'deleted') await this.#request('DELETE', `/responses/${id}`);
    await this.#waitForEnd(id);
    if (kind === 'repeated') await this.#compareIds(id, create);
  }

  /** Repeats a request and notes whether it gets the same response. */
  async #compareIds(id: string, create: () => Promise<ApiObject | undefined>): Promise<void> {
    this.produced.repetitions += 1;
    if ((await create())?.id !== id) this.produced.otherIds += 1;
  }

  /** Returns the conversation of the next turn. */
  #openConversation(): Promise<string> {
    const number = Math.floor(this.#turns / TURNS);
    this.#turns += 1;
    const opened =
      this.#conversations.get(number) ??
      this.#request('POST', '/conversations', {}, `${this.#options.run}-conversation-${number}`).then(
        (conversation) => conversation?.id ?? '',
      );
    this.#conversations.set(number, opened);
    return opened;
  }

  #noteTurn(conversation: string, id: string): void {
    const turns = this.produced.conversations.get(conversation) ?? [];
    this.produced.conversations.set(conversation, [...turns, id]);
  }

  async #produceByQueue(job: number): Promise<void> {
    const { cloud, ledger, run, giveUp, restarts, replyTo, questions } = this.#options;
    const kind = questions.kind(job);
    const idempotencyKey = `${run}-${job}`;
    const request = { idempotencyKey, body: questions.body(job), replyTo };
    const poison = createPoison(kind, request, cloud.resources['BUCKET']);
    const MessageBody = poison ?? createMessage(request);
    await this.#send(MessageBody);
    let sentAt = Date.now();
    this.produced.queue += 1;
    if (poison !== undefined) {
      this.produced.poison.set(poison, sentAt);
      return;
    }
    const id = deriveResponseId(TENANT, idempotencyKey);
    const ended = this.#waitForEnd(id);
    this.produced.accepted.set(id, job);
    // Only a message that a restart of SQS lost is sent again. The real SQS loses none.
    while (!giveUp.aborted && !ledger.entries.has(id)) {
      await Promise.race([ended, sleep(RESEND_MS)]);
      if (ledger.entries.has(id) || !restarts().some((at) => at >= sentAt)) continue;
      this.produced.forgotten += 1;
      await this.#send(MessageBody);
      sentAt = Date.now();
    }
    if (kind === 'repeated') await this.#send(MessageBody);
    await ended;
  }

  async #send(MessageBody: string): Promise<void> {
    const { cloud, giveUp } = this.#options;
    while (!giveUp.aborted) {
      try {
        const QueueUrl = cloud.resources['GENERATION_QUEUE_URL'];
        await this.#sqs.send(new SendMessageCommand({ QueueUrl, MessageBody, MessageGroupId: TENANT }));
        return;
      } catch {
        await sleep(RETRY_MS);
      }
    }
  }

  /**
   * Sends a request, repeatedly until it succeeds, as a client would. What is not found after a failure was deleted by it.
   * @returns undefined if producers give up
   */
  async #request(method: string, path: string, body?: object, key?: string): Promise<ApiObject | undefined> {
    const { cloud, giveUp } = this.#options;
    const headers = {
      authorization: `Bearer ${LOCAL_API_KEY}`,
      'content-type': 'application/json',
      ...omitUndefined({ 'idempotency-key': key }),
    };
    const init = { method, headers, ...omitUndefined({ body: body && JSON.stringify(body) }) };
    for (let attempt = 0; !giveUp.aborted; attempt += 1) {
      const { status, object } = await this.#requests.within(() => sendOnce(`${cloud.url}${path}`, init));
      if (status === 200 && object !== undefined) return object;
      if (method === 'DELETE' && status === 404 && attempt > 0) return undefined;
      this.produced.httpRefusals += 1;
      await sleep(RETRY_MS);
    }
    return undefined;
  }

  /** Resolves when a job has ended or producers give up. */
  #waitForEnd(id: string): Promise<void> {
    const { ledger, giveUp } = this.#options;
    if (giveUp.aborted) return Promise.resolve();
    const { promise, resolve } = Promise.withResolvers<void>();
    const done = (): void => {
      giveUp.removeEventListener('abort', done);
      resolve();
    };
    giveUp.addEventListener('abort', done);
    void ledger.waitUntilEnded(id).then(done);
    return promise;
  }
}

async function sendOnce(url: string, init: RequestInit): Promise<{ status?: number; object?: ApiObject }> {
  try {
    const response = await fetch(url, init);
    const answer = v.safeParse(objectSchema, await response.json());
    return { status: response.status, ...(answer.success ? { object: answer.output } : {}) };
  } catch {
    return {};
  }
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
