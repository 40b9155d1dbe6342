import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { NodeHttpHandler } from '@smithy/node-http-handler';

/**
 * What sealed bytes may have to go into a table: with its keys such an item is well under DynamoDB's 400 KB, and above it
 * S3 costs less to write.
 */
export const TABLE_LIMIT_BYTES = 300_000;

/**
 * Makes the DynamoDB client of a function: region, credentials and endpoint come from Lambda's environment variables.
 * A read takes milliseconds, so a second without an answer is a lost connection, tried anew by the SDK (3 attempts). Without
 * the SDK's own log, which nobody reads: it copies each answer for it whole, which took half of the client's time for a
 * large one.
 */
export function createDynamoDBClient(): DynamoDBClient {
  const client = new DynamoDBClient({
    requestHandler: new NodeHttpHandler({
      connectionTimeout: 1_000,
      requestTimeout: 1_000,
      throwOnRequestTimeout: true,
    }),
  });
  client.middlewareStack.remove('loggerMiddleware');
  return client;
}
