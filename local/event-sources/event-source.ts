import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  DeleteMessageBatchCommand,
  GetQueueAttributesCommand,
  type Message,
  ReceiveMessageCommand,
  type SQSClient,
} from '@aws-sdk/client-sqs';
import type { SQSRecord } from 'aws-lambda';
import { LambdaServiceError } from '../lambda/errors.ts';
import type { Runner } from '../lambda/runner.ts';
import { readFailures, splitIntoEvents, toRecord } from './records.ts';

export interface EventSourceOptions {
  /** The function's short name. */
  readonly function: string;
  readonly queueUrl: string;
  readonly queueArn: string;
  /** Maximum number of messages in an invocation. */
  readonly batchSize: number;
  /** Milliseconds for which messages are gathered into a batch; 0 to take only the messages that are available. */
  readonly windowMs: number;
  /** True if the function's response names the messages that failed (`ReportBatchItemFailures`). */
  readonly partialFailures: boolean;
  /** Maximum number of concurrent invocations. */
  readonly maximumConcurrency: number;
  readonly client: SQSClient;
  readonly runner: Pick<Runner, 'invoke'>;
  /** Milliseconds between starts of further pollers while all are busy. The first five start together. */
  readonly growEveryMs?: number;
  /** Seconds for which an idle poller waits for messages. Then it ends, unless it is the only one. */
  readonly waitSeconds?: number;
}

export interface EventSource {
  /** Returns the number of pollers at this moment. */
  pollers(): number;
  /** Returns the number of messages that the function is processing. */
  running(): number;
  /** Stops receiving messages. Invocations in flight continue. */
  close(): void;
}

/** Number of pollers that AWS starts as soon as there are messages. */
const FIRST_POLLERS = 5;
/** AWS adds 300 pollers a minute. */
const GROW_EVERY_MS = 200;
const WAIT_SECONDS = 20;
/** SQS's limit for the messages of one request. */
const MAX_RECEIVED = 10;
const RETRY_MS = 500;
const MAX_BACKOFF_MS = 5_000;

/**
 * Starts an event source mapping like Lambda's. Each of its pollers receives a batch of messages, invokes the function
 * with it and deletes the messages that succeeded. The others become visible again after their visibility timeout. One
 * poller waits while the queue is empty, five start with the first messages, and one more is added at a time while all
 * are busy. Idle pollers end.
 * @see https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html
 */
export function startEventSource(options: EventSourceOptions): EventSource {
  const { maximumConcurrency, growEveryMs = GROW_EVERY_MS } = options;
  const closing = new AbortController();
  let pollers = 0;
  let waiting = 0;
  let running = 0;

  async function poll(): Promise<void> {
    pollers += 1;
    try {
      while (!closing.signal.aborted) {
        waiting += 1;
        const messages = await receive(options, closing.signal).finally(() => {
          waiting -= 1;
        });
        if (messages.length === 0) {
          if (pollers > 1) return;
          continue;
        }
        const records = messages.map((message) => toRecord(message, options.queueArn));
        for (const event of splitIntoEvents(records)) await serve(event);
      }
    } finally {
      pollers -= 1;
    }
  }

  async function serve(records: readonly SQSRecord[]): Promise<void> {
    running += records.length;
    try {
      await deliver(options, records, closing.signal);
    } finally {
      running -= records.length;
    }
  }

  void poll();
  const growth = setInterval(() => {
    if (waiting > 0) return;
    const wanted = Math.min(Math.max(FIRST_POLLERS, pollers + 1), maximumConcurrency);
    while (pollers < wanted) void poll();
  }, growEveryMs);
  growth.unref();

  return {
    pollers: () => pollers,
    running: () => running,
    close() {
      clearInterval(growth);
      closing.abort();
    },
  };
}

/** Receives a batch, which may be empty. Waits and retries while SQS is unavailable. */
async function receive(options: EventSourceOptions, signal: AbortSignal): Promise<Message[]> {
  const { client, queueUrl, batchSize, windowMs, waitSeconds = WAIT_SECONDS } = options;
  const messages: Message[] = [];
  // The window begins with the first message.
  let windowEnds: number | undefined;
  do {
    const leftMs = windowEnds === undefined ? waitSeconds * 1000 : windowEnds - Date.now();
    try {
      const { Messages = [] } = await client.send(
        new ReceiveMessageCommand({
          QueueUrl: queueUrl,
          MaxNumberOfMessages: Math.min(MAX_RECEIVED, batchSize - messages.length),
          WaitTimeSeconds: Math.min(waitSeconds, Math.ceil(leftMs / 1000)),
          MessageSystemAttributeNames: ['All'],
          MessageAttributeNames: ['All'],
        }),
        { abortSignal: signal },
      );
      messages.push(...Messages);
    } catch {
      if (signal.aborted) break;
      await sleep(RETRY_MS, undefined, { signal }).catch(() => undefined);
    }
    if (messages.length > 0) windowEnds ??= Date.now() + windowMs;
  } while (!signal.aborted && windowEnds !== undefined && messages.length < batchSize && Date.now() < windowEnds);
  return signal.aborted ? [] : messages;
}

async function deliver(options: EventSourceOptions, records: readonly SQSRecord[], signal: AbortSignal): Promise<void> {
  let failed: ReadonlySet<string>;
  try {
    const answer = await invoke(options, records, signal);
    failed = options.partialFailures ? readFailures(answer, records) : new Set();
  } catch {
    // The function failed or was never invoked. The messages become visible again and are delivered again.
    return;
  }
  const done = records.filter(({ messageId }) => !failed.has(messageId));
  for (let first = 0; first < done.length; first += MAX_RECEIVED) {
    await deleteMessages(options, done.slice(first, first + MAX_RECEIVED));
  }
}

/**
 * Invokes the function with a batch. Retries while Lambda throttles, until the batch's visibility timeout expires.
 * @throws LambdaServiceError when it was throttled for that long, or when a message is part of a recursive loop: the dead-letter
 *   queue gets such a message after its last receive; FunctionError when the function failed
 */
async function invoke(
  { client, queueUrl, function: name, runner }: EventSourceOptions,
  records: readonly SQSRecord[],
  signal: AbortSignal,
): Promise<string> {
  const receivedAt = Date.now();
  const traceHeaders = records.flatMap(({ attributes }) => attributes.AWSTraceHeader ?? []);
  let visibilityMs: number | undefined;
  for (let backoffMs = 100; ; backoffMs = Math.min(2 * backoffMs, MAX_BACKOFF_MS)) {
    try {
      const { body, failure } = await runner.invoke(name, JSON.stringify({ Records: records }), { traceHeaders });
      const answer = await text(body);
      const error = failure();
      if (error !== undefined) throw error;
      return answer;
    } catch (error) {
      if (!(error instanceof LambdaServiceError && error.type === 'TooManyRequestsException')) throw error;
      visibilityMs ??= await readVisibilityTimeout(client, queueUrl);
      if (Date.now() + backoffMs >= receivedAt + visibilityMs) throw error;
      await sleep(backoffMs * (0.5 + Math.random() / 2), undefined, { signal });
    }
  }
}

async function readVisibilityTimeout(client: SQSClient, QueueUrl: string): Promise<number> {
  const { Attributes } = await client.send(
    new GetQueueAttributesCommand({ QueueUrl, AttributeNames: ['VisibilityTimeout'] }),
  );
  return Number(Attributes?.VisibilityTimeout ?? 0) * 1000;
}

/** Deletes messages. A message that can't be deleted is delivered again, which its function must expect anyway. */
async function deleteMessages({ client, queueUrl }: EventSourceOptions, records: readonly SQSRecord[]): Promise<void> {
  const Entries = records.map(({ receiptHandle }, index) => ({ Id: String(index), ReceiptHandle: receiptHandle }));
  await client.send(new DeleteMessageBatchCommand({ QueueUrl: queueUrl, Entries })).catch(() => undefined);
}
