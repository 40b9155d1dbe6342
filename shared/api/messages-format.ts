import { encodeMessagesError, messagesStatusFor } from '../anthropic/errors.ts';
import { PING } from '../anthropic/stream.ts';
import type { ApiFormat } from '../lambda/http-responder.ts';
import { errorHeadersFor } from '../wire/error-responses.ts';
import { encodeTypedFrame } from '../wire/sse.ts';

/** The errors and headers of the Messages endpoints. */
export const MESSAGES_FORMAT: ApiFormat = {
  errorResponse: (error, requestId) => ({
    status: messagesStatusFor(error),
    headers: errorHeadersFor(error),
    json: encodeMessagesError(error, requestId),
  }),
  errorFrame: (error, requestId) => encodeTypedFrame(encodeMessagesError(error, requestId)),
  keepAliveFrame: PING,
  responseHeaders: (_, requestId) => ({ 'request-id': requestId }),
  exposedHeaders: [
    ...['request-id', 'x-request-id', 'retry-after', 'retry-after-ms', 'x-should-retry'],
    ...['x-lambent-ignored', 'x-lambent-strict'],
    ...['requests', 'tokens'].flatMap((kind) =>
      ['limit', 'remaining', 'reset'].map((part) => `anthropic-ratelimit-${kind}-${part}`),
    ),
  ].join(', '),
};
