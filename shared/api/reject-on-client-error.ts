import { LambentError } from '../core/errors.ts';
import { Refused } from '../lambda/queue-pipeline.ts';

/** Runs a check of a queue message. A LambentError that it throws means that the message can never be served: it is refused. */
export function rejectOnClientError<T>(check: () => T): T {
  try {
    return check();
  } catch (thrown) {
    throw thrown instanceof LambentError ? new Refused(thrown) : thrown;
  }
}
