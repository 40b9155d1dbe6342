import { createFailureLog } from '../core/logger.ts';
import type { ProcessTelemetry } from '../core/telemetry.ts';
import { observeOutcome } from '../jobs/observe.ts';
import type { Outcome, WorkerPorts } from '../jobs/worker.ts';
import { createQueueControl, type QueueControlOptions } from '../lambda/queue-control.ts';
import type { QueueRecord } from '../lambda/queue-event.ts';
import { createQueuePipeline, type MessageContext, VISIBILITY_SECONDS } from '../lambda/queue-pipeline.ts';

/** Options of `createJobQueueHandler`. */
export interface JobQueueOptions extends QueueControlOptions {
  readonly client: Parameters<typeof createQueueControl>[0];
  readonly telemetry: ProcessTelemetry;
  /** Divides the visibility timeout, to make tests faster. */
  readonly timingsDivisor: number;
}

/** Creates the handler of a function that consumes a job queue. Logs and measures the outcome of each message. */
export function createJobQueueHandler(
  { client, telemetry, timingsDivisor, ...urls }: JobQueueOptions,
  receive: (record: QueueRecord, call: MessageContext, onError: WorkerPorts['onError']) => Promise<Outcome>,
) {
  const queue = createQueueControl(client, urls);
  const visibilitySeconds = Math.ceil(VISIBILITY_SECONDS / timingsDivisor);
  return createQueuePipeline({ telemetry, queue, visibilitySeconds }, async (record, call) => {
    const startedAt = Date.now();
    const outcome = await receive(record, call, createFailureLog(call.telemetry.logger));
    observeOutcome(outcome, { startedAt, now: Date.now() }, call.telemetry);
  });
}
