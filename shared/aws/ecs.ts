import { ECSClient } from '@aws-sdk/client-ecs';
import { NodeHttpHandler } from '@smithy/node-http-handler';

/**
 * Makes the ECS client of a function: region, credentials and endpoint come from Lambda's environment variables. ECS
 * answers in hundreds of milliseconds; five seconds without an answer are a lost connection, tried anew by the SDK.
 */
export function createEcsClient(): ECSClient {
  return new ECSClient({
    requestHandler: new NodeHttpHandler({
      connectionTimeout: 1_000,
      requestTimeout: 5_000,
      throwOnRequestTimeout: true,
    }),
  });
}
