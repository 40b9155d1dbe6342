import { NodeHttpHandler } from '@smithy/node-http-handler';
import * as v from 'valibot';
import { readConfig } from '../core/config.ts';

/** AWS accepts a connection within milliseconds; after a second, another attempt is better. */
const CONNECTION_TIMEOUT_MS = 1_000;
/**
 * Connections that one client may open: four for each of 64 concurrent requests. With the SDK's default of 50, calls
 * would queue for a connection, and the time in that queue counts against the connection timeout.
 */
const MAX_SOCKETS = 256;

/**
 * The setting with which a local cloud or a test multiplies the timeouts of AWS clients: there, the stand-ins for AWS's
 * services share the machine's processors with the functions, and answer late when it is busy. Unset in deployments.
 */
const clientSettings = {
  AWS_TIMEOUT_FACTOR: v.optional(v.pipe(v.string(), v.toNumber(), v.minValue(1)), '1'),
};

/**
 * Creates the HTTP handler of an AWS client.
 * @param requestTimeoutMs milliseconds until a call without a response fails
 * @throws LambentError `configuration` if `AWS_TIMEOUT_FACTOR` is invalid
 */
export function createRequestHandler(requestTimeoutMs: number): NodeHttpHandler {
  const { AWS_TIMEOUT_FACTOR: factor } = readConfig(clientSettings);
  const agent = { keepAlive: true, maxSockets: MAX_SOCKETS };
  return new NodeHttpHandler({
    connectionTimeout: CONNECTION_TIMEOUT_MS * factor,
    requestTimeout: requestTimeoutMs * factor,
    throwOnRequestTimeout: true,
    httpAgent: agent,
    httpsAgent: agent,
  });
}
