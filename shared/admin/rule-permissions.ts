import type { Scope } from '../access/scopes.ts';
import type { LambentError } from '../core/errors.ts';
import { abbreviate, invalidValueError } from '../openai/validation.ts';
import type { FederationRule } from './federation-rules.ts';
import { describeScopeNames, findNamedScopes } from './key-fields.ts';
import { MAX_ROLES, PREDEFINED_ROLES, type Role } from './roles.ts';

/** What a rule permits. */
export type RulePermissions = Pick<FederationRule, 'scopeNames' | 'scopes' | 'roles'>;

/** The field of a request that names scopes and roles. */
const PARAM = 'permissions.scopes';

/**
 * Returns what a rule permits that names scopes, sets of scopes and roles. A custom role may be named by its name, but the rule keeps
 * its id: another role could get the name.
 * @param permitted the scopes that the rule's project permits
 * @param listRoles lists the custom roles that the rule may name. Called only if a name is neither of a scope nor of a set
 * @throws LambentError `invalid_value` for an unknown name, and for one that has nothing in `permitted`
 */
export async function parseRulePermissions(
  names: readonly string[],
  permitted: readonly Scope[],
  listRoles: () => Promise<readonly Role[]>,
): Promise<RulePermissions> {
  const plain = names.map((name) => PREDEFINED_ROLES.find(({ id }) => id === name)?.name ?? name);
  const custom = plain.every((name) => findNamedScopes(name) !== undefined) ? [] : await listRoles();
  const named = plain.map((name, index) => {
    const param = `${PARAM}[${index}]`;
    const own = findNamedScopes(name);
    const role = own === undefined ? findRole(custom, name, param, permitted) : undefined;
    const scopes = permitted.filter((scope) => (own ?? role?.permissions ?? []).includes(scope));
    if (scopes.length === 0) throw invalidError(param, name, "has no scope that the rule's project permits", permitted);
    return { name: role?.id ?? name, scopes, isRole: role !== undefined };
  });
  const [roles, others] = [named.filter(({ isRole }) => isRole), named.filter(({ isRole }) => !isRole)];
  const ids = listNames(roles);
  if (ids.length > MAX_ROLES)
    throw invalidValueError(PARAM, `Invalid '${PARAM}': a rule names at most ${MAX_ROLES} custom roles.`);
  const scopes = permitted.filter((scope) => others.some((each) => each.scopes.includes(scope)));
  return { scopeNames: listNames(named), scopes, roles: ids };
}

function listNames(named: readonly { readonly name: string }[]): string[] {
  return [...new Set(named.map(({ name }) => name))];
}

/** Returns the role with an id or a name. @throws LambentError `invalid_value` if no role or several have it */
function findRole(roles: readonly Role[], name: string, param: string, permitted: readonly Scope[]): Role {
  const byId = roles.find(({ id }) => id === name);
  const [role, ...others] = byId === undefined ? roles.filter((each) => each.name === name) : [byId];
  if (role === undefined)
    throw invalidError(param, name, 'is neither a scope nor a role of the organization or of the project', permitted);
  if (others.length === 0) return role;
  const ids = [role, ...others].map(({ id }) => id).join(', ');
  throw invalidValueError(param, `Invalid '${param}': several roles have this name. Use the id of one: ${ids}.`);
}

function invalidError(param: string, name: string, reason: string, permitted: readonly Scope[]): LambentError {
  const known = describeScopeNames(permitted);
  return invalidValueError(param, `Invalid '${param}': '${abbreviate(name)}' ${reason}. ${known}`);
}
