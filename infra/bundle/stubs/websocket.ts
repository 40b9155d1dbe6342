/**
 * Replaces `@aws-sdk/middleware-websocket`, which the Bedrock client contains for bidirectional streams in browsers.
 * Converse and ConverseStream are plain HTTP requests.
 */
export function resolveWebSocketConfig<Config>(config: Config): Config {
  return config;
}

/** Called by `InvokeModelWithBidirectionalStream` only. */
export function getWebSocketPlugin(): never {
  throw new Error('Bundles contain no support for bidirectional streams');
}
