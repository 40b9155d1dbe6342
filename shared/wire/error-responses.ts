import type { ErrorCode, LambentError } from '../core/errors.ts';

interface ErrorFormat {
  readonly status: number;
  /** Replaces the error's own message, which then goes to the log only. */
  readonly publicMessage?: string;
  /** False sets `x-should-retry: false`. Without it the official clients retry 409, 429 and 5xx. */
  readonly shouldRetry?: false;
}

const INVALID: ErrorFormat = { status: 400 };
const LATER = 'Please try again later.';
const LOGGED = 'The cause is in the server log under this request id.';

/** Maps every error code to its HTTP status and the message that callers see, whichever API they use. */
const FORMATS: Readonly<Record<ErrorCode, ErrorFormat>> = {
  invalid_json: INVALID,
  invalid_type: INVALID,
  invalid_value: INVALID,
  missing_required_parameter: INVALID,
  unknown_parameter: INVALID,
  unsupported_parameter: INVALID,
  unsupported_value: INVALID,
  invalid_json_schema: INVALID,
  invalid_function_parameters: INVALID,
  context_length_exceeded: INVALID,
  content_filter: INVALID,
  // As OpenAI's error of a full file storage: https://github.com/bespokelabsai/curator/issues/189
  storage_limit_exceeded: { status: 400, shouldRetry: false },
  upstream_rejected: INVALID,
  invalid_api_key: { status: 401 },
  insufficient_permissions: { status: 403 },
  // As at OpenAI.
  ip_not_authorized: { status: 401 },
  certificate_not_authorized: { status: 401 },
  model_not_found: { status: 404 },
  not_found: { status: 404 },
  previous_response_not_found: INVALID,
  conversation_locked: { status: 409 },
  idempotency_key_reused: { status: 422 },
  idempotency_key_in_use: { status: 409 },
  // The first response was deleted or never stored, so no retry can return it.
  idempotent_answer_not_kept: { status: 409, shouldRetry: false },
  unknown_url: { status: 404 },
  // Codex falls back to POST at once after 426. After any other status it first tries again.
  websocket_not_supported: { status: 426 },
  request_too_large: { status: 413 },
  unsupported_media_type: { status: 415 },
  tenant_deleted: { status: 403 },
  project_archived: { status: 403 },
  key_held: { status: 403 },
  external_key_unavailable: { status: 403 },
  rate_limit_exceeded: { status: 429 },
  insufficient_quota: {
    status: 429,
    publicMessage: 'The quota for this model is exhausted. Contact the operator of this service.',
    shouldRetry: false,
  },
  overloaded: {
    status: 503,
    publicMessage: `The service is currently overloaded. ${LATER}`,
  },
  upstream_unavailable: {
    status: 503,
    publicMessage: `The model is temporarily unavailable. ${LATER}`,
  },
  upstream_timeout: {
    status: 504,
    publicMessage: 'The model did not start its response in time. Please try again.',
  },
  deadline_exceeded: {
    status: 504,
    publicMessage: 'The request exceeded its time limit and was stopped.',
  },
  vault_unavailable: {
    status: 503,
    publicMessage: `Stored data is temporarily unavailable. ${LATER}`,
  },
  issuer_unavailable: {
    status: 503,
    publicMessage: `The token's issuer is temporarily unavailable. ${LATER}`,
  },
  guardrail_unavailable: { status: 503 },
  upstream_misconfigured: {
    status: 500,
    publicMessage: `The model is not configured correctly. ${LOGGED}`,
    shouldRetry: false,
  },
  upstream_cut: {
    status: 502,
    publicMessage: 'The model stopped before its response was complete. Any output received so far is incomplete.',
  },
  upstream_malformed: {
    status: 502,
    publicMessage: 'The model returned a response that could not be parsed.',
  },
  // The call was repeated already, or its stream has begun.
  output_mismatch: { status: 502, shouldRetry: false },
  record_unreadable: {
    status: 500,
    publicMessage: `The data stored under this id cannot be read. ${LOGGED}`,
    shouldRetry: false,
  },
  configuration: {
    status: 500,
    publicMessage: `The service is not configured correctly. ${LOGGED}`,
    shouldRetry: false,
  },
  internal: {
    status: 500,
    publicMessage: 'The server had an error while processing your request.',
  },
};

/** Returns the message that callers see. It never holds a cause, a stack or the text of an upstream's 5xx. */
export function publicMessageFor(error: LambentError): string {
  return error.details.publicMessage ?? FORMATS[error.code].publicMessage ?? error.message;
}

/** Returns the HTTP status for `error`. */
export function httpStatusFor(error: LambentError): number {
  return FORMATS[error.code].status;
}

/**
 * Returns the headers for `error`: its own, and `x-should-retry: false` if a retry can't succeed, or else `retry-after` (whole
 * seconds) and `retry-after-ms` with status 409, 429 or 503.
 */
export function errorHeadersFor(error: LambentError): Record<string, string> {
  return { ...retryHeadersFor(error), ...error.details.headers };
}

function retryHeadersFor(error: LambentError): Record<string, string> {
  const { status, shouldRetry } = FORMATS[error.code];
  if (shouldRetry === false || error.details.isFinal) return { 'x-should-retry': 'false' };
  if (status !== 409 && status !== 429 && status !== 503) return {};
  const retryAfterMs = Math.max(0, Math.ceil(error.retryAfterMs ?? DEFAULT_RETRY_AFTER_MS));
  return { 'retry-after': String(Math.max(1, Math.ceil(retryAfterMs / 1000))), 'retry-after-ms': String(retryAfterMs) };
}

/** 1 s: long enough for a token bucket to refill, short enough for a waiting person. */
const DEFAULT_RETRY_AFTER_MS = 1_000;
