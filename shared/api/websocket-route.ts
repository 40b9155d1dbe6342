import type { Route } from '../access/route.ts';
import { LambentError } from '../core/errors.ts';

/**
 * Creates the route `GET /v1/responses`, at which clients open a WebSocket. An API Gateway REST API can't upgrade a
 * connection: it forwards the request without its `Upgrade` header, as any other `GET`.
 */
export function websocketRoute(): Route {
  return {
    async run() {
      throw new LambentError(
        'websocket_not_supported',
        'WebSocket connections are not supported. Send POST /v1/responses instead, streamed or not.',
      );
    },
  };
}
