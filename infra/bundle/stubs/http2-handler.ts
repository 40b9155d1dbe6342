/**
 * Replaces the HTTP/2 handler of `@smithy/node-http-handler`, the Bedrock client's default, by the HTTP/1.1 handler.
 * Loading `node:http2` costs milliseconds of each cold start. Over HTTP/2, a stream that the upstream cuts ends without
 * an error, while HTTP/1.1 throws one.
 */
export { NodeHttpHandler as NodeHttp2Handler } from '@smithy/node-http-handler';
