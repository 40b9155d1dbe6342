import { describeError } from '../core/logger.ts';
import type { ProcessTelemetry } from '../core/telemetry.ts';
import type { CompletionPorts } from '../jobs/completion.ts';
import type { SendText } from '../jobs/ticket-queue.ts';

/** The message in the dead-letter queue that records a completion step that was given up. */
interface FailedStepMessage {
  readonly version: 1;
  readonly type: 'failed-step';
  readonly tenant: string;
  readonly id: string;
  readonly step: string;
}

/** Creates the report of completion steps that were given up: a log line, a metric and a message in the dead-letter queue. */
export function createStepFailureReport(
  deadLetterUrl: string,
  sendText: SendText,
  telemetry: ProcessTelemetry,
): CompletionPorts['onStepFailed'] {
  return async ({ tenant, id }, step, thrown) => {
    const message: FailedStepMessage = { version: 1, type: 'failed-step', tenant, id, step };
    await sendText(deadLetterUrl, JSON.stringify(message), tenant);
    telemetry
      .forRequest({})
      .logger.error('completion step given up', { tenant, jobId: id, step, ...describeError(thrown) });
    telemetry.metrics.publish({ JobStepsFailed: [1, 'Count'] });
  };
}
