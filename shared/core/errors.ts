/**
 * Every way in which Lambent refuses or fails, as a stable code. What HTTP status and OpenAI error type a code becomes
 * is decided in one place, `shared/openai/errors.ts`.
 */
export const ERROR_CODES = [
  // The caller's to mend
  'invalid_json',
  'invalid_type',
  'invalid_value',
  'missing_required_parameter',
  'unknown_parameter',
  'unsupported_parameter',
  'unsupported_value',
  'context_length_exceeded',
  'content_filter',
  'upstream_rejected',
  'invalid_api_key',
  'insufficient_permissions',
  'model_not_found',
  'not_found',
  'previous_response_not_found',
  'conversation_locked',
  'idempotency_key_reused',
  'idempotency_key_in_use',
  'idempotent_answer_not_kept',
  'unknown_url',
  'request_too_large',
  'unsupported_media_type',
  'tenant_deleted',
  // Worth trying again
  'rate_limit_exceeded',
  'overloaded',
  'upstream_unavailable',
  'upstream_timeout',
  'deadline_exceeded',
  'vault_unavailable',
  // Ours, or our upstream's, to mend
  'insufficient_quota',
  'upstream_misconfigured',
  'upstream_cut',
  'upstream_malformed',
  'record_unreadable',
  'configuration',
  'internal',
] as const;
export type ErrorCode = (typeof ERROR_CODES)[number];

/** Whether `text` is a code that this version knows. */
export function isErrorCode(text: string | undefined): text is ErrorCode {
  return ERROR_CODES.some((code) => code === text);
}

export interface ErrorDetails {
  /** The request parameter at fault, as a path: `messages[0].content`. */
  readonly param?: string;
  /** Milliseconds after which a retry may help, when somebody said so. */
  readonly retryAfterMs?: number;
  readonly cause?: unknown;
}

/**
 * The one base of every expected failure. `message` is shown to callers for the codes that they can mend; for all
 * others it goes to the log, and the caller sees a generic text.
 */
export class LambentError extends Error {
  override readonly name: string = 'LambentError';
  readonly code: ErrorCode;
  readonly param: string | undefined;
  readonly retryAfterMs: number | undefined;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, 'cause' in details ? { cause: details.cause } : undefined);
    this.code = code;
    this.param = details.param;
    this.retryAfterMs = details.retryAfterMs;
  }

  /** Whether the same request may succeed when it is sent again later. */
  get retryable(): boolean {
    return RETRYABLE.has(this.code);
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
  'internal',
]);

/** Turns anything thrown into a LambentError; what was not one becomes `internal` with the original as its cause. */
export function toLambentError(thrown: unknown): LambentError {
  if (thrown instanceof LambentError) return thrown;
  return new LambentError('internal', thrown instanceof Error ? thrown.message : String(thrown), { cause: thrown });
}
