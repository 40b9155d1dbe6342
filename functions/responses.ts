/** Shows, resumes, cancels and deletes stored responses. */
import * as v from 'valibot';
import { createJobStores } from '../shared/jobs/room.ts';
import { storeSettings } from '../shared/jobs/settings.ts';
import {
  cancelResponseRoute,
  deleteResponseRoute,
  inputItemsRoute,
  retrieveResponseRoute,
} from '../shared/openai/responses-routes.ts';
import { createDynamoDBClient } from '../shared/runtime/clients/dynamodb.ts';
import { createKmsClient } from '../shared/runtime/clients/kms.ts';
import { createS3Client } from '../shared/runtime/clients/s3.ts';
import { readConfig } from '../shared/runtime/config.ts';
import { httpPipeline } from '../shared/runtime/http.ts';
import { createLogger } from '../shared/runtime/logger.ts';
import { createMetrics } from '../shared/runtime/metrics.ts';

const config = readConfig({
  /** Origin that browsers may call from. */
  CORS_ORIGIN: v.optional(v.string()),
  ...storeSettings,
});
const logger = createLogger({ level: config.LOG_LEVEL, fields: { function: config.AWS_LAMBDA_FUNCTION_NAME } });
const metrics = createMetrics(config.AWS_LAMBDA_FUNCTION_NAME);
const clients = { dynamodb: createDynamoDBClient(), kms: createKmsClient(), s3: createS3Client() };
const api = { state: createJobStores(clients, config, metrics, { mayCreateKeys: false }) };

export const handler = httpPipeline({
  logger,
  metrics,
  corsOrigin: config.CORS_ORIGIN,
  routes: {
    'GET /v1/responses/{id}': retrieveResponseRoute(api),
    'DELETE /v1/responses/{id}': deleteResponseRoute(api),
    'POST /v1/responses/{id}/cancel': cancelResponseRoute(api),
    'GET /v1/responses/{id}/input_items': inputItemsRoute(api),
  },
});
