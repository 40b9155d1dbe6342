import type { LambentError } from '../core/errors.ts';
import { keyHeldError } from './key-held-error.ts';
import { projectArchivedError } from './project-archived-error.ts';

/**
 * Returns the error of every request of a caller whose project is archived or whose key is held.
 * @param heldUntil epoch seconds. Undefined if the project is archived, and its key not held
 */
export function refusedCallerError(isArchived: boolean, heldUntil = 0): LambentError {
  return isArchived ? projectArchivedError() : keyHeldError(heldUntil);
}
