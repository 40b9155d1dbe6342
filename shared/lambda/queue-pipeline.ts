import { setTimeout as sleepFor } from 'node:timers/promises';
import middy, { type MiddyfiedHandler } from '@middy/core';
import type { Context } from 'aws-lambda';
import { type LambentError, toLambentError } from '../core/errors.ts';
import { createFailureLog, describeError } from '../core/logger.ts';
import { toCounts } from '../core/metrics.ts';
import { recordedAs } from '../core/recorded-line.ts';
import type { ProcessTelemetry, Telemetry } from '../core/telemetry.ts';
import { markInitEnd } from './environment.ts';
import {
  type Invocation,
  type MessageAction,
  MessagePool,
  type MessageQueue,
  type PoolOptions,
  type Processing,
} from './message-pool.ts';
import { parseQueueEvent, type QueueRecord } from './queue-event.ts';
import { RequestContext } from './request-context.ts';
import { answerWarmEvents } from './warm-event.ts';

/** Requests to the queue that a function consumes, and to its dead-letter queue. */
export interface QueueControl extends MessageQueue {
  /** Sends a message to the dead-letter queue, with the reason. */
  deadLetter(record: QueueRecord, reason: LambentError): Promise<void>;
}

/** Everything that belongs to one message. */
export interface MessageContext extends Processing, Invocation {
  /** The message's own logger and metrics. Its annotations don't appear on the lines of other messages. */
  readonly telemetry: Telemetry;
}

/** The pauses after deliveries that failed. */
export interface RetryPauses {
  /** The pause after a first delivery that failed. It doubles with each further delivery. */
  readonly firstRetryMs: number;
  /** The longest such pause. */
  readonly longestRetryMs: number;
}

export interface QueuePipelineOptions
  extends Pick<PoolOptions, 'places' | 'maxBytes' | 'bytesOf' | 'postponeMs' | 'visibilitySeconds'>,
    RetryPauses {
  readonly telemetry: ProcessTelemetry;
  readonly queue: QueueControl;
  /** URL of the queue. */
  readonly queueUrl: string;
}

/** Thrown for a message that can never be processed. It is sent to the dead-letter queue at once. */
export class MessageRejectedError extends Error {
  override readonly name = 'MessageRejectedError';
  readonly reason: LambentError;
  constructor(reason: LambentError) {
    super(reason.code, { cause: reason });
    this.reason = reason;
  }
}

/**
 * Seconds after which a message is delivered again if its worker has crashed. Far shorter than the queue's own
 * visibility timeout, which must cover the function's timeout, and far longer than the pause between two renewals.
 */
export const VISIBILITY_SECONDS = 60;
/** How long before the function's timeout messages are aborted: enough to release their jobs and to respond. */
const SHUTDOWN_MARGIN_MS = 8_000;

/** The response to Lambda's event source mapping: the messages to deliver again. */
export interface BatchResponse {
  readonly batchItemFailures: readonly { readonly itemIdentifier: string }[];
}

/**
 * Creates the pipeline of a function behind a queue. It processes the messages of its event and, while places are free and
 * enough time is left, others that it receives itself. Each message fails alone: if `run` throws `MessageRejectedError`, the
 * message goes to the dead-letter queue; after any other error it is delivered again after a pause.
 * @param run returns what becomes of the message
 */
export function createQueuePipeline(
  options: QueuePipelineOptions,
  run: (record: QueueRecord, context: MessageContext) => Promise<MessageAction>,
): MiddyfiedHandler<unknown, BatchResponse | string> {
  markInitEnd();
  const logError = createFailureLog(options.telemetry.forRequest({}).logger);
  const pool = new MessagePool({
    ...options,
    process: (record, processing, invocation) => {
      const { requestId } = invocation;
      const telemetry = options.telemetry.forRequest({ requestId, messageId: record.messageId });
      return processMessage(record, options, run, { ...processing, ...invocation, telemetry });
    },
    now: Date.now,
    sleep: sleepInBackground,
    onError: logError,
  });
  return middy<unknown, BatchResponse | string>({ timeoutEarlyInMillis: 0 })
    .use(answerWarmEvents())
    .handler((event, lambdaContext) => serve(pool, options, event, lambdaContext));
}

async function serve(
  pool: MessagePool,
  { telemetry, queueUrl }: QueuePipelineOptions,
  event: unknown,
  lambdaContext: Context,
): Promise<BatchResponse> {
  const context = new RequestContext(telemetry, lambdaContext, SHUTDOWN_MARGIN_MS);
  try {
    const [records, foreign] = partitionByQueue(parseQueueEvent(event), queueUrl);
    if (foreign.length > 0) context.telemetry.logger.warn('messages of another queue left', { count: foreign.length });
    const { requestId, signal, deadlineAt } = context;
    const kept = await pool.serve(records, { requestId, signal, deadlineAt });
    context.telemetry.metrics.publish({
      LatencyMs: [context.elapsedMs, 'Milliseconds'],
      ...context.getStartMetrics(),
    });
    const left = [...kept, ...foreign.map(({ messageId }) => messageId)];
    return { batchItemFailures: left.map((itemIdentifier) => ({ itemIdentifier })) };
  } finally {
    context.end();
  }
}

/**
 * Separates the messages of other queues. While a deployment moves a queue to another function, its old event source mapping
 * may still invoke this one, which must leave such messages to the new one.
 */
function partitionByQueue(records: readonly QueueRecord[], queueUrl: string) {
  const name = queueUrl.slice(queueUrl.lastIndexOf('/') + 1);
  const isOwn = ({ eventSourceARN }: QueueRecord) =>
    eventSourceARN === undefined || eventSourceARN.slice(eventSourceARN.lastIndexOf(':') + 1) === name;
  return [records.filter(isOwn), records.filter((record) => !isOwn(record))] as const;
}

async function processMessage(
  record: QueueRecord,
  options: QueuePipelineOptions,
  run: (record: QueueRecord, context: MessageContext) => Promise<MessageAction>,
  context: MessageContext,
): Promise<MessageAction> {
  const { logger, metrics } = context.telemetry;
  const publish = (outcome: { readonly failed?: number; readonly rejected?: number }) => {
    const { failed = 0, rejected = 0 } = outcome;
    metrics.publish(toCounts({ Messages: 1, MessagesFailed: failed, MessagesRefused: rejected }));
  };
  try {
    const action = await run(record, context);
    publish({});
    return action;
  } catch (thrown) {
    try {
      if (!(thrown instanceof MessageRejectedError)) throw thrown;
      await options.queue.deadLetter(record, thrown.reason);
      // By this id an operator can admit the sender. The part after the colon names a role's session.
      const senderId = record.attributes.SenderId.split(':')[0];
      logger.warn('message rejected', { ...describeError(thrown.reason), senderId });
      logger.summarize('message', { ...recordedAs('call'), errorCode: thrown.reason.code, senderId });
      publish({ rejected: 1 });
      return { kind: 'delete' };
    } catch (failure) {
      logger.error('message failed', describeError(toLambentError(failure)));
      publish({ failed: 1 });
      return { kind: 'hide', ms: computeRetryPauseMs(record, options) };
    }
  } finally {
    metrics.flush();
  }
}

/** Returns the milliseconds for which a message is hidden after a delivery that failed. */
export function computeRetryPauseMs(
  { attributes: { ApproximateReceiveCount } }: Pick<QueueRecord, 'attributes'>,
  { firstRetryMs, longestRetryMs }: RetryPauses,
): number {
  return Math.min(firstRetryMs * 2 ** (Number(ApproximateReceiveCount) - 1), longestRetryMs);
}

async function sleepInBackground(ms: number, signal: AbortSignal): Promise<void> {
  await sleepFor(ms, undefined, { signal }).catch(() => {});
}
