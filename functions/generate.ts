/** Works on the tickets of queued jobs. Forwards jobs for GPU workers to `dispatch`. */
import { join } from 'node:path';
import * as v from 'valibot';
import { createJobClients } from '../shared/api/job-clients.ts';
import { createTicketHandler } from '../shared/api/job-queue-handler.ts';
import { receiveTicket } from '../shared/api/receive-ticket.ts';
import { createWorkerDependencies } from '../shared/api/worker-dependencies.ts';
import { readConfig } from '../shared/core/config.ts';
import { once } from '../shared/core/once.ts';
import { createSecretResolver } from '../shared/core/secrets.ts';
import { createTelemetry } from '../shared/core/telemetry.ts';
import { createModelFactory, getCapabilities } from '../shared/inference/providers/providers.ts';
import { readModelRegistry } from '../shared/inference/read-registry.ts';
import { fallbackLaneOf, laneOf } from '../shared/jobs/queue-routing.ts';
import { getMaxBytes, workerSettings } from '../shared/jobs/settings.ts';

const config = readConfig({
  ...workerSettings,
  /** Path of `models.json`. Default: the file that is packaged with the code. */
  MODELS_FILE: v.optional(v.string(), join(import.meta.dirname, 'models.json')),
});
const telemetry = createTelemetry(config);
const registry = readModelRegistry(config.MODELS_FILE);
const clients = createJobClients();
const secret = createSecretResolver({ environment: process.env });
const dependencies = {
  ...createWorkerDependencies(clients, config, telemetry, {
    registry,
    createModels: (seal) => createModelFactory({ secret, seal }),
    loadLimits: once(async () =>
      (await import('../shared/api/open-limits.ts')).openLimits({ registry, getCapabilities }),
    ),
    secret,
    mayCreateKeys: false,
  }),
  // Only dispatch reaches GPU workers.
  otherLane: (model: string) => laneOf(model, registry),
  fallbackLane: (model: string, thrown: unknown) => fallbackLaneOf(model, thrown, registry),
};

export const handler = createTicketHandler(
  {
    client: clients.sqs,
    queueUrl: config.JOBS_QUEUE_URL,
    deadLetterUrl: config.JOBS_DLQ_URL,
    telemetry,
    places: config.JOB_PLACES,
    maxBytes: getMaxBytes(config),
    timingsDivisor: config.TIMINGS_DIVISOR,
  },
  (record, call, onError) => receiveTicket(record, { ...dependencies, onError }, call),
);
