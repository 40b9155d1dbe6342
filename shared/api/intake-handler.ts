import { createFailureLog } from '../core/logger.ts';
import type { ProcessTelemetry } from '../core/telemetry.ts';
import { divideTimings } from '../core/timings.ts';
import { createQueueControl, type QueueControlOptions } from '../lambda/queue-control.ts';
import type { QueueRecord } from '../lambda/queue-event.ts';
import { computeRetryPauseMs, createQueuePipeline, VISIBILITY_SECONDS } from '../lambda/queue-pipeline.ts';
import { type ReceiverPorts, receive } from './receive.ts';

/** Options of `createIntakeHandler`. */
export interface IntakeHandlerOptions extends QueueControlOptions {
  readonly client: Parameters<typeof createQueueControl>[0];
  readonly telemetry: ProcessTelemetry;
  /** Bytes of messages in hand at once in a process. */
  readonly maxBytes: number;
  /** Divides the visibility timeout, to make tests faster. */
  readonly timingsDivisor: number;
}

/** Messages in hand at once in an invocation: each takes milliseconds. */
const PLACES = 20;
/** The most bytes that a process loads for a message whose body is in the bucket. */
const INBOX_BYTES = 6_000_000;
/**
 * A message is received again only after a failure, a crash or a postponement, so its pauses grow with its receives. They grow as
 * fast when it was postponed: ten receives take longer then than those after crashes, for which `receive` would reject it.
 */
export const INTAKE_RETRY = { firstRetryMs: 5_000, longestRetryMs: 900_000 };

/** Creates the handler of the function that consumes the generation queue. */
export function createIntakeHandler(
  { client, telemetry, maxBytes, timingsDivisor, ...urls }: IntakeHandlerOptions,
  dependencies: Omit<ReceiverPorts, 'onError'>,
) {
  const queue = createQueueControl(client, urls);
  const visibilitySeconds = Math.ceil(VISIBILITY_SECONDS / timingsDivisor);
  const bytesOf = getMessageBytes;
  const pauses = divideTimings(INTAKE_RETRY, timingsDivisor);
  const options = {
    ...{ telemetry, queue, queueUrl: urls.queueUrl, places: PLACES, maxBytes, bytesOf, visibilitySeconds },
    ...pauses,
    postponeMs: (record: QueueRecord) => computeRetryPauseMs(record, pauses),
  };
  return createQueuePipeline(options, (record, call) => {
    const onError = createFailureLog(call.telemetry.logger);
    return receive(record, { ...dependencies, onError }, call);
  });
}

/** A field name that may be `bodyPointer`. JSON allows escapes in it, which no encoder writes for letters. */
const POINTER = /"bodyPointer"|\\u00[4-7]/;

/** Returns the size of what a message makes the process load: its own, or the largest that an inbox object may have. */
export function getMessageBytes({ body }: QueueRecord): number {
  return POINTER.test(body) ? INBOX_BYTES : body.length;
}
