/**
 * Stands for the HTTP/2 half of `@smithy/node-http-handler`, the Bedrock client's default: loading `node:http2` costs
 * milliseconds, one environment serves one request at a time so that multiplexing gains nothing, and with HTTP/2 a cut
 * upstream ends a stream silently where HTTP/1.1 throws.
 */
export { NodeHttpHandler as NodeHttp2Handler } from '@smithy/node-http-handler';
