/** Keeps the registry of GPU workers up to date, scales fleets to their demand and runs operators' commands. */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import * as v from 'valibot';
import { createDynamoDBClient } from '../shared/aws/dynamodb.ts';
import { createEcsClient } from '../shared/aws/ecs.ts';
import { createLambdaClient } from '../shared/aws/lambda.ts';
import { readConfig } from '../shared/core/config.ts';
import { createSecretResolver } from '../shared/core/secrets.ts';
import { createTelemetry } from '../shared/core/telemetry.ts';
import { divideTimings, timingsSettings } from '../shared/core/timings.ts';
import { FLEET_TIMINGS } from '../shared/gpu/fleet-timings.ts';
import { createDynamoDBFleetStore } from '../shared/gpu/registry/dynamodb-fleet.ts';
import type { WorkerSummary } from '../shared/gpu/upkeep/commands.ts';
import { createEcs } from '../shared/gpu/upkeep/ecs-api.ts';
import { createEventSourceMapping } from '../shared/gpu/upkeep/event-source-mapping.ts';
import { handleFleetEvent } from '../shared/gpu/upkeep/handle-event.ts';
import { createFleetObserver } from '../shared/gpu/upkeep/observe.ts';
import { createProbeFactory } from '../shared/gpu/upkeep/probe.ts';
import { fleetSettings } from '../shared/gpu/upkeep/settings.ts';
import { readModelRegistry } from '../shared/inference/read-registry.ts';
import { createDynamoDBStore } from '../shared/jobs/dynamodb-store.ts';
import { countBacklog } from '../shared/jobs/sweep.ts';
import { createEventPipeline } from '../shared/lambda/event-pipeline.ts';

const LAMBDA_TIMEOUT_MS = 5_000;

const config = readConfig({
  ...fleetSettings,
  ...timingsSettings,
  /** Path of `models.json`. Default: the file that is packaged with the code. */
  MODELS_FILE: v.optional(v.string(), join(import.meta.dirname, 'models.json')),
});
const telemetry = createTelemetry(config);
const { fleets } = readModelRegistry(config.MODELS_FILE);
const timings = divideTimings(FLEET_TIMINGS.upkeep, config.TIMINGS_DIVISOR);
const dynamodb = createDynamoDBClient();
const shards = config.JOB_SHARDS_READ;
const jobs = createDynamoDBStore(dynamodb, { tableName: config.JOBS_TABLE, shards });
const dependencies = {
  fleets,
  store: createDynamoDBFleetStore(dynamodb, { tableName: config.FLEET_TABLE }),
  ecs: createEcs(createEcsClient()),
  createProbe: createProbeFactory(fleets, createSecretResolver({ environment: process.env }), timings),
  countWaitingJobs: async () => (await countBacklog('gpu', { jobs, shards })).waiting,
  dispatch:
    config.GPU_MAPPING_ID === undefined
      ? undefined
      : {
          mapping: createEventSourceMapping(createLambdaClient(LAMBDA_TIMEOUT_MS), config.GPU_MAPPING_ID),
          batchSize: config.GPU_BATCH_SIZE,
          maxConcurrency: config.DISPATCH_CONCURRENCY_MAX,
        },
  now: Date.now,
  sleep: (ms: number) => sleep(ms),
  timings,
};

export const handler = createEventPipeline<unknown, readonly WorkerSummary[] | undefined>(telemetry, (event, context) =>
  handleFleetEvent(event, { ...dependencies, ...createFleetObserver(context.telemetry) }),
);
