import middy, { type MiddyfiedHandler } from '@middy/core';
import type { Context } from 'aws-lambda';
import { type LambentError, toLambentError } from '../core/errors.ts';
import { describeError, type Logger } from '../core/logger.ts';
import type { ProcessTelemetry, Telemetry } from '../core/telemetry.ts';
import { markInitEnd } from './environment.ts';
import { parseQueueEvent, type QueueRecord } from './queue-event.ts';
import { RequestContext } from './request-context.ts';
import { answerWarmEvents } from './warm-event.ts';

/** Operations on the queue that a function consumes. */
export interface QueueControl {
  /** Sets messages' visibility timeout: they stay hidden for `seconds` from now on. */
  setVisibility(receiptHandles: readonly string[], seconds: number): Promise<void>;
  /** Sends a message to the dead-letter queue, with the reason. */
  deadLetter(record: QueueRecord, reason: LambentError): Promise<void>;
}

/** Everything that belongs to one message. */
export interface MessageContext {
  /** Aborts shortly before the function's timeout. */
  readonly signal: AbortSignal;
  /** Epoch milliseconds at which `signal` aborts. */
  readonly deadlineAt: number;
  /** Extends the message's visibility timeout. Must be called before it expires. Never rejects. */
  readonly extendVisibility: () => Promise<void>;
  /** The message's own logger and metrics. Its annotations don't appear on the lines of other messages. */
  readonly telemetry: Telemetry;
}

export interface QueuePipelineOptions {
  readonly telemetry: ProcessTelemetry;
  readonly queue: QueueControl;
  /** Seconds for which a message stays hidden after it is received and after each `extendVisibility`. */
  readonly visibilitySeconds: number;
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
 * Creates the pipeline of a function behind a queue. Processes the messages of a batch concurrently, and each fails
 * alone: if `run` throws `MessageRejectedError`, the message goes to the dead-letter queue; after any other error it is
 * delivered again.
 */
export function createQueuePipeline(
  options: QueuePipelineOptions,
  run: (record: QueueRecord, context: MessageContext) => Promise<void>,
): MiddyfiedHandler<unknown, BatchResponse | string> {
  markInitEnd();
  return middy<unknown, BatchResponse | string>({ timeoutEarlyInMillis: 0 })
    .use(answerWarmEvents())
    .handler((event, lambdaContext) => serve(options, run, event, lambdaContext));
}

async function serve(
  options: QueuePipelineOptions,
  run: (record: QueueRecord, context: MessageContext) => Promise<void>,
  event: unknown,
  lambdaContext: Context,
): Promise<BatchResponse> {
  const context = new RequestContext(options.telemetry, lambdaContext, SHUTDOWN_MARGIN_MS);
  const { logger, metrics } = context.telemetry;
  const extendVisibility = async (receiptHandles: readonly string[], log: Logger): Promise<void> => {
    // A failure is harmless: if the message is delivered twice, the second worker finds the job leased.
    await options.queue
      .setVisibility(receiptHandles, options.visibilitySeconds)
      .catch((thrown: unknown) => log.warn('visibility not extended', describeError(thrown)));
  };
  try {
    const records = parseQueueEvent(event);
    const receiptHandles = records.map(({ receiptHandle }) => receiptHandle);
    const extended = extendVisibility(receiptHandles, logger);
    const outcomes = await Promise.all(
      records.map((record) => {
        const telemetry = options.telemetry.forRequest({
          requestId: context.requestId,
          messageId: record.messageId,
        });
        return processMessage(record, options.queue, run, {
          signal: context.signal,
          deadlineAt: context.deadlineAt,
          extendVisibility: () => extendVisibility([record.receiptHandle], telemetry.logger),
          telemetry,
        });
      }),
    );
    await extended;
    const failed = records.filter((_, index) => outcomes[index] === 'failed');
    metrics.publish({
      Messages: [records.length, 'Count'],
      MessagesFailed: [failed.length, 'Count'],
      MessagesRefused: [outcomes.filter((outcome) => outcome === 'rejected').length, 'Count'],
      ...context.getInvocationMetrics(),
    });
    return { batchItemFailures: failed.map(({ messageId }) => ({ itemIdentifier: messageId })) };
  } finally {
    context.end();
  }
}

async function processMessage(
  record: QueueRecord,
  queue: QueueControl,
  run: (record: QueueRecord, context: MessageContext) => Promise<void>,
  context: MessageContext,
): Promise<'processed' | 'rejected' | 'failed'> {
  const { logger, metrics } = context.telemetry;
  try {
    await run(record, context);
    return 'processed';
  } catch (thrown) {
    try {
      if (!(thrown instanceof MessageRejectedError)) throw thrown;
      await queue.deadLetter(record, thrown.reason);
      logger.warn('message rejected', describeError(thrown.reason));
      return 'rejected';
    } catch (failure) {
      logger.error('message failed', describeError(toLambentError(failure)));
      return 'failed';
    }
  } finally {
    metrics.flush();
  }
}
