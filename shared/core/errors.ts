/**
 * All error codes. They are stable. `shared/wire/error-responses.ts` maps them to HTTP statuses and public messages.
 */
export const ERROR_CODES = [
  // The caller must change the request.
  'invalid_json',
  'invalid_type',
  'invalid_value',
  'missing_required_parameter',
  'unknown_parameter',
  'unsupported_parameter',
  'unsupported_value',
  'invalid_json_schema',
  'invalid_function_parameters',
  'context_length_exceeded',
  'content_filter',
  'storage_limit_exceeded',
  'upstream_rejected',
  'invalid_api_key',
  'insufficient_permissions',
  'ip_not_authorized',
  'certificate_not_authorized',
  'model_not_found',
  'not_found',
  'previous_response_not_found',
  'conversation_locked',
  'idempotency_key_reused',
  'idempotency_key_in_use',
  'idempotent_answer_not_kept',
  'unknown_url',
  'websocket_not_supported',
  'request_too_large',
  'unsupported_media_type',
  'tenant_deleted',
  'project_archived',
  'key_held',
  'external_key_unavailable',
  // The caller may retry.
  'rate_limit_exceeded',
  'overloaded',
  'upstream_unavailable',
  'upstream_timeout',
  'deadline_exceeded',
  'vault_unavailable',
  'issuer_unavailable',
  'guardrail_unavailable',
  // The operator or the upstream must act.
  'insufficient_quota',
  'upstream_misconfigured',
  'upstream_cut',
  'upstream_malformed',
  'output_mismatch',
  'record_unreadable',
  'configuration',
  'internal',
] as const;
export type ErrorCode = (typeof ERROR_CODES)[number];

/** True if `text` is an error code that this version knows. */
export function isErrorCode(text: string | undefined): text is ErrorCode {
  return ERROR_CODES.some((code) => code === text);
}

export interface ErrorDetails {
  /** Path of the request parameter that caused the error: `messages[0].content`. */
  readonly param?: string;
  /** Milliseconds after which a retry may succeed, if known. */
  readonly retryAfterMs?: number;
  /** Further headers of the response. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Replaces the text that callers see for the code. */
  readonly publicMessage?: string;
  /** The error's type in OpenAI's format, if it doesn't follow from the code. */
  readonly type?: string;
  /** True if a retry can't succeed, although it may for other errors of the same code. */
  readonly isFinal?: boolean;
  /** The limit that refuses the request, as `level.name`: `key.dollarsPerMonth`. */
  readonly limit?: string;
  /** Why a policy refuses the request. Names a kind of data and a parameter, never content, so that a job may store it. */
  readonly refusal?: string;
  /** True if the request was refused before its model was called. */
  readonly isUnasked?: true;
  readonly cause?: unknown;
}

/**
 * Base class of all expected errors. Callers see `message` only for codes that they can act on. For all others they see
 * a generic text.
 */
export class LambentError extends Error {
  override readonly name: string = 'LambentError';
  readonly code: ErrorCode;
  readonly param: string | undefined;
  readonly retryAfterMs: number | undefined;
  readonly details: ErrorDetails;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, 'cause' in details ? { cause: details.cause } : undefined);
    this.code = code;
    this.param = details.param;
    this.retryAfterMs = details.retryAfterMs;
    this.details = details;
  }

  /** True if the same request may succeed later. */
  get retryable(): boolean {
    return RETRYABLE.has(this.code) && !this.details.isFinal;
  }
}

const RETRYABLE: ReadonlySet<ErrorCode> = new Set([
  'rate_limit_exceeded',
  'overloaded',
  'upstream_unavailable',
  'upstream_timeout',
  'upstream_cut',
  'upstream_malformed',
  'deadline_exceeded',
  'vault_unavailable',
  'issuer_unavailable',
  'guardrail_unavailable',
  'internal',
]);

/** Returns `thrown` if it is a LambentError. Wraps anything else in a LambentError `internal`, as its cause. */
export function toLambentError(thrown: unknown): LambentError {
  if (thrown instanceof LambentError) return thrown;
  return new LambentError('internal', thrown instanceof Error ? thrown.message : String(thrown), { cause: thrown });
}
