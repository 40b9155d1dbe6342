import { NodeHttpHandler } from '@smithy/node-http-handler';

/** AWS accepts a connection within milliseconds; after a second, another attempt is better. */
const CONNECTION_TIMEOUT_MS = 1_000;
/**
 * Connections that one client may open: four for each of 64 concurrent requests. With the SDK's default of 50, calls
 * would queue for a connection, and the time in that queue counts against the connection timeout.
 */
const MAX_SOCKETS = 256;

/**
 * Creates the HTTP handler of an AWS client.
 * @param requestTimeoutMs milliseconds until a call without a response fails
 */
export function createRequestHandler(requestTimeoutMs: number): NodeHttpHandler {
  const agent = { keepAlive: true, maxSockets: MAX_SOCKETS };
  return new NodeHttpHandler({
    connectionTimeout: CONNECTION_TIMEOUT_MS,
    requestTimeout: requestTimeoutMs,
    throwOnRequestTimeout: true,
    httpAgent: agent,
    httpsAgent: agent,
  });
}
