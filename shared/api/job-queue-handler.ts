import type { SQSClient } from '@aws-sdk/client-sqs';
import { failureLog } from '../core/logger.ts';
import type { ProcessTelemetry } from '../core/telemetry.ts';
import { observeOutcome } from '../jobs/observe.ts';
import type { Outcome, WorkerPorts } from '../jobs/worker.ts';
import { createQueueControl, type QueueControlOptions } from '../lambda/queue-control.ts';
import type { QueueRecord } from '../lambda/queue-event.ts';
import { type QueueCall, queuePipeline, VISIBILITY_SECONDS } from '../lambda/queue-pipeline.ts';

export interface JobQueueOptions extends QueueControlOptions {
  readonly client: SQSClient;
  readonly telemetry: ProcessTelemetry;
  /** Divides the time for which a message stays hidden, so that tests needn't wait for it. */
  readonly timingsDivisor: number;
}

/** Makes the handler of a function behind a queue of jobs: serves each message, and logs and measures what became of its job. */
export function createJobQueueHandler(
  { client, telemetry, timingsDivisor, ...urls }: JobQueueOptions,
  receive: (record: QueueRecord, call: QueueCall, onError: WorkerPorts['onError']) => Promise<Outcome>,
) {
  const queue = createQueueControl(client, urls);
  const visibilitySeconds = Math.ceil(VISIBILITY_SECONDS / timingsDivisor);
  return queuePipeline({ telemetry, queue, visibilitySeconds }, async (record, call) => {
    const startedAt = Date.now();
    const outcome = await receive(record, call, failureLog(call.telemetry.logger));
    observeOutcome(outcome, { startedAt, now: Date.now() }, call.telemetry);
  });
}
