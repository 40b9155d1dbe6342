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
  const type = error.details.type ?? typeFor(error);
  return { error: { message: publicMessageFor(error), type, param: error.param ?? null, code: error.code } };
}

/** As OpenAI's, where `insufficient_quota` is also the type. */
function typeFor(error: LambentError): string {
  if (error.code === 'insufficient_quota') return error.code;
  const status = httpStatusFor(error);
  return TYPES[status] ?? (status >= 500 ? 'server_error' : 'invalid_request_error');
}

const TYPES: Readonly<Record<number, string>> = {
  401: 'authentication_error',
  403: 'permission_error',
  429: 'rate_limit_error',
};
