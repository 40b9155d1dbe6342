import type { LambentError } from '../core/errors.ts';
import { httpStatusFor, publicMessageFor } from '../wire/error-responses.ts';

/** Anthropic's error object: the body of an error response, and the content of an error event in a stream. */
export interface MessagesErrorBody {
  readonly type: 'error';
  readonly error: {
    readonly type: string;
    readonly message: string;
    readonly details?: { readonly error_code: string; readonly unsupported: readonly string[] };
  };
  readonly request_id: string;
}

/** Encodes `error` as Anthropic's error object. */
export function encodeMessagesError(error: LambentError, requestId: string): MessagesErrorBody {
  const type = typeFor(messagesStatusFor(error));
  const details = error.param === 'thread' ? { details: UNSUPPORTED_THREAD } : undefined;
  return { type: 'error', error: { type, message: publicMessageFor(error), ...details }, request_id: requestId };
}

/** By these details, Anthropic's SDKs continue without a thread. */
const UNSUPPORTED_THREAD = { error_code: 'thread_unsupported_request', unsupported: ['thread'] };

/** Returns the HTTP status for `error`: the one of the other endpoints, except for an overload. */
export function messagesStatusFor(error: LambentError): number {
  return error.code === 'overloaded' ? OVERLOADED : httpStatusFor(error);
}

/** Anthropic's status for "overloaded". Its clients retry it like any 5xx. */
const OVERLOADED = 529;

/** @see https://platform.claude.com/docs/en/api/errors */
function typeFor(status: number): string {
  switch (status) {
    case 401:
      return 'authentication_error';
    case 403:
      return 'permission_error';
    case 404:
      return 'not_found_error';
    case 413:
      return 'request_too_large';
    case 429:
      return 'rate_limit_error';
    case 504:
      return 'timeout_error';
    case OVERLOADED:
      return 'overloaded_error';
    default:
      return status >= 500 ? 'api_error' : 'invalid_request_error';
  }
}
