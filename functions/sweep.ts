/**
 * Scheduled sweep: recovers and ends stalled jobs, sends missing tickets and repeats completion steps. Settles the calls of dead
 * functions, and reports keys that expire soon.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import * as v from 'valibot';
import { createExpiringKeys } from '../shared/access/expiring-keys.ts';
import { createKeyTable } from '../shared/access/key-table.ts';
import { cachePolicies, createPolicyTable } from '../shared/access/policy-table.ts';
import { createJobClients } from '../shared/api/job-clients.ts';
import { createJobDependencies } from '../shared/api/job-dependencies.ts';
import { readJobState } from '../shared/api/read-job-state.ts';
import { isExpirySweepDue, sweepExpiringKeys } from '../shared/audit/sweep-expiring-keys.ts';
import { createDynamoDBClient } from '../shared/aws/dynamodb.ts';
import { readConfig } from '../shared/core/config.ts';
import { createFailureLog } from '../shared/core/logger.ts';
import { createTelemetry } from '../shared/core/telemetry.ts';
import { createBacklogWatch } from '../shared/jobs/backlog-watch.ts';
import { createDynamoDBSamples } from '../shared/jobs/dynamodb-samples.ts';
import { jobSettings } from '../shared/jobs/settings.ts';
import { parseSweepPart } from '../shared/jobs/sweep-part.ts';
import { sweepRepeatedly } from '../shared/jobs/sweep-run.ts';
import { createTicketCount } from '../shared/jobs/ticket-queue.ts';
import { createEventPipeline } from '../shared/lambda/event-pipeline.ts';
import { createDynamoDBCounters } from '../shared/limits/dynamodb-counters.ts';
import { isLimitSweepDue, sweepLimits } from '../shared/limits/sweep-limits.ts';

/** Below the function's timeout and the minute until the next run, which continues with the remaining jobs. */
const RUN_MS = 50_000;

const config = readConfig({
  ...jobSettings,
  LIMITS_TABLE: v.string(),
  ACCESS_TABLE: v.string(),
  ADMIN_TABLE: v.string(),
  /** Shards of the jobs' index that are read. Default: those that are written. */
  JOB_SHARDS_READ: v.exactOptional(v.pipe(v.string(), v.toNumber(), v.integer(), v.minValue(1))),
});
const telemetry = createTelemetry(config);
const clients = createJobClients();
const dependencies = {
  ...createJobDependencies(clients, config, telemetry, { mayCreateKeys: false }),
  shards: config.JOB_SHARDS_READ ?? config.JOB_SHARDS,
};
const watch = createBacklogWatch(
  createTicketCount(clients.sqs, config),
  dependencies.timings,
  createDynamoDBSamples(clients.dynamodb, config.JOBS_TABLE),
);

const { list, read } = createDynamoDBCounters(clients.dynamodb, config.LIMITS_TABLE);
/** Its writes are made once. The repetition of one whose response was lost would find nothing to settle, and log nothing. */
const { write } = createDynamoDBCounters(createDynamoDBClient({ maxAttempts: 1 }), config.LIMITS_TABLE);
const limits = {
  store: { list, read, write },
  readState: (tenant: string, id: string) => readJobState(dependencies.jobs, tenant, id),
  now: Date.now,
};

const expiries = {
  expiring: createExpiringKeys({ client: clients.dynamodb, name: config.ADMIN_TABLE }),
  keys: createKeyTable(clients.dynamodb, config.ACCESS_TABLE),
  policies: cachePolicies(createPolicyTable(clients.dynamodb, config.ACCESS_TABLE)),
  now: Date.now,
};

export const handler = createEventPipeline<unknown, void>(telemetry, async (event, context) => {
  const { logger, metrics } = context.telemetry;
  const part = parseSweepPart(event);
  const onError = createFailureLog(logger);
  const ports = { ...dependencies, onError, sleep, ...(part && { part }) };
  const isFirst = (part?.part ?? 0) === 0;
  const until = Math.min(Date.now() + RUN_MS, context.deadlineAt);
  const sweepingLimits =
    isFirst && isLimitSweepDue(Date.now())
      ? sweepLimits({ ...limits, logger, onError }, until)
          .then((isComplete) => isComplete || logger.warn('limits not swept to the end', { seconds: RUN_MS / 1000 }))
          .catch((thrown) => onError('limits not swept', thrown))
      : undefined;
  const reporting =
    isFirst && isExpirySweepDue(Date.now())
      ? sweepExpiringKeys({ ...expiries, telemetry: context.telemetry }, until).catch((thrown) =>
          onError('expiring keys not reported', thrown),
        )
      : undefined;
  await sweepRepeatedly(ports, watch, {
    until,
    onPass: (purpose, swept) => {
      if (swept.seen === 0 && swept.failed === 0) return;
      logger[swept.failed > 0 ? 'warn' : 'info']('swept', { purpose, ...swept });
      if (swept.seen > 0) metrics.publish({ SweptEntries: [swept.seen, 'Count'] }, { Purpose: purpose });
      if (swept.failed > 0) metrics.publish({ SweepFailures: [swept.failed, 'Count'] });
    },
    onBacklog(queue, { waiting }) {
      if (waiting > 0) metrics.publish({ JobsWaiting: [waiting, 'Count'] }, { Queue: queue });
    },
  });
  await Promise.all([sweepingLimits, reporting]);
});
