import type { ErrorCode, LambentError } from '../core/errors.ts';

/** OpenAI's error object: the body of an error response, and the content of an error event in a stream. */
export interface ErrorBody {
  readonly error: {
    readonly message: string;
    readonly type: string;
    readonly param: string | null;
    readonly code: string | null;
  };
}

interface ErrorFormat {
  readonly status: number;
  readonly type:
    | 'invalid_request_error'
    | 'authentication_error'
    | 'permission_error'
    | 'rate_limit_error'
    | 'server_error';
  /** Replaces the error's own message, which then goes to the log only. */
  readonly publicMessage?: string;
  /** False sets `x-should-retry: false`. Without it the official clients retry 409, 429 and 5xx. */
  readonly shouldRetry?: false;
}

const invalid = (status = 400): ErrorFormat => ({ status, type: 'invalid_request_error' });

/** Maps every error code to its HTTP status, its OpenAI error type and the message that callers see. */
const FORMATS: Readonly<Record<ErrorCode, ErrorFormat>> = {
  invalid_json: invalid(),
  invalid_type: invalid(),
  invalid_value: invalid(),
  missing_required_parameter: invalid(),
  unknown_parameter: invalid(),
  unsupported_parameter: invalid(),
  unsupported_value: invalid(),
  invalid_json_schema: invalid(),
  invalid_function_parameters: invalid(),
  context_length_exceeded: invalid(),
  content_filter: invalid(),
  upstream_rejected: invalid(),
  invalid_api_key: { status: 401, type: 'authentication_error' },
  insufficient_permissions: { status: 403, type: 'permission_error' },
  model_not_found: invalid(404),
  not_found: invalid(404),
  previous_response_not_found: invalid(),
  conversation_locked: invalid(409),
  idempotency_key_reused: invalid(422),
  idempotency_key_in_use: invalid(409),
  // The first response was deleted or never stored, so no retry can return it.
  idempotent_answer_not_kept: { ...invalid(409), shouldRetry: false },
  unknown_url: invalid(404),
  request_too_large: invalid(413),
  unsupported_media_type: invalid(415),
  tenant_deleted: { status: 403, type: 'permission_error' },
  rate_limit_exceeded: { status: 429, type: 'rate_limit_error' },
  insufficient_quota: {
    status: 429,
    type: 'rate_limit_error',
    publicMessage: 'The quota for this model is exhausted. Contact the operator of this service.',
    shouldRetry: false,
  },
  overloaded: {
    status: 503,
    type: 'server_error',
    publicMessage: 'The service is currently overloaded. Please try again later.',
  },
  upstream_unavailable: {
    status: 503,
    type: 'server_error',
    publicMessage: 'The model is temporarily unavailable. Please try again later.',
  },
  upstream_timeout: {
    status: 504,
    type: 'server_error',
    publicMessage: 'The model did not start its response in time. Please try again.',
  },
  deadline_exceeded: {
    status: 504,
    type: 'server_error',
    publicMessage: 'The request exceeded its time limit and was stopped.',
  },
  vault_unavailable: {
    status: 503,
    type: 'server_error',
    publicMessage: 'Stored data is temporarily unavailable. Please try again later.',
  },
  upstream_misconfigured: {
    status: 500,
    type: 'server_error',
    publicMessage: 'The model is not configured correctly. The cause is in the server log under this request id.',
    shouldRetry: false,
  },
  upstream_cut: {
    status: 502,
    type: 'server_error',
    publicMessage: 'The model stopped before its response was complete. Any output received so far is incomplete.',
  },
  upstream_malformed: {
    status: 502,
    type: 'server_error',
    publicMessage: 'The model returned a response that could not be parsed.',
  },
  record_unreadable: {
    status: 500,
    type: 'server_error',
    publicMessage:
      'The data stored under this id cannot be read. The cause is in the server log under this request id.',
    shouldRetry: false,
  },
  configuration: {
    status: 500,
    type: 'server_error',
    publicMessage: 'The service is not configured correctly. The cause is in the server log under this request id.',
    shouldRetry: false,
  },
  internal: {
    status: 500,
    type: 'server_error',
    publicMessage: 'The server had an error while processing your request.',
  },
};

/** Encodes `error` as OpenAI's error object. It never holds a cause, a stack or the text of an upstream's 5xx. */
export function encodeErrorBody(error: LambentError): ErrorBody {
  const { type, publicMessage } = FORMATS[error.code];
  return { error: { message: publicMessage ?? error.message, type, param: error.param ?? null, code: error.code } };
}

/** Returns the HTTP status for `error`. */
export function httpStatusFor(error: LambentError): number {
  return FORMATS[error.code].status;
}

/**
 * Returns the retry headers for `error`: `x-should-retry: false` if a retry can't succeed, or else `retry-after` (whole
 * seconds) and `retry-after-ms` with status 409, 429 or 503.
 */
export function errorHeadersFor(error: LambentError): Record<string, string> {
  const { status, shouldRetry } = FORMATS[error.code];
  if (shouldRetry === false) return { 'x-should-retry': 'false' };
  if (status !== 409 && status !== 429 && status !== 503) return {};
  const retryAfterMs = Math.max(0, Math.ceil(error.retryAfterMs ?? DEFAULT_RETRY_AFTER_MS));
  return { 'retry-after': String(Math.max(1, Math.ceil(retryAfterMs / 1000))), 'retry-after-ms': String(retryAfterMs) };
}

/** 1 s: long enough for a token bucket to refill, short enough for a waiting person. */
const DEFAULT_RETRY_AFTER_MS = 1_000;
