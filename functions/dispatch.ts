/** Does the queued work of GPU workers: pointers to jobs, each run once to a committed result on whichever worker has room. */
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleepFor } from 'node:timers/promises';
import * as v from 'valibot';
import { createJobRoom } from '../shared/api/job-dependencies.ts';
import { receiveOnLane } from '../shared/api/receive.ts';
import { createDynamoDBClient } from '../shared/aws/dynamodb.ts';
import { createKmsClient } from '../shared/aws/kms.ts';
import { createS3Client } from '../shared/aws/s3.ts';
import { createSQSClient } from '../shared/aws/sqs.ts';
import { readConfig } from '../shared/core/config.ts';
import type { ErrorCode } from '../shared/core/errors.ts';
import { failureLog } from '../shared/core/logger.ts';
import { createSecretResolver } from '../shared/core/secrets.ts';
import { createTelemetry } from '../shared/core/telemetry.ts';
import { divideTimings } from '../shared/core/timings.ts';
import { FLEET_TIMINGS } from '../shared/gpu/fleet-timings.ts';
import { createModelFactory, getCapabilities } from '../shared/inference/providers/providers.ts';
import { parseModelRegistry } from '../shared/inference/registry.ts';
import { createRouter } from '../shared/inference/router.ts';
import { observeOutcome } from '../shared/jobs/observe.ts';
import { jobSettings } from '../shared/jobs/settings.ts';
import { createYielding } from '../shared/jobs/yielding.ts';
import { createQueueControl } from '../shared/lambda/queue-control.ts';
import { queuePipeline, VISIBILITY_SECONDS } from '../shared/lambda/queue-pipeline.ts';
import { computeSystemFingerprint } from '../shared/openai/fingerprint.ts';

const config = readConfig({
  ...jobSettings,
  GPU_DLQ_URL: v.string(),
  FLEET_TABLE: v.string(),
  /** The registry; the one that was packaged beside the code when absent. */
  MODELS_FILE: v.optional(v.string(), join(import.meta.dirname, 'models.json')),
});
const telemetry = createTelemetry(config);
const registry = parseModelRegistry(readFileSync(config.MODELS_FILE, 'utf8'), config.MODELS_FILE);
const clients = {
  dynamodb: createDynamoDBClient(),
  kms: createKmsClient(),
  s3: createS3Client(),
  sqs: createSQSClient(),
};
const room = createJobRoom(clients, config, telemetry.metrics, { mayCreateKeys: false });
const ports = {
  ...room,
  router: createRouter({
    registry,
    createModel: createModelFactory({
      secret: createSecretResolver({ environment: process.env }),
      gpu: {
        fleets: registry.fleets,
        tableName: config.FLEET_TABLE,
        tier: 'batch',
        timings: divideTimings(FLEET_TIMINGS.slots, config.TIMINGS_DIVISOR),
      },
    }),
    getCapabilities,
  }),
  fingerprint: (model: string) => computeSystemFingerprint(registry.models[model]),
  ids: () => randomUUID().replaceAll('-', ''),
  random: Math.random,
  yielding: createYielding(Date.now),
  // A worker that stops in the middle costs its attempt; another one is there for the next.
  movesOnAfter: new Set<ErrorCode>(['upstream_cut']),
  sleep: (ms: number, signal: AbortSignal) => sleepFor(ms, undefined, { signal }).catch(() => {}),
};
const queue = createQueueControl(clients.sqs, {
  queueUrl: config.GPU_QUEUE_URL,
  deadLetterUrl: config.GPU_DLQ_URL,
});
const visibilitySeconds = Math.ceil(VISIBILITY_SECONDS / config.TIMINGS_DIVISOR);

export const handler = queuePipeline({ telemetry, queue, visibilitySeconds }, async (record, call) => {
  const startedAt = Date.now();
  const outcome = await receiveOnLane('gpu', record, { ...ports, onError: failureLog(call.telemetry.logger) }, call);
  observeOutcome(outcome, { startedAt, now: Date.now() }, call.telemetry);
});
