import { BedrockRuntimeClient } from '@aws-sdk/client-bedrock-runtime';
import { NodeHttpHandler } from '@smithy/node-http-handler';

export interface BedrockClientOptions {
  /** AWS region: `eu-west-1`. */
  readonly region: string;
  /** Another address than AWS's own, for the local stand-in or a VPC endpoint. */
  readonly endpoint?: string;
}

/**
 * Makes the client that every Bedrock target of a region shares.
 *
 * It speaks HTTP/1.1, not the SDK's default HTTP/2: with HTTP/2 a cut stream looks like a whole one, and it costs cold
 * start. It never retries and has no timeout of its own: the router knows the deadline and whether another target is
 * better than a second try.
 */
export function createBedrockClient({ region, endpoint }: BedrockClientOptions): BedrockRuntimeClient {
  return new BedrockRuntimeClient({
    region,
    maxAttempts: 1,
    requestHandler: new NodeHttpHandler({
      connectionTimeout: CONNECTION_TIMEOUT_MS,
      httpAgent: { keepAlive: true, maxSockets: Number.POSITIVE_INFINITY },
      httpsAgent: { keepAlive: true, maxSockets: Number.POSITIVE_INFINITY },
    }),
    ...(endpoint === undefined ? {} : { endpoint }),
  });
}

/** A regional AWS endpoint takes a connection within milliseconds; one that hasn't in this time is better left. */
const CONNECTION_TIMEOUT_MS = 3_000;
