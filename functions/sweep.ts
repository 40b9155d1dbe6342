/** Looks after jobs that are due and that nobody came for: announces them again, ends them, tells of their end. */
import type { ScheduledEvent } from 'aws-lambda';
import { createJobRoom } from '../shared/jobs/room.ts';
import { jobSettings } from '../shared/jobs/settings.ts';
import { sweepDue } from '../shared/jobs/sweep.ts';
import { createDynamoDBClient } from '../shared/runtime/clients/dynamodb.ts';
import { createKmsClient } from '../shared/runtime/clients/kms.ts';
import { createS3Client } from '../shared/runtime/clients/s3.ts';
import { createSQSClient } from '../shared/runtime/clients/sqs.ts';
import { readConfig } from '../shared/runtime/config.ts';
import { eventPipeline } from '../shared/runtime/event.ts';
import { createLogger, describeError } from '../shared/runtime/logger.ts';
import { createMetrics } from '../shared/runtime/metrics.ts';

/** Below the function's own time and the minute until the next run: what is left is that one's. */
const RUN_MS = 45_000;
/** Sixteen times as many jobs in one run, and half a million requests at worst. */
const PER_PARTITION = 5_000;

const config = readConfig(jobSettings);
const logger = createLogger({ level: config.LOG_LEVEL, fields: { function: config.AWS_LAMBDA_FUNCTION_NAME } });
const metrics = createMetrics(config.AWS_LAMBDA_FUNCTION_NAME);
const clients = {
  dynamodb: createDynamoDBClient(),
  kms: createKmsClient(),
  s3: createS3Client(),
  sqs: createSQSClient(),
};
const ports = {
  ...createJobRoom(clients, config, metrics, { mayCreateKeys: false }),
  onError: (what: string, thrown: unknown) => logger.warn(what, describeError(thrown)),
};

export const handler = eventPipeline<ScheduledEvent, void>({ logger, metrics }, async () => {
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
