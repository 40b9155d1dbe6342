/**
 * Records the log lines of calls and administrative acts: in the audit log, in its signed digests, and in the usage. Watches for
 * signs of abuse in them.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import * as v from 'valibot';
import { makeActBatch } from '../shared/abuse/act-batch.ts';
import { sumActivity } from '../shared/abuse/activity.ts';
import { addActivity } from '../shared/abuse/activity-table.ts';
import { watchForAbuse } from '../shared/abuse/watch.ts';
import { createHoldTable } from '../shared/access/hold-table.ts';
import { cachePolicies, createPolicyTable } from '../shared/access/policy-table.ts';
import { storeActs } from '../shared/audit/act-table.ts';
import { appendToChain } from '../shared/audit/chain.ts';
import { createChainTable } from '../shared/audit/chain-table.ts';
import { type Entry, readEntries } from '../shared/audit/entry.ts';
import { createSigner } from '../shared/audit/kms-signer.ts';
import { createBucket } from '../shared/aws/bucket.ts';
import { createDynamoDBClient } from '../shared/aws/dynamodb.ts';
import { createKmsClient } from '../shared/aws/kms.ts';
import { createS3Client } from '../shared/aws/s3.ts';
import { readConfig } from '../shared/core/config.ts';
import { createTelemetry, type Telemetry } from '../shared/core/telemetry.ts';
import { createEventPipeline } from '../shared/lambda/event-pipeline.ts';
import { type LogBatch, parseLogEvent } from '../shared/lambda/log-event.ts';
import { addUsage } from '../shared/usage/usage-table.ts';

const config = readConfig({
  USAGE_TABLE: v.string(),
  ACCESS_TABLE: v.string(),
  AUDIT_BUCKET: v.string(),
  /** The KMS key that signs digests. */
  AUDIT_KEY_ID: v.string(),
  /** Days for which administrative acts can be listed. */
  AUDIT_RETENTION_DAYS: v.pipe(v.string(), v.toNumber(), v.integer(), v.minValue(1)),
});
const telemetry = createTelemetry(config);
const client = createDynamoDBClient();
const table = { client, name: config.USAGE_TABLE };
const bucket = createBucket(createS3Client(), config.AUDIT_BUCKET);
const ports = {
  store: createChainTable(table),
  objects: {
    putNew: async (key: string, bytes: Uint8Array) => void (await bucket.put(key, bytes, true)),
    get: bucket.get,
  },
  sign: createSigner(createKmsClient(), config.AUDIT_KEY_ID),
  apply: async (...[digest, entries]: Parameters<Parameters<typeof appendToChain>[2]['apply']>) => {
    await Promise.all([
      addUsage(table, digest, entries),
      storeActs(table, entries, config.AUDIT_RETENTION_DAYS),
      addActivity(table, digest, sumActivity(entries)),
    ]);
  },
  now: Date.now,
  sleep,
};
const watch = {
  table,
  policies: cachePolicies(createPolicyTable(client, config.ACCESS_TABLE)),
  holds: createHoldTable({ client, name: config.ACCESS_TABLE }, Date.now),
  now: Date.now,
};

/** Records entries in the audit log, and in the sums that are computed from it, exactly once. */
async function record(batch: LogBatch, entries: readonly Entry[], { logger }: Telemetry): Promise<void> {
  // This function's log group is the audit log. Lines may be repeated there, unlike in the digests.
  for (const entry of entries) logger.summarize('audit', entry);
  await appendToChain(batch, entries, ports);
}

export const handler = createEventPipeline<unknown, void>(telemetry, async (event, context) => {
  const batch = parseLogEvent(event);
  if (batch === undefined) return;
  const { logger, metrics } = context.telemetry;
  const { entries, unreadable } = readEntries(batch);
  if (unreadable > 0) {
    logger.error('lines not recorded', { count: unreadable, logGroup: batch.logGroup });
    metrics.publish({ LinesUnreadable: [unreadable, 'Count'] });
  }
  if (entries.length === 0) return;
  await record(batch, entries, context.telemetry);
  await watchForAbuse(entries, {
    ...watch,
    async report({ act, at, isHeld }) {
      const reported = makeActBatch(act, at, `/aws/lambda/${config.AWS_LAMBDA_FUNCTION_NAME}`);
      await record(reported, readEntries(reported).entries, context.telemetry);
      metrics.publish({ AbuseSuspected: [1, 'Count'], ...(isHeld && { KeysHeld: [1, 'Count'] }) }, 'stage');
    },
  });
});
