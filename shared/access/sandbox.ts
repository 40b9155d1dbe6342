import { LambentError } from '../core/errors.ts';
import type { Scope } from './scopes.ts';

/**
 * Checks that a route with a scope changes nothing, for a project that only reads.
 * @throws LambentError `insufficient_permissions` if it does
 */
export function checkReading(scope: Scope): void {
  if (!isReading(scope))
    throw new LambentError('insufficient_permissions', 'This project only reads: it is a sandbox.');
}

/** Returns whether a scope permits only reading. */
export function isReading(scope: Scope): boolean {
  return scope.endsWith('.read');
}
