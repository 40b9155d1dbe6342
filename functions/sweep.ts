/** Looks after jobs that are due and that nobody came for: announces them again, ends them, tells of their end. */
import type { ScheduledEvent } from 'aws-lambda';
import { createJobRoom } from '../shared/api/job-dependencies.ts';
import { createDynamoDBClient } from '../shared/aws/dynamodb.ts';
import { createKmsClient } from '../shared/aws/kms.ts';
import { createS3Client } from '../shared/aws/s3.ts';
import { createSQSClient } from '../shared/aws/sqs.ts';
import { readConfig } from '../shared/core/config.ts';
import { failureLog } from '../shared/core/logger.ts';
import { createTelemetry } from '../shared/core/telemetry.ts';
import { jobSettings } from '../shared/jobs/settings.ts';
import { sweepDue } from '../shared/jobs/sweep.ts';
import { eventPipeline } from '../shared/lambda/event-pipeline.ts';

/** Below the function's own time and the minute until the next run: what is left is that one's. */
const RUN_MS = 45_000;
/** Sixteen times as many jobs in one run, and half a million requests at worst. */
const PER_PARTITION = 5_000;

const config = readConfig(jobSettings);
const telemetry = createTelemetry(config);
const clients = {
  dynamodb: createDynamoDBClient(),
  kms: createKmsClient(),
  s3: createS3Client(),
  sqs: createSQSClient(),
};
const room = createJobRoom(clients, config, telemetry.metrics, { mayCreateKeys: false });

export const handler = eventPipeline<ScheduledEvent, void>(telemetry, async (_event, context) => {
  const { logger, metrics } = context.telemetry;
  const ports = { ...room, onError: failureLog(logger) };
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
