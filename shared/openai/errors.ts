import type { LambentError } from '../core/errors.ts';
import { httpStatusFor, publicMessageFor } from '../wire/error-responses.ts';

/** OpenAI's error object: the body of an error response, and the content of an error event in a stream. */
export interface ErrorBody {
  readonly error: {
    readonly message: string;
    readonly type: string;
    readonly param: string | null;
    readonly code: string | null;
  };
}

/** Encodes `error` as OpenAI's error object. */
export function encodeErrorBody(error: LambentError): ErrorBody {
  const type = typeFor(httpStatusFor(error));
  return { error: { message: publicMessageFor(error), type, param: error.param ?? null, code: error.code } };
}

function typeFor(status: number): string {
  if (status >= 500) return 'server_error';
  switch (status) {
    case 401:
      return 'authentication_error';
    case 403:
      return 'permission_error';
    case 429:
      return 'rate_limit_error';
    default:
      return 'invalid_request_error';
  }
}
