import { ECSClient } from '@aws-sdk/client-ecs';
import { createRequestHandler } from './request-handler.ts';

/** ECS answers in hundreds of milliseconds. */
const REQUEST_TIMEOUT_MS = 5_000;

/**
 * Creates an ECS client. Region, credentials and endpoint come from Lambda's environment variables. The SDK makes up to
 * three attempts per call.
 */
export function createEcsClient(): ECSClient {
  return new ECSClient({ requestHandler: createRequestHandler(REQUEST_TIMEOUT_MS) });
}
