import type { Policy, Restrictions } from './policy.ts';

/** Returns the restrictions of all levels of a policy. */
export function listRestrictions({ account, project, key }: Policy): Restrictions[] {
  return [account, project, key].filter((level) => level !== undefined);
}
