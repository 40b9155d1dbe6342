import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { createRequestHandler } from './request-handler.ts';
import { createSigner } from './signer.ts';

/** DynamoDB answers within milliseconds. A second without an answer means a lost connection. */
const REQUEST_TIMEOUT_MS = 1_000;

/**
 * Steps of the SDK's requests that nothing here needs. Nothing reads its log, for which it copies each response: for a
 * large response half of the client's time. The trace header stays: by it, tests know which invocation made a request.
 */
const UNUSED_MIDDLEWARE = ['loggerMiddleware', 'getUserAgentMiddleware'];

/**
 * Creates a DynamoDB client. Region, credentials and endpoint come from Lambda's environment variables. The SDK makes
 * up to three attempts per call.
 * @param options `maxAttempts` is 1 for writes that must not be repeated if they may have been made
 */
export function createDynamoDBClient(options: { readonly maxAttempts?: number } = {}): DynamoDBClient {
  const client: DynamoDBClient = new DynamoDBClient({
    ...options,
    requestHandler: createRequestHandler(REQUEST_TIMEOUT_MS),
    signer: createSigner('dynamodb', () => client.config),
    // Otherwise, the SDK builds the chain of its middleware for each request.
    cacheMiddleware: true,
  });
  for (const name of UNUSED_MIDDLEWARE) client.middlewareStack.remove(name);
  return client;
}
