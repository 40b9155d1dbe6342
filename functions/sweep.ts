/** Looks after jobs that are due and that nobody came for: announces them again, ends them, tells of their end. */
import type { ScheduledEvent } from 'aws-lambda';
import { createJobClients } from '../shared/api/job-clients.ts';
import { createJobDependencies } from '../shared/api/job-dependencies.ts';
import { readConfig } from '../shared/core/config.ts';
import { createFailureLog } from '../shared/core/logger.ts';
import { createTelemetry } from '../shared/core/telemetry.ts';
import { jobSettings } from '../shared/jobs/settings.ts';
import { sweepDue } from '../shared/jobs/sweep.ts';
import { createEventPipeline } from '../shared/lambda/event-pipeline.ts';

/** Below the function's own time and the minute until the next run: what is left is that one's. */
const RUN_MS = 45_000;
/** Sixteen times as many jobs in one run, and half a million requests at worst. */
const PER_PARTITION = 5_000;

const config = readConfig(jobSettings);
const telemetry = createTelemetry(config);
const dependencies = createJobDependencies(createJobClients(), config, telemetry.metrics, { mayCreateKeys: false });

export const handler = createEventPipeline<ScheduledEvent, void>(telemetry, async (_event, context) => {
  const { logger, metrics } = context.telemetry;
  const ports = { ...dependencies, onError: createFailureLog(logger) };
  const swept = await sweepDue(ports, { until: Date.now() + RUN_MS, perPartition: PER_PARTITION });
  logger[swept.failed > 0 ? 'warn' : 'info']('swept', { ...swept });
  metrics.publish({
    SweepRuns: [1, 'Count'],
    JobsDue: [swept.due, 'Count'],
    JobsOverdue: [swept.left + swept.failed, 'Count'],
    JobsAnnouncedAgain: [swept.announced, 'Count'],
    JobsEndedBySweep: [swept.ended, 'Count'],
  });
});
