import { LambdaClient } from '@aws-sdk/client-lambda';
import { createRequestHandler } from './request-handler.ts';

/**
 * Creates a client with which a function invokes another one, without retries. Region, credentials and endpoint come
 * from Lambda's environment variables.
 * @param requestTimeoutMs milliseconds until an invocation fails. Must exceed the slowest cold start
 */
export function createLambdaClient(requestTimeoutMs: number): LambdaClient {
  return new LambdaClient({ requestHandler: createRequestHandler(requestTimeoutMs), maxAttempts: 1 });
}
