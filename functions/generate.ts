/** Does queued work: messages of programs and pointers to jobs, each run once to a committed result, or handed to dispatch. */
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleepFor } from 'node:timers/promises';
import * as v from 'valibot';
import { createSenderTable } from '../shared/access/sender-table.ts';
import { createJobRoom } from '../shared/api/job-dependencies.ts';
import { receive } from '../shared/api/receive.ts';
import { createDynamoDBClient } from '../shared/aws/dynamodb.ts';
import { createKmsClient } from '../shared/aws/kms.ts';
import { createS3Client } from '../shared/aws/s3.ts';
import { createSQSClient } from '../shared/aws/sqs.ts';
import { readConfig } from '../shared/core/config.ts';
import { failureLog } from '../shared/core/logger.ts';
import { createSecretResolver } from '../shared/core/secrets.ts';
import { createTelemetry } from '../shared/core/telemetry.ts';
import { createModelFactory, getCapabilities } from '../shared/inference/providers/providers.ts';
import { parseModelRegistry } from '../shared/inference/registry.ts';
import { createRouter } from '../shared/inference/router.ts';
import { observeOutcome } from '../shared/jobs/observe.ts';
import { fallbackLaneOf, laneOf } from '../shared/jobs/queue-routing.ts';
import { jobSettings } from '../shared/jobs/settings.ts';
import { createYielding } from '../shared/jobs/yielding.ts';
import { createQueueControl } from '../shared/lambda/queue-control.ts';
import { queuePipeline, VISIBILITY_SECONDS } from '../shared/lambda/queue-pipeline.ts';
import { computeSystemFingerprint } from '../shared/openai/fingerprint.ts';

const config = readConfig({
  ...jobSettings,
  ACCESS_TABLE: v.string(),
  GENERATION_DLQ_URL: v.string(),
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
const room = createJobRoom(clients, config, telemetry.metrics, { mayCreateKeys: true });
const ports = {
  ...room,
  router: createRouter({
    registry,
    createModel: createModelFactory({ secret: createSecretResolver({ environment: process.env }) }),
    getCapabilities,
  }),
  registry,
  senders: createSenderTable(clients.dynamodb, config.ACCESS_TABLE),
  replyQueues: config.REPLY_QUEUES,
  fingerprint: (model: string) => computeSystemFingerprint(registry.models[model]),
  ids: () => randomUUID().replaceAll('-', ''),
  random: Math.random,
  yielding: createYielding(Date.now),
  // GPU workers are in reach of dispatch alone.
  otherLane: (model: string) => laneOf(model, registry),
  fallbackLane: (model: string, thrown: unknown) => fallbackLaneOf(model, thrown, registry),
  sleep: (ms: number, signal: AbortSignal) => sleepFor(ms, undefined, { signal }).catch(() => {}),
};
const queue = createQueueControl(clients.sqs, {
  queueUrl: config.GENERATION_QUEUE_URL,
  deadLetterUrl: config.GENERATION_DLQ_URL,
});
const visibilitySeconds = Math.ceil(VISIBILITY_SECONDS / config.TIMINGS_DIVISOR);

export const handler = queuePipeline({ telemetry, queue, visibilitySeconds }, async (record, call) => {
  const startedAt = Date.now();
  const outcome = await receive(record, { ...ports, onError: failureLog(call.telemetry.logger) }, call);
  observeOutcome(outcome, { startedAt, now: Date.now() }, call.telemetry);
});
