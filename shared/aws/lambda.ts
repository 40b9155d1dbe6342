import { LambdaClient } from '@aws-sdk/client-lambda';
import { NodeHttpHandler } from '@smithy/node-http-handler';

/**
 * Makes the client with which a function calls another: region, credentials and endpoint come from Lambda's environment.
 * @param requestTimeoutMs milliseconds a call may take, above the slowest cold start
 */
export function createLambdaClient(requestTimeoutMs: number): LambdaClient {
  return new LambdaClient({
    requestHandler: new NodeHttpHandler({
      connectionTimeout: 1_000,
      requestTimeout: requestTimeoutMs,
      throwOnRequestTimeout: true,
    }),
    maxAttempts: 1,
  });
}
