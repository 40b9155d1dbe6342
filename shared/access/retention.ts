import { LambentError } from '../core/errors.ts';
import type { Policy } from './policy.ts';

/**
 * Returns whether the content of a caller's requests may be stored for longer than they take. A project's own setting, if it
 * has one, replaces that of the organization.
 */
export function mayStoreContent({ account, project }: Policy): boolean {
  return (project?.retention ?? account?.retention) !== 'zero_data_retention';
}

/**
 * Checks that a caller may change stored objects.
 * @param objects their name as the subject of the error: `Conversations`
 * @throws LambentError `unsupported_value` under zero data retention
 */
export function requireStorage(policy: Policy, objects: string): void {
  if (mayStoreContent(policy)) return;
  throw new LambentError(
    'unsupported_value',
    `${objects} cannot be stored or changed for this project due to Zero Data Retention. Send the context with each request instead.`,
  );
}
