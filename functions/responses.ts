/** Retrieves, resumes, cancels and deletes stored responses, and serves stored chat completions. */
import { createHttpApi, httpApiSettings } from '../shared/api/http-api.ts';
import { createJobStores } from '../shared/api/job-dependencies.ts';
import { RESPONSES_ROUTES } from '../shared/api/route-table.ts';
import {
  chatMessagesRoute,
  deleteChatRoute,
  listChatsRoute,
  retrieveChatRoute,
  updateChatRoute,
} from '../shared/api/stored-chat-routes.ts';
import {
  cancelResponseRoute,
  deleteResponseRoute,
  inputItemsRoute,
  retrieveResponseRoute,
} from '../shared/api/stored-response-routes.ts';
import { websocketRoute } from '../shared/api/websocket-route.ts';
import { createDynamoDBClient } from '../shared/aws/dynamodb.ts';
import { createKmsClient } from '../shared/aws/kms.ts';
import { createS3Client } from '../shared/aws/s3.ts';
import { readConfig } from '../shared/core/config.ts';
import { once } from '../shared/core/once.ts';
import { createTelemetry } from '../shared/core/telemetry.ts';
import type { CompletionStep } from '../shared/jobs/completion.ts';
import { createJobList } from '../shared/jobs/job-list.ts';
import { replySettings, storeSettings } from '../shared/jobs/settings.ts';

const config = readConfig({ ...httpApiSettings, ...storeSettings, ...replySettings });
const telemetry = createTelemetry(config);
const clients = { dynamodb: createDynamoDBClient(), kms: createKmsClient(), s3: createS3Client() };
/** Loads the SQS client when it is first needed, because most requests send no reply. */
const loadReplyStep = once(async () => {
  const { openReplyStep } = await import('../shared/api/open-reply-step.ts');
  return openReplyStep(config.REPLY_QUEUES);
});
const sendReply: CompletionStep = async (ended) => {
  if (ended.job.replyTo !== undefined) await (await loadReplyStep())(ended);
};
const stores = createJobStores(clients, config, telemetry.metrics, { mayCreateKeys: false });
const loadStreamLimits = once(async () => (await import('../shared/api/open-limits.ts')).openStreamLimits());
const { giveBackStorage } = stores;
const api = { state: stores, sendReply, loadStreamLimits, giveBackStorage };
const chats = { state: { ...stores, chats: createJobList(clients.dynamodb, config.JOBS_TABLE, stores.vault) } };

export const handler = createHttpApi({
  telemetry,
  corsOrigin: config.CORS_ORIGIN,
  table: RESPONSES_ROUTES,
  routes: {
    'GET /v1/responses': websocketRoute(),
    'GET /v1/responses/{id}': retrieveResponseRoute(api),
    'DELETE /v1/responses/{id}': deleteResponseRoute(api),
    'POST /v1/responses/{id}/cancel': cancelResponseRoute(api),
    'GET /v1/responses/{id}/input_items': inputItemsRoute(api),
    'GET /v1/chat/completions': listChatsRoute(chats),
    'GET /v1/chat/completions/{id}': retrieveChatRoute(chats),
    'POST /v1/chat/completions/{id}': updateChatRoute(chats),
    'DELETE /v1/chat/completions/{id}': deleteChatRoute(chats),
    'GET /v1/chat/completions/{id}/messages': chatMessagesRoute(chats),
  },
});
