import { createFailureLog } from '../core/logger.ts';
import type { ProcessTelemetry } from '../core/telemetry.ts';
import { divideTimings } from '../core/timings.ts';
import { observeOutcome } from '../jobs/observe.ts';
import { ticketAction } from '../jobs/worker.ts';
import type { Outcome, WorkerPorts } from '../jobs/worker-ports.ts';
import { createQueueControl, type QueueControlOptions } from '../lambda/queue-control.ts';
import type { QueueRecord } from '../lambda/queue-event.ts';
import { createQueuePipeline, type MessageContext, VISIBILITY_SECONDS } from '../lambda/queue-pipeline.ts';
import { getTicketBytes } from './receive-ticket.ts';

/** Options of `createTicketHandler`. */
export interface TicketHandlerOptions extends QueueControlOptions {
  readonly client: Parameters<typeof createQueueControl>[0];
  readonly telemetry: ProcessTelemetry;
  /** Jobs in hand at once in an invocation. */
  readonly places: number;
  /** Bytes of inputs in hand at once in a process. */
  readonly maxBytes: number;
  /** Divides the visibility timeout, to make tests faster. */
  readonly timingsDivisor: number;
}

/** A ticket is received often without any failure, so the pauses after failures stay short. */
const RETRY = { firstRetryMs: 5_000, longestRetryMs: 30_000 };

/** Creates the handler of a function that consumes a ticket queue. Logs and measures the outcome of each ticket. */
export function createTicketHandler(
  { client, telemetry, places, maxBytes, timingsDivisor, ...urls }: TicketHandlerOptions,
  receive: (record: QueueRecord, call: MessageContext, onError: WorkerPorts['onError']) => Promise<Outcome>,
) {
  const queue = createQueueControl(client, urls);
  const visibilitySeconds = Math.ceil(VISIBILITY_SECONDS / timingsDivisor);
  const bytesOf = getTicketBytes;
  const options = {
    ...{ telemetry, queue, queueUrl: urls.queueUrl, places, maxBytes, bytesOf, visibilitySeconds },
    ...divideTimings(RETRY, timingsDivisor),
  };
  return createQueuePipeline(options, async (record, call) => {
    const startedAt = Date.now();
    const outcome = await receive(record, call, createFailureLog(call.telemetry.logger));
    observeOutcome(outcome, { startedAt, now: Date.now() }, call.telemetry);
    return ticketAction(outcome, Date.now());
  });
}
