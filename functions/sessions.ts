/** Creates, reads, updates and deletes conversations and their items. */
import * as v from 'valibot';
import {
  conversationReference,
  createConversationRoute,
  createItemsRoute,
  deleteConversationRoute,
  deleteItemRoute,
  itemsReference,
  listItemsRoute,
  retrieveConversationRoute,
  retrieveItemRoute,
  updateConversationRoute,
} from '../shared/api/conversation-routes.ts';
import { createHttpApi, httpApiSettings } from '../shared/api/http-api.ts';
import { createJobStores } from '../shared/api/job-dependencies.ts';
import { SESSIONS_ROUTES } from '../shared/api/route-table.ts';
import { createDynamoDBClient } from '../shared/aws/dynamodb.ts';
import { createKmsClient } from '../shared/aws/kms.ts';
import { createS3Client } from '../shared/aws/s3.ts';
import { readConfig } from '../shared/core/config.ts';
import { createTelemetry } from '../shared/core/telemetry.ts';
import { divideTimings } from '../shared/core/timings.ts';
import { createIdempotencyRecords } from '../shared/idempotency/idempotency-records.ts';
import { idempotent } from '../shared/idempotency/idempotent.ts';
import { CLAIM_TIMINGS } from '../shared/idempotency/key-lease.ts';
import { retentionSettings, storeSettings } from '../shared/jobs/settings.ts';
import { createConversationTable } from '../shared/sessions/conversation-table.ts';
import { createConversations } from '../shared/sessions/conversations.ts';

const config = readConfig({
  ...httpApiSettings,
  ...storeSettings,
  ...retentionSettings,
  SESSIONS_TABLE: v.string(),
});
const telemetry = createTelemetry(config);
const dynamodb = createDynamoDBClient();
const { vault, bucket, bodies, jobs, openStorageLimits, giveBackStorage } = createJobStores(
  { dynamodb, kms: createKmsClient(), s3: createS3Client() },
  config,
  telemetry.metrics,
  { mayCreateKeys: true },
);
const conversations = createConversations({
  table: createConversationTable(dynamodb, config.SESSIONS_TABLE, bucket),
  vault,
  retentionDays: config.RETENTION_DAYS,
  giveBackStorage,
});
const api = { conversations, openStorageLimits };
const idempotency = {
  records: createIdempotencyRecords(dynamodb, config.JOBS_TABLE),
  bodies,
  jobs,
  vault,
  timings: divideTimings(CLAIM_TIMINGS, config.TIMINGS_DIVISOR),
};

export const handler = createHttpApi({
  telemetry,
  corsOrigin: config.CORS_ORIGIN,
  table: SESSIONS_ROUTES,
  routes: {
    'POST /v1/conversations': idempotent(createConversationRoute(api), {
      open: async () => idempotency,
      name: 'conversations',
      reference: conversationReference(api),
    }),
    'GET /v1/conversations/{id}': retrieveConversationRoute(api),
    'POST /v1/conversations/{id}': updateConversationRoute(api),
    'DELETE /v1/conversations/{id}': deleteConversationRoute(api),
    'GET /v1/conversations/{id}/items': listItemsRoute(api),
    'POST /v1/conversations/{id}/items': idempotent(createItemsRoute(api), {
      open: async () => idempotency,
      name: 'conversations.items',
      reference: itemsReference(api),
    }),
    'GET /v1/conversations/{id}/items/{item}': retrieveItemRoute(api),
    'DELETE /v1/conversations/{id}/items/{item}': deleteItemRoute(api),
  },
});
