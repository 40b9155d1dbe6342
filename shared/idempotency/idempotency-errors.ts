import { LambentError } from '../core/errors.ts';

/** The time after which a caller should repeat a request whose key is in use. */
const RETRY_AFTER_MS = 2_000;

/** The error for a key that was used with another body. */
export function keyReusedError(): LambentError {
  return new LambentError('idempotency_key_reused', 'This idempotency key was used with another body before.');
}

/** The error for a key whose first call is still running. */
export function keyInUseError(): LambentError {
  const message = 'A request with this idempotency key is still running. Try again soon.';
  return new LambentError('idempotency_key_in_use', message, { retryAfterMs: RETRY_AFTER_MS });
}

/** The error for a key whose operation created an object that was deleted since. */
export function resultDeletedError(): LambentError {
  const message = 'What was made with this idempotency key has been deleted. Use another key.';
  return new LambentError('idempotent_answer_not_kept', message);
}

/** The error for a key whose response was not to be stored. */
export function resultNotStoredError(): LambentError {
  const message = 'A request with this idempotency key has been answered, and its answer was not to be stored.';
  return new LambentError('idempotent_answer_not_kept', message);
}

/**
 * Returns whether an operation that failed with this error may have stored its result. A LambentError says that it hasn't.
 * Any other error may come from a write that was made and whose response was lost.
 */
export function mayHaveResult(thrown: unknown): boolean {
  return !(thrown instanceof LambentError);
}
