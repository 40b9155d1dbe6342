/** Works on the tickets of jobs for GPU workers. */
import { join } from 'node:path';
import * as v from 'valibot';
import { createJobClients } from '../shared/api/job-clients.ts';
import { createTicketHandler } from '../shared/api/job-queue-handler.ts';
import { receiveTicket } from '../shared/api/receive-ticket.ts';
import { createWorkerDependencies } from '../shared/api/worker-dependencies.ts';
import { readConfig } from '../shared/core/config.ts';
import type { ErrorCode } from '../shared/core/errors.ts';
import { once } from '../shared/core/once.ts';
import { createSecretResolver } from '../shared/core/secrets.ts';
import { createTelemetry } from '../shared/core/telemetry.ts';
import { divideTimings } from '../shared/core/timings.ts';
import { FLEET_TIMINGS } from '../shared/gpu/fleet-timings.ts';
import type { ContinuationSeal } from '../shared/inference/continuation-seal.ts';
import { createModelFactory, getCapabilities } from '../shared/inference/providers/providers.ts';
import { readModelRegistry } from '../shared/inference/read-registry.ts';
import { getMaxBytes, workerSettings } from '../shared/jobs/settings.ts';

const config = readConfig({
  ...workerSettings,
  GPU_DLQ_URL: v.string(),
  FLEET_TABLE: v.string(),
  /** Path of `models.json`. Default: the file that is packaged with the code. */
  MODELS_FILE: v.optional(v.string(), join(import.meta.dirname, 'models.json')),
});
const telemetry = createTelemetry(config);
const registry = readModelRegistry(config.MODELS_FILE);
const clients = createJobClients();
const secret = createSecretResolver({ environment: process.env });
const createModels = (seal: ContinuationSeal) =>
  createModelFactory({
    secret,
    seal,
    gpu: {
      fleets: registry.fleets,
      tableName: config.FLEET_TABLE,
      tier: 'batch',
      timings: divideTimings(FLEET_TIMINGS.slots, config.TIMINGS_DIVISOR),
    },
  });
const dependencies = {
  ...createWorkerDependencies(clients, config, telemetry, {
    registry,
    createModels,
    loadLimits: once(async () =>
      (await import('../shared/api/open-limits.ts')).openLimits({ registry, getCapabilities }),
    ),
    secret,
    mayCreateKeys: false,
  }),
  lane: 'gpu',
  // After a worker failed during an answer, the next attempt follows at once on another worker.
  movesOnAfter: new Set<ErrorCode>(['upstream_cut']),
};

export const handler = createTicketHandler(
  {
    client: clients.sqs,
    queueUrl: config.GPU_QUEUE_URL,
    deadLetterUrl: config.GPU_DLQ_URL,
    telemetry,
    places: config.JOB_PLACES,
    maxBytes: getMaxBytes(config),
    timingsDivisor: config.TIMINGS_DIVISOR,
  },
  (record, call, onError) => receiveTicket(record, { ...dependencies, onError }, call),
);
