import { KMSClient } from '@aws-sdk/client-kms';
import { createRequestHandler } from './request-handler.ts';

/** KMS answers in tens of milliseconds. Two seconds without an answer mean a lost connection. */
const REQUEST_TIMEOUT_MS = 2_000;

/**
 * Creates a KMS client. Region, credentials and endpoint come from Lambda's environment variables. The SDK makes up to
 * three attempts per call.
 */
export function createKmsClient(): KMSClient {
  return new KMSClient({ requestHandler: createRequestHandler(REQUEST_TIMEOUT_MS) });
}
