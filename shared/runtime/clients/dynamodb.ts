import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { NodeHttpHandler } from '@smithy/node-http-handler';

/**
 * Makes the DynamoDB client of a function: region, credentials and endpoint come from Lambda's environment variables.
 * A read takes milliseconds, so a second without an answer is a lost connection, tried anew by the SDK (3 attempts).
 */
export function createDynamoDBClient(): DynamoDBClient {
  return new DynamoDBClient({
    requestHandler: new NodeHttpHandler({
      connectionTimeout: 1_000,
      requestTimeout: 1_000,
      throwOnRequestTimeout: true,
    }),
  });
}
