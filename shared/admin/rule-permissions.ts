import { ORGANIZATION } from '../access/principal.ts';
import type { Scope } from '../access/scopes.ts';
import type { LambentError } from '../core/errors.ts';
import { getOrCreate } from '../core/get-or-create.ts';
import { abbreviate, invalidValueError } from '../openai/validation.ts';
import type { AdminApi } from './admin-routes.ts';
import { listKeyScopes } from './environments.ts';
import { describeScopeNames, findNamedScopes } from './key-fields.ts';
import { createProjects, type Project } from './projects.ts';
import { createRoleReader, MAX_ROLES, PREDEFINED_ROLES, type Role } from './roles.ts';

/** What a rule permits, by names: which scopes these are depends on its project and on the roles. */
export interface RulePermissions {
  /** Names of scopes and sets of scopes, and ids of custom roles. Null for all scopes that the project permits. */
  readonly scopeNames: string[] | null;
  /** The ids of the custom roles among them. */
  readonly roles: string[];
}

/**
 * Creates a function that returns the scopes that a rule permits now: none if its project doesn't exist. It reads each project, and the
 * custom roles of each owner, once.
 */
export function createRuleScopeReader(
  api: Pick<AdminApi, 'table'>,
): (rule: RulePermissions & { readonly projectId: string }) => Promise<string[]> {
  const projects = createProjects(api);
  const listRoles = createRoleReader(api);
  const found = new Map<string, Promise<Project | undefined>>();
  return async ({ projectId, scopeNames, roles }) => {
    const project = await getOrCreate(found, projectId, () => projects.find(ORGANIZATION, projectId));
    if (project === undefined) return [];
    const permitted = listKeyScopes(project);
    if (scopeNames === null) return [...permitted];
    const own = roles.length === 0 ? [] : (await listRoles(projectId)).filter(({ id }) => roles.includes(id));
    const ofRoles = own.flatMap(({ permissions }) => permissions);
    const granted = new Set<string>([...scopeNames.flatMap((name) => findNamedScopes(name) ?? []), ...ofRoles]);
    return permitted.filter((scope) => granted.has(scope));
  };
}

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
    if (!permitted.some((scope) => (own ?? role?.permissions ?? []).includes(scope)))
      throw invalidError(param, name, "has no scope that the rule's project permits", permitted);
    return { name: role?.id ?? name, isRole: role !== undefined };
  });
  const ids = listNames(named.filter(({ isRole }) => isRole));
  if (ids.length > MAX_ROLES)
    throw invalidValueError(PARAM, `Invalid '${PARAM}': a rule names at most ${MAX_ROLES} custom roles.`);
  return { scopeNames: listNames(named), roles: ids };
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
