/** Turns the generation queue's messages into jobs and runs them. Forwards jobs for GPU workers to `dispatch`. */
import { join } from 'node:path';
import * as v from 'valibot';
import { createSenderTable } from '../shared/access/sender-table.ts';
import { createJobClients } from '../shared/api/job-clients.ts';
import { createJobQueueHandler } from '../shared/api/job-queue-handler.ts';
import { receive } from '../shared/api/receive.ts';
import { createWorkerDependencies } from '../shared/api/worker-dependencies.ts';
import { readConfig } from '../shared/core/config.ts';
import { createSecretResolver } from '../shared/core/secrets.ts';
import { createTelemetry } from '../shared/core/telemetry.ts';
import { createModelFactory } from '../shared/inference/providers/providers.ts';
import { readModelRegistry } from '../shared/inference/read-registry.ts';
import { fallbackLaneOf, laneOf } from '../shared/jobs/queue-routing.ts';
import { jobSettings } from '../shared/jobs/settings.ts';

const config = readConfig({
  ...jobSettings,
  ACCESS_TABLE: v.string(),
  GENERATION_DLQ_URL: v.string(),
  /** Path of `models.json`. Default: the file that is packaged with the code. */
  MODELS_FILE: v.optional(v.string(), join(import.meta.dirname, 'models.json')),
});
const telemetry = createTelemetry(config);
const registry = readModelRegistry(config.MODELS_FILE);
const clients = createJobClients();
const dependencies = {
  ...createWorkerDependencies(clients, config, telemetry.metrics, {
    registry,
    createModel: createModelFactory({ secret: createSecretResolver({ environment: process.env }) }),
    mayCreateKeys: true,
  }),
  registry,
  senders: createSenderTable(clients.dynamodb, config.ACCESS_TABLE),
  replyQueues: config.REPLY_QUEUES,
  // Only dispatch reaches GPU workers.
  otherLane: (model: string) => laneOf(model, registry),
  fallbackLane: (model: string, thrown: unknown) => fallbackLaneOf(model, thrown, registry),
};

export const handler = createJobQueueHandler(
  {
    client: clients.sqs,
    queueUrl: config.GENERATION_QUEUE_URL,
    deadLetterUrl: config.GENERATION_DLQ_URL,
    telemetry,
    timingsDivisor: config.TIMINGS_DIVISOR,
  },
  (record, call, onError) => receive(record, { ...dependencies, onError }, call),
);
