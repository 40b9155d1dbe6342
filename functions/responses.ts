/** Retrieves, resumes, cancels and deletes stored responses. */
import { createHttpApi, httpApiSettings } from '../shared/api/http-api.ts';
import { createJobStores } from '../shared/api/job-dependencies.ts';
import {
  cancelResponseRoute,
  deleteResponseRoute,
  inputItemsRoute,
  retrieveResponseRoute,
} from '../shared/api/stored-response-routes.ts';
import { createDynamoDBClient } from '../shared/aws/dynamodb.ts';
import { createKmsClient } from '../shared/aws/kms.ts';
import { createS3Client } from '../shared/aws/s3.ts';
import { readConfig } from '../shared/core/config.ts';
import { once } from '../shared/core/once.ts';
import { createTelemetry } from '../shared/core/telemetry.ts';
import type { CompletionStep } from '../shared/jobs/completion.ts';
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
const api = { state: createJobStores(clients, config, telemetry.metrics, { mayCreateKeys: false }), sendReply };

export const handler = createHttpApi({
  telemetry,
  corsOrigin: config.CORS_ORIGIN,
  routes: {
    'GET /v1/responses/{id}': retrieveResponseRoute(api),
    'DELETE /v1/responses/{id}': deleteResponseRoute(api),
    'POST /v1/responses/{id}/cancel': cancelResponseRoute(api),
    'GET /v1/responses/{id}/input_items': inputItemsRoute(api),
  },
});
