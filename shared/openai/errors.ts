import type { ErrorCode, LambentError } from '../core/errors.ts';

/** OpenAI's error object, the body of every error answer and of every in-band error. */
export interface ErrorBody {
  readonly error: {
    readonly message: string;
    readonly type: string;
    readonly param: string | null;
    readonly code: string | null;
  };
}

interface Shape {
  readonly status: number;
  readonly type:
    | 'invalid_request_error'
    | 'authentication_error'
    | 'permission_error'
    | 'rate_limit_error'
    | 'server_error';
  /** Shown instead of the error's own message, which then only the log sees. */
  readonly generic?: string;
  /** False sets `x-should-retry: false`: clients retry 409, 429 and 5xx by themselves otherwise. */
  readonly shouldRetry?: false;
}

const invalid = (status = 400): Shape => ({ status, type: 'invalid_request_error' });

/** The one map from an error's code to what the caller sees. */
const SHAPES: Readonly<Record<ErrorCode, Shape>> = {
  invalid_json: invalid(),
  invalid_type: invalid(),
  invalid_value: invalid(),
  missing_required_parameter: invalid(),
  unknown_parameter: invalid(),
  unsupported_parameter: invalid(),
  unsupported_value: invalid(),
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
  // The first answer is gone by its caller's own wish: no retry brings it back.
  idempotent_answer_not_kept: { ...invalid(409), shouldRetry: false },
  unknown_url: invalid(404),
  request_too_large: invalid(413),
  unsupported_media_type: invalid(415),
  tenant_deleted: { status: 403, type: 'permission_error' },
  rate_limit_exceeded: { status: 429, type: 'rate_limit_error' },
  insufficient_quota: {
    status: 429,
    type: 'rate_limit_error',
    generic: "The model's quota is used up. The operator of this service has to raise it.",
    shouldRetry: false,
  },
  overloaded: { status: 503, type: 'server_error', generic: 'The service is overloaded. Try again in a moment.' },
  upstream_unavailable: {
    status: 503,
    type: 'server_error',
    generic: 'The model is not available at the moment. Try again soon.',
  },
  upstream_timeout: {
    status: 504,
    type: 'server_error',
    generic: 'The model did not begin to answer in time. Try again.',
  },
  deadline_exceeded: {
    status: 504,
    type: 'server_error',
    generic: 'The request took longer than it may and was stopped.',
  },
  vault_unavailable: {
    status: 503,
    type: 'server_error',
    generic: "What is stored can't be reached at the moment. Try again soon.",
  },
  upstream_misconfigured: {
    status: 500,
    type: 'server_error',
    generic: 'The model behind this name is not set up correctly. The cause is in the log under this request id.',
    shouldRetry: false,
  },
  upstream_cut: {
    status: 502,
    type: 'server_error',
    generic: 'The model stopped before its answer was whole. What arrived, if anything, is incomplete.',
  },
  upstream_malformed: {
    status: 502,
    type: 'server_error',
    generic: 'The model answered in a form that could not be understood.',
  },
  record_unreadable: {
    status: 500,
    type: 'server_error',
    generic: 'What was stored under this id can no longer be read. The cause is in the log under this request id.',
    shouldRetry: false,
  },
  configuration: {
    status: 500,
    type: 'server_error',
    generic: 'The service is not set up correctly. The cause is in the log under this request id.',
    shouldRetry: false,
  },
  internal: { status: 500, type: 'server_error', generic: 'The server had an error while processing your request.' },
};

/** OpenAI's error object for `error`. Never holds a cause, a stack or an upstream's text of a 5xx. */
export function encodeErrorBody(error: LambentError): ErrorBody {
  const { type, generic } = SHAPES[error.code];
  return { error: { message: generic ?? error.message, type, param: error.param ?? null, code: error.code } };
}

/** HTTP status for `error`. */
export function httpStatusFor(error: LambentError): number {
  return SHAPES[error.code].status;
}

/** `Retry-After` (whole seconds) with `retry-after-ms` on 409, 429 and 503, `x-should-retry: false` where a retry can't help. */
export function errorHeadersFor(error: LambentError): Record<string, string> {
  const { status, shouldRetry } = SHAPES[error.code];
  if (shouldRetry === false) return { 'x-should-retry': 'false' };
  if (status !== 409 && status !== 429 && status !== 503) return {};
  const retryAfterMs = Math.max(0, Math.ceil(error.retryAfterMs ?? DEFAULT_RETRY_AFTER_MS));
  return { 'retry-after': String(Math.max(1, Math.ceil(retryAfterMs / 1000))), 'retry-after-ms': String(retryAfterMs) };
}

/** A second: enough for a circuit or a token bucket to move, short enough for a person who waits. */
const DEFAULT_RETRY_AFTER_MS = 1_000;
