import { createDynamoDBClient } from '../aws/dynamodb.ts';
import { createKmsClient } from '../aws/kms.ts';
import { createS3Client } from '../aws/s3.ts';
import { createSQSClient } from '../aws/sqs.ts';
import type { Metrics } from '../core/metrics.ts';
import { once } from '../core/once.ts';
import { divideTimings } from '../core/timings.ts';
import { createIdempotencyRecords } from '../idempotency/idempotency-records.ts';
import type { Idempotency } from '../idempotency/idempotent-options.ts';
import { CLAIM_TIMINGS } from '../idempotency/key-lease.ts';
import { createJobList } from '../jobs/job-list.ts';
import { createLifetime } from '../jobs/lifetime.ts';
import type { LifetimeSettings, StoreSettings } from '../jobs/settings.ts';
import { createTicketQueue, type QueueSettings } from '../jobs/ticket-queue.ts';
import { createConversationTable } from '../sessions/conversation-table.ts';
import { createConversations } from '../sessions/conversations.ts';
import type { TenantVault } from '../vault/create-vault.ts';
import type { ApiState } from './api-state.ts';
import { createJobStores } from './job-dependencies.ts';

/** The settings of a function that uses stored objects. */
export interface StateSettings extends StoreSettings, QueueSettings, LifetimeSettings {
  readonly SESSIONS_TABLE: string;
}

/**
 * Creates the stores of the API and of idempotency keys. Call it once per environment. Import this file only when a
 * request needs it: its AWS clients are most of the code that a cold start would load.
 */
export function openApiState(
  settings: StateSettings,
  metrics: Metrics,
  vault: TenantVault,
): { readonly state: ApiState; readonly idempotency: Idempotency } {
  const dynamodb = createDynamoDBClient();
  const clients = { dynamodb, kms: createKmsClient(), s3: createS3Client() };
  const { bucket, jobs, bodies, events, timings, openStorageLimits, giveBackStorage } = createJobStores(
    clients,
    settings,
    metrics,
    {
      mayCreateKeys: true,
      vault,
    },
  );
  return {
    state: {
      vault,
      jobs,
      bodies,
      events,
      chats: createJobList(dynamodb, settings.JOBS_TABLE, vault),
      queue: createTicketQueue(createSQSClient(), settings),
      conversations: createConversations({
        table: createConversationTable(dynamodb, settings.SESSIONS_TABLE, bucket),
        vault,
        retentionDays: settings.RETENTION_DAYS,
        giveBackStorage,
      }),
      openStorageLimits,
      openQueueLimits: once(async () => (await import('./open-queue-limits.ts')).openQueueLimits(jobs)),
      lifetime: createLifetime(settings),
      timings,
    },
    idempotency: {
      records: createIdempotencyRecords(dynamodb, settings.JOBS_TABLE),
      bodies,
      jobs,
      vault,
      timings: divideTimings(CLAIM_TIMINGS, settings.TIMINGS_DIVISOR),
    },
  };
}
