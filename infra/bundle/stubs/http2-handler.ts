/**
 * Replaces the HTTP/2 handler of `@smithy/node-http-handler`, the Bedrock client's default, by the HTTP/1.1 one. Loading
 * `node:http2` costs milliseconds of each cold start, and over HTTP/2 a cut upstream ends a stream silently, where HTTP/1.1
 * throws.
 */
export { NodeHttpHandler as NodeHttp2Handler } from '@smithy/node-http-handler';
