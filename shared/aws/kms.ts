import { KMSClient } from '@aws-sdk/client-kms';
import { NodeHttpHandler } from '@smithy/node-http-handler';

/**
 * Makes the KMS client of a function: region, credentials and endpoint come from Lambda's environment variables. KMS
 * answers in tens of milliseconds; two seconds without an answer are a lost connection, tried anew by the SDK (3 attempts).
 */
export function createKmsClient(): KMSClient {
  return new KMSClient({
    requestHandler: new NodeHttpHandler({
      connectionTimeout: 1_000,
      requestTimeout: 2_000,
      throwOnRequestTimeout: true,
    }),
  });
}
