/** Scheduled sweep: re-enqueues stalled jobs, expires overdue ones and retries completion steps. */
import type { ScheduledEvent } from 'aws-lambda';
import { createJobClients } from '../shared/api/job-clients.ts';
import { createJobDependencies } from '../shared/api/job-dependencies.ts';
import { readConfig } from '../shared/core/config.ts';
import { createFailureLog } from '../shared/core/logger.ts';
import { createTelemetry } from '../shared/core/telemetry.ts';
import { jobSettings } from '../shared/jobs/settings.ts';
import { sweepDue } from '../shared/jobs/sweep.ts';
import { createEventPipeline } from '../shared/lambda/event-pipeline.ts';

/** Below the function's timeout and the minute until the next run, which continues with the remaining jobs. */
const RUN_MS = 45_000;
/** There are 16 partitions: at most 80,000 jobs per run, which takes up to half a million requests. */
const JOBS_PER_PARTITION = 5_000;

const config = readConfig(jobSettings);
const telemetry = createTelemetry(config);
const dependencies = createJobDependencies(createJobClients(), config, telemetry.metrics, { mayCreateKeys: false });

export const handler = createEventPipeline<ScheduledEvent, void>(telemetry, async (_event, context) => {
  const { logger, metrics } = context.telemetry;
  const ports = { ...dependencies, onError: createFailureLog(logger) };
  const swept = await sweepDue(ports, { until: Date.now() + RUN_MS, perPartition: JOBS_PER_PARTITION });
  logger[swept.failed > 0 ? 'warn' : 'info']('swept', { ...swept });
  metrics.publish({
    SweepRuns: [1, 'Count'],
    JobsDue: [swept.due, 'Count'],
    JobsOverdue: [swept.left + swept.failed, 'Count'],
    JobsAnnouncedAgain: [swept.announced, 'Count'],
    JobsEndedBySweep: [swept.ended, 'Count'],
  });
});
