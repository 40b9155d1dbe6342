/** Turns the generation queue's messages into jobs and sends their tickets. */
import { join } from 'node:path';
import * as v from 'valibot';
import { cachePolicies, createPolicyTable } from '../shared/access/policy-table.ts';
import { createSenderTable } from '../shared/access/sender-table.ts';
import { createIntakeHandler } from '../shared/api/intake-handler.ts';
import { createJobClients } from '../shared/api/job-clients.ts';
import { createIntakeDependencies } from '../shared/api/job-dependencies.ts';
import { readConfig } from '../shared/core/config.ts';
import { once } from '../shared/core/once.ts';
import { createTelemetry } from '../shared/core/telemetry.ts';
import { readModelRegistry } from '../shared/inference/read-registry.ts';
import { getMaxBytes, intakeSettings } from '../shared/jobs/settings.ts';

const config = readConfig({
  ...intakeSettings,
  ACCESS_TABLE: v.string(),
  GENERATION_DLQ_URL: v.string(),
  /** Path of `models.json`. Default: the file that is packaged with the code. */
  MODELS_FILE: v.optional(v.string(), join(import.meta.dirname, 'models.json')),
});
const telemetry = createTelemetry(config);
const clients = createJobClients();
const stores = createIntakeDependencies(clients, config, telemetry.metrics);
const dependencies = {
  ...stores,
  openQueueLimits: once(async () => (await import('../shared/api/open-queue-limits.ts')).openQueueLimits(stores.jobs)),
  registry: readModelRegistry(config.MODELS_FILE),
  senders: createSenderTable(clients.dynamodb, config.ACCESS_TABLE),
  policies: cachePolicies(createPolicyTable(clients.dynamodb, config.ACCESS_TABLE)),
};

export const handler = createIntakeHandler(
  {
    client: clients.sqs,
    queueUrl: config.GENERATION_QUEUE_URL,
    deadLetterUrl: config.GENERATION_DLQ_URL,
    telemetry,
    maxBytes: getMaxBytes(config),
    timingsDivisor: config.TIMINGS_DIVISOR,
  },
  dependencies,
);
