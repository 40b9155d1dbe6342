import middy, { type MiddyfiedHandler } from '@middy/core';
import type { Context } from 'aws-lambda';
import { type LambentError, toLambentError } from '../core/errors.ts';
import { describeError, type Logger } from '../core/logger.ts';
import type { ProcessTelemetry, Telemetry } from '../core/telemetry.ts';
import { markInitEnd } from './environment.ts';
import { parseQueueEvent, type QueueRecord } from './queue-event.ts';
import { RequestContext } from './request-context.ts';
import { answerWarmEvents } from './warm-event.ts';

/** What can be done to the messages of the queue that a function serves. */
export interface QueueControl {
  /** Hides messages for `seconds` from now on. */
  setVisibility(receiptHandles: readonly string[], seconds: number): Promise<void>;
  /** Puts a message that can't be served into the dead-letter queue, with the reason. */
  deadLetter(record: QueueRecord, reason: LambentError): Promise<void>;
}

/** One message while it is being served. */
export interface MessageContext {
  /** Aborts shortly before the function's time is up. */
  readonly signal: AbortSignal;
  /** Epoch milliseconds of that. */
  readonly deadlineAt: number;
  /** Keeps the message hidden for another minute: to be called at least once in it. */
  readonly extendVisibility: () => Promise<void>;
  /** The message's own: its annotations appear on no other message's lines. */
  readonly telemetry: Telemetry;
}

export interface QueuePipelineOptions {
  readonly telemetry: ProcessTelemetry;
  readonly queue: QueueControl;
  /** Seconds for which a message stays hidden after each sign of life. */
  readonly visibilitySeconds: number;
}

/** The reason why a message will never be served: it goes to the dead-letter queue at once, and alone. */
export class MessageRejectedError extends Error {
  override readonly name = 'MessageRejectedError';
  readonly reason: LambentError;
  constructor(reason: LambentError) {
    super(reason.code, { cause: reason });
    this.reason = reason;
  }
}

/**
 * A message whose worker has died comes back after it. Far less than the queue's own visibility, which has to be as long
 * as the function may run; far more than the heartbeat that renews it.
 */
export const VISIBILITY_SECONDS = 60;
/** Left of the function's own time when the signal aborts: to let go of jobs and to answer. */
const SHUTDOWN_MARGIN_MS = 8_000;

/** What Lambda's event source mapping reads: the messages that are to come again. */
export interface BatchResponse {
  readonly batchItemFailures: readonly { readonly itemIdentifier: string }[];
}

/**
 * The pipeline of every function behind a queue. Messages of a batch are served side by side, and each fails alone:
 * `run` throws `MessageRejectedError` for one that goes to the dead-letter queue, anything else for one that is to come again.
 */
export function createQueuePipeline(
  options: QueuePipelineOptions,
  run: (record: QueueRecord, call: MessageContext) => Promise<void>,
): MiddyfiedHandler<unknown, BatchResponse | string> {
  markInitEnd();
  return middy<unknown, BatchResponse | string>({ timeoutEarlyInMillis: 0 })
    .use(answerWarmEvents())
    .handler((event, context) => serve(options, run, event, context));
}

async function serve(
  options: QueuePipelineOptions,
  run: (record: QueueRecord, call: MessageContext) => Promise<void>,
  event: unknown,
  lambdaContext: Context,
): Promise<BatchResponse> {
  const context = new RequestContext(options.telemetry, lambdaContext, SHUTDOWN_MARGIN_MS);
  const { logger, metrics } = context.telemetry;
  const hide = async (handles: readonly string[], log: Logger): Promise<void> => {
    // A hint: who is late finds the job held by another.
    await options.queue
      .setVisibility(handles, options.visibilitySeconds)
      .catch((thrown: unknown) => log.warn('visibility not extended', describeError(thrown)));
  };
  try {
    const records = parseQueueEvent(event);
    const receiptHandles = records.map(({ receiptHandle }) => receiptHandle);
    const hidden = hide(receiptHandles, logger);
    const outcomes = await Promise.all(
      records.map((record) => {
        const telemetry = options.telemetry.forRequest({
          requestId: context.requestId,
          messageId: record.messageId,
        });
        return serveMessage(record, options.queue, run, {
          signal: context.signal,
          deadlineAt: context.deadlineAt,
          extendVisibility: () => hide([record.receiptHandle], telemetry.logger),
          telemetry,
        });
      }),
    );
    await hidden;
    const failed = records.filter((_, index) => outcomes[index] === 'failed');
    metrics.publish({
      Messages: [records.length, 'Count'],
      MessagesFailed: [failed.length, 'Count'],
      MessagesRefused: [outcomes.filter((outcome) => outcome === 'refused').length, 'Count'],
      ...context.invocationMetrics(),
    });
    return { batchItemFailures: failed.map(({ messageId }) => ({ itemIdentifier: messageId })) };
  } finally {
    context.end();
  }
}

async function serveMessage(
  record: QueueRecord,
  queue: QueueControl,
  run: (record: QueueRecord, call: MessageContext) => Promise<void>,
  call: MessageContext,
): Promise<'served' | 'refused' | 'failed'> {
  const { logger, metrics } = call.telemetry;
  try {
    await run(record, call);
    return 'served';
  } catch (thrown) {
    try {
      if (!(thrown instanceof MessageRejectedError)) throw thrown;
      await queue.deadLetter(record, thrown.reason);
      logger.warn('message refused', describeError(thrown.reason));
      return 'refused';
    } catch (failure) {
      logger.error('message failed', describeError(toLambentError(failure)));
      return 'failed';
    }
  } finally {
    metrics.flush();
  }
}
