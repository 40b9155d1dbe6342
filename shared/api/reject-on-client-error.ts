import { LambentError } from '../core/errors.ts';
import { MessageRejectedError } from '../lambda/queue-pipeline.ts';

/**
 * Returns the result of `check`. Converts its LambentErrors to MessageRejectedError, because the message can never be
 * processed.
 */
export function rejectOnClientError<T>(check: () => T): T {
  try {
    return check();
  } catch (thrown) {
    throw thrown instanceof LambentError ? new MessageRejectedError(thrown) : thrown;
  }
}
