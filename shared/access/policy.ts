import type { PersonalDataRules } from './personal-data.ts';

/**
 * What a caller may do besides its scopes. The administration writes and checks it, and the authorizer passes it on, so
 * that a request needs no further read.
 */
export interface Policy {
  /** Restricts all callers of the deployment together. */
  readonly account?: Restrictions;
  /** Restricts all callers of the tenant together. */
  readonly project?: Restrictions;
  /** Restricts the key. */
  readonly key?: Restrictions;
}

/** The restrictions of an account, a project or a key. An absent part restricts nothing. */
export interface Restrictions {
  readonly models?: ModelPermissions;
  readonly personalData?: PersonalDataRules;
}

/** The aliases of `models.json` that may be used. */
export interface ModelPermissions {
  readonly mode: 'allow' | 'deny';
  readonly models: readonly string[];
}

/** The policy of a caller without restrictions. */
export const UNRESTRICTED: Policy = {};

/** Returns whether all levels of a policy permit a model. */
export function permitsModel({ account, project, key }: Policy, model: string): boolean {
  return [account, project, key].every((level) => {
    const permissions = level?.models;
    return permissions === undefined || permissions.models.includes(model) === (permissions.mode === 'allow');
  });
}
