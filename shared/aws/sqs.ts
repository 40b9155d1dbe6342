import { SQSClient } from '@aws-sdk/client-sqs';
import { NodeHttpHandler } from '@smithy/node-http-handler';

/** SQS's limit for a body and its attributes together. */
export const MAX_MESSAGE_BYTES = 1_048_576;

/**
 * Makes the SQS client of a function: region, credentials and endpoint come from Lambda's environment variables. SQS
 * answers in milliseconds; what takes longer than 3 s is tried anew by the SDK (3 attempts).
 */
export function createSQSClient(): SQSClient {
  return new SQSClient({
    // A queue's URL may name a host that only AWS resolves: where an endpoint is set, that is where requests go.
    useQueueUrlAsEndpoint: (process.env['AWS_ENDPOINT_URL_SQS'] ?? process.env['AWS_ENDPOINT_URL']) === undefined,
    requestHandler: new NodeHttpHandler({
      connectionTimeout: 1_000,
      requestTimeout: 3_000,
      throwOnRequestTimeout: true,
    }),
  });
}
