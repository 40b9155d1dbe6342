import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { createRequestHandler } from './request-handler.ts';

/** DynamoDB answers within milliseconds. A second without an answer means a lost connection. */
const REQUEST_TIMEOUT_MS = 1_000;

/**
 * Creates a DynamoDB client. Region, credentials and endpoint come from Lambda's environment variables. The SDK makes
 * up to three attempts per call.
 */
export function createDynamoDBClient(): DynamoDBClient {
  const client = new DynamoDBClient({ requestHandler: createRequestHandler(REQUEST_TIMEOUT_MS) });
  // Nothing reads the SDK's log, but its middleware copies each response. For a large response that took half of the
  // client's time.
  client.middlewareStack.remove('loggerMiddleware');
  return client;
}
