import { SQSClient } from '@aws-sdk/client-sqs';
import { createRequestHandler } from './request-handler.ts';
import { createSigner } from './signer.ts';

/** SQS's limit for a message's body and attributes together. */
export const MAX_MESSAGE_BYTES = 1_048_576;

/** SQS refused an entry of a batch request, in a response that reports success. */
export class MessageRefusedError extends Error {
  override readonly name = 'MessageRefusedError';
  /** SQS's error code. */
  readonly code: string;
  constructor(code = 'unknown') {
    super(`SQS refused a message: ${code}`);
    this.code = code;
  }
}

/** SQS answers within milliseconds. */
const REQUEST_TIMEOUT_MS = 3_000;

/**
 * Creates an SQS client. Region, credentials and endpoint come from Lambda's environment variables. The SDK makes up to
 * three attempts per call.
 */
export function createSQSClient(): SQSClient {
  const hasEndpoint = (process.env['AWS_ENDPOINT_URL_SQS'] ?? process.env['AWS_ENDPOINT_URL']) !== undefined;
  const client: SQSClient = new SQSClient({
    // By default the SDK sends to the host in the queue's URL, which may be a name that only AWS resolves.
    useQueueUrlAsEndpoint: !hasEndpoint,
    requestHandler: createRequestHandler(REQUEST_TIMEOUT_MS),
    signer: createSigner('sqs', () => client.config),
  });
  // Nothing reads the SDK's log, nor its name in the requests.
  for (const name of ['loggerMiddleware', 'getUserAgentMiddleware']) client.middlewareStack.remove(name);
  return client;
}
