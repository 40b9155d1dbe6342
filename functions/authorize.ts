/** Says who calls: looks the bearer key up and hands its principal on. Whatever is not a known key is denied. */
import type { APIGatewayAuthorizerResult, APIGatewayRequestAuthorizerEvent } from 'aws-lambda';
import * as v from 'valibot';
import { createKeyTable } from '../shared/access/key-table.ts';
import { bearerKey, toAuthorizerContext } from '../shared/access/keys.ts';
import { allow, deny } from '../shared/access/policy.ts';
import { createDynamoDBClient } from '../shared/aws/dynamodb.ts';
import { readConfig } from '../shared/core/config.ts';
import { createLogger } from '../shared/core/logger.ts';
import { createMetrics } from '../shared/core/metrics.ts';
import { eventPipeline } from '../shared/lambda/event-pipeline.ts';

const config = readConfig({ ACCESS_TABLE: v.string() });
const logger = createLogger({ level: config.LOG_LEVEL, fields: { function: config.AWS_LAMBDA_FUNCTION_NAME } });
const metrics = createMetrics(config.AWS_LAMBDA_FUNCTION_NAME);
const keys = createKeyTable(createDynamoDBClient(), config.ACCESS_TABLE);

export const handler = eventPipeline<APIGatewayRequestAuthorizerEvent, APIGatewayAuthorizerResult>(
  { logger, metrics },
  async (event) => {
    const key = bearerKey(event.headers?.['Authorization'] ?? event.headers?.['authorization']);
    const principal = key === undefined ? undefined : await keys.find(key, Date.now());
    if (principal === undefined) {
      logger.info('denied', { reason: key === undefined ? 'no bearer key' : 'unknown key' });
      return deny(event.methodArn);
    }
    return allow(event.methodArn, `${principal.tenant}:${principal.keyId}`, toAuthorizerContext(principal));
  },
);
