/**
 * Stands for `@aws-sdk/middleware-websocket`, which the Bedrock client carries for bidirectional streams in browsers.
 * Converse and ConverseStream are plain HTTP requests.
 */
export function resolveWebSocketConfig<Config>(config: Config): Config {
  return config;
}

/** Only asked for by `InvokeModelWithBidirectionalStream`. */
export function getWebSocketPlugin(): never {
  throw new Error('bidirectional streams are left out of the bundles');
}
