import { createBucket } from '../aws/bucket.ts';
import type { Metrics } from '../core/metrics.ts';
import { once } from '../core/once.ts';
import type { ProcessTelemetry } from '../core/telemetry.ts';
import { divideTimings } from '../core/timings.ts';
import { createBodies } from '../jobs/bodies.ts';
import { withStorageCounts } from '../jobs/counted-store.ts';
import { createDynamoDBBlobs } from '../jobs/dynamodb-blobs.ts';
import { createDynamoDBStore } from '../jobs/dynamodb-store.ts';
import { createEventLog } from '../jobs/event-log.ts';
import { gatherTickets } from '../jobs/gathered-tickets.ts';
import { createLifetime } from '../jobs/lifetime.ts';
import { watchOutages } from '../jobs/outage-watch.ts';
import type { GiveBackStorage } from '../jobs/ports.ts';
import type { IntakeSettings, JobSettings, StoreSettings } from '../jobs/settings.ts';
import { createSendText, createTicketQueue } from '../jobs/ticket-queue.ts';
import { JOB_TIMINGS } from '../jobs/timings.ts';
import { createConversationTable } from '../sessions/conversation-table.ts';
import { createConversations } from '../sessions/conversations.ts';
import type { TenantVault } from '../vault/create-vault.ts';
import { createConversationStep } from './conversation-step.ts';
import { openVault, type VaultAccess } from './open-vault.ts';
import { createReplyStep } from './reply-queue.ts';
import { createStepFailureReport } from './step-failure.ts';
import type { OpenStorageLimits } from './storage-limits.ts';
import { createStorageStep } from './storage-step.ts';

type Clients = {
  readonly dynamodb: Parameters<typeof createDynamoDBStore>[0];
  readonly kms: Parameters<typeof openVault>[0]['kms'];
  readonly s3: Parameters<typeof createBucket>[0];
  readonly sqs: Parameters<typeof createTicketQueue>[0];
};

/** Maximum size of an inbox object: about the maximum size of a Lambda request. */
const MAX_INBOX_BYTES = 6_000_000;

/** Options of `createJobStores`. */
export interface StoreOptions extends VaultAccess {
  /** The environment's vault, if it has one already. */
  readonly vault?: TenantVault;
}

/** Creates the stores of jobs in AWS, once per function environment. */
export function createJobStores(
  clients: Omit<Clients, 'sqs'>,
  settings: StoreSettings,
  metrics: Metrics,
  options: StoreOptions,
) {
  const { dynamodb, s3 } = clients;
  const { vault = openVault(clients, settings, metrics, options) } = options;
  const bucket = createBucket(s3, settings.BUCKET);
  const blobs = createDynamoDBBlobs(dynamodb, { tableName: settings.JOBS_TABLE, bucket });
  const { JOBS_TABLE: tableName, JOB_SHARDS: shards } = settings;
  const watched = watchOutages(createDynamoDBStore(dynamodb, { tableName, shards }), Date.now, () =>
    metrics.publish({ StoreErrors: [1, 'Count'] }, 'stage'),
  );
  const openStorageLimits: OpenStorageLimits = once(async () =>
    (await import('./open-storage-limits.ts')).openStorageLimits(metrics),
  );
  const giveBackStorage: GiveBackStorage = async (...stored) => (await openStorageLimits()).giveBack(...stored);
  return {
    vault,
    bucket,
    openStorageLimits,
    giveBackStorage,
    jobs: withStorageCounts(watched.store, giveBackStorage),
    lastOutageAt: watched.lastOutageAt,
    bodies: createBodies(vault, blobs),
    events: createEventLog(vault, blobs),
    timings: divideTimings(JOB_TIMINGS, settings.TIMINGS_DIVISOR),
  };
}

/** Creates the dependencies of the function that turns messages into jobs, once per function environment. */
export function createIntakeDependencies(clients: Clients, settings: IntakeSettings, metrics: Metrics) {
  const { bucket, ...stores } = createJobStores(clients, settings, metrics, { mayCreateKeys: true });
  return {
    ...stores,
    queue: gatherTickets(createTicketQueue(clients.sqs, settings)),
    inbox: {
      name: settings.BUCKET,
      get: (key: string) => bucket.get(key, MAX_INBOX_BYTES),
      remove: (key: string) => bucket.remove([key]),
    },
    replyQueues: settings.REPLY_QUEUES,
    lifetime: createLifetime(settings),
    now: Date.now,
  };
}

/** Creates the dependencies of a function that runs or completes jobs, once per function environment. */
export function createJobDependencies(
  clients: Clients,
  settings: JobSettings,
  telemetry: ProcessTelemetry,
  options: StoreOptions,
) {
  const { bucket, ...stores } = createJobStores(clients, settings, telemetry.metrics, options);
  const conversations = createConversations({
    table: createConversationTable(clients.dynamodb, settings.SESSIONS_TABLE, bucket),
    vault: stores.vault,
    retentionDays: settings.RETENTION_DAYS,
    giveBackStorage: stores.giveBackStorage,
  });
  const sendText = createSendText(clients.sqs);
  return {
    ...stores,
    conversations,
    queue: createTicketQueue(clients.sqs, settings),
    steps: {
      conversation: createConversationStep(conversations),
      reply: createReplyStep(settings.REPLY_QUEUES, sendText),
      storage: createStorageStep(stores.jobs, stores.giveBackStorage),
    },
    onStepFailed: createStepFailureReport(settings.JOBS_DLQ_URL, sendText, telemetry),
    now: Date.now,
  };
}
