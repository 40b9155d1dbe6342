/** Lambda authorizer: resolves a bearer key to its principal. Denies unknown and expired keys. */
import type { APIGatewayAuthorizerResult, APIGatewayRequestAuthorizerEvent } from 'aws-lambda';
import * as v from 'valibot';
import { createKeyTable } from '../shared/access/key-table.ts';
import { parseBearerKey, toAuthorizerContext } from '../shared/access/keys.ts';
import { createAllowPolicy, createDenyPolicy } from '../shared/access/policy.ts';
import { createDynamoDBClient } from '../shared/aws/dynamodb.ts';
import { readConfig } from '../shared/core/config.ts';
import { createTelemetry } from '../shared/core/telemetry.ts';
import { createEventPipeline } from '../shared/lambda/event-pipeline.ts';

const config = readConfig({ ACCESS_TABLE: v.string() });
const telemetry = createTelemetry(config);
const keys = createKeyTable(createDynamoDBClient(), config.ACCESS_TABLE);

export const handler = createEventPipeline<APIGatewayRequestAuthorizerEvent, APIGatewayAuthorizerResult>(
  telemetry,
  async (event, context) => {
    const key = parseBearerKey(event.headers?.['Authorization'] ?? event.headers?.['authorization']);
    const principal = key === undefined ? undefined : await keys.find(key, Date.now());
    if (principal === undefined) {
      context.telemetry.logger.info('denied', { reason: key === undefined ? 'no bearer key' : 'unknown key' });
      return createDenyPolicy(event.methodArn);
    }
    return createAllowPolicy(event.methodArn, `${principal.tenant}:${principal.keyId}`, toAuthorizerContext(principal));
  },
);
