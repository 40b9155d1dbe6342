import middy, { type MiddyfiedHandler } from '@middy/core';
import type { Context } from 'aws-lambda';
import { type LambentError, toLambentError } from '../core/errors.ts';
import { describeError, type Logger } from '../core/logger.ts';
import type { Metrics } from '../core/metrics.ts';
import { beginInvocation, endInit } from './environment.ts';
import { parseQueueEvent, type QueueRecord } from './queue-event.ts';
import { warm } from './warm-event.ts';

/** What can be done to the messages of the queue that a function serves. */
export interface QueueControl {
  /** Hides messages for `seconds` from now on. */
  hide(receiptHandles: readonly string[], seconds: number): Promise<void>;
  /** Puts a message that can't be served into the dead-letter queue, with the reason. */
  refuse(record: QueueRecord, reason: LambentError): Promise<void>;
}

/** One message while it is being served. */
export interface QueueCall {
  /** Aborts shortly before the function's time is up. */
  readonly signal: AbortSignal;
  /** Epoch milliseconds of that. */
  readonly deadlineAt: number;
  /** Keeps the message hidden for another minute: to be called at least once in it. */
  readonly extendVisibility: () => Promise<void>;
}

export interface QueuePipeline {
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly queue: QueueControl;
  /** Seconds for which a message stays hidden after each sign of life. */
  readonly visibilitySeconds: number;
}

/** The reason why a message will never be served: it goes to the dead-letter queue at once, and alone. */
export class Refused extends Error {
  override readonly name = 'Refused';
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
export interface BatchAnswer {
  readonly batchItemFailures: readonly { readonly itemIdentifier: string }[];
}

/**
 * The pipeline of every function behind a queue. Messages of a batch are served side by side, and each fails alone:
 * `run` throws `Refused` for one that goes to the dead-letter queue, anything else for one that is to come again.
 */
export function queuePipeline(
  options: QueuePipeline,
  run: (record: QueueRecord, call: QueueCall) => Promise<void>,
): MiddyfiedHandler<unknown, BatchAnswer | string> {
  endInit();
  return middy<unknown, BatchAnswer | string>({ timeoutEarlyInMillis: 0 })
    .use(warm())
    .handler((event, context) => serve(options, run, event, context));
}

async function serve(
  { logger, metrics, queue, visibilitySeconds }: QueuePipeline,
  run: (record: QueueRecord, call: QueueCall) => Promise<void>,
  event: unknown,
  context: Context,
): Promise<BatchAnswer> {
  const startedAt = performance.now();
  const { cold, initMs } = beginInvocation();
  logger.reset();
  logger.annotate({ requestId: context.awsRequestId });
  const records = parseQueueEvent(event);
  const remainingMs = Math.max(0, context.getRemainingTimeInMillis() - SHUTDOWN_MARGIN_MS);
  const deadlineAt = Date.now() + remainingMs;
  const shutdown = new AbortController();
  const timer = setTimeout(() => shutdown.abort(), remainingMs);
  const hide = async (handles: readonly string[]): Promise<void> => {
    // A hint: who is late finds the job held by another.
    await queue
      .hide(handles, visibilitySeconds)
      .catch((thrown: unknown) => logger.warn('visibility not extended', describeError(thrown)));
  };
  try {
    const hidden = hide(records.map(({ receiptHandle }) => receiptHandle));
    const served = await Promise.all(
      records.map(async (record) => {
        const extendVisibility = () => hide([record.receiptHandle]);
        return outcomeOf(record, { signal: shutdown.signal, deadlineAt, extendVisibility });
      }),
    );
    await hidden;
    const failed = served.filter(({ outcome }) => outcome === 'failed');
    metrics.publish({
      Messages: [records.length, 'Count'],
      MessagesFailed: [failed.length, 'Count'],
      MessagesRefused: [served.filter(({ outcome }) => outcome === 'refused').length, 'Count'],
      LatencyMs: [performance.now() - startedAt, 'Milliseconds'],
      ColdStart: [cold ? 1 : 0, 'Count'],
      ...(cold ? { InitMs: [initMs, 'Milliseconds'] } : {}),
    });
    return { batchItemFailures: failed.map(({ record }) => ({ itemIdentifier: record.messageId })) };
  } finally {
    clearTimeout(timer);
  }

  async function outcomeOf(record: QueueRecord, call: QueueCall) {
    const { messageId } = record;
    try {
      await run(record, call);
      return { record, outcome: 'served' } as const;
    } catch (thrown) {
      try {
        if (!(thrown instanceof Refused)) throw thrown;
        await queue.refuse(record, thrown.reason);
        logger.warn('message refused', { messageId, ...describeError(thrown.reason) });
        return { record, outcome: 'refused' } as const;
      } catch (failure) {
        logger.error('message failed', { messageId, ...describeError(toLambentError(failure)) });
        return { record, outcome: 'failed' } as const;
      }
    }
  }
}
