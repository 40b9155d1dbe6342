import * as v from 'valibot';
import { ORGANIZATION } from '../access/principal.ts';
import { BUILT_IN_ROLES } from '../access/roles.ts';
import { TENANT_SCOPES } from '../access/scopes.ts';
import { getOrCreate } from '../core/get-or-create.ts';
import type { AdminApi } from './admin-routes.ts';
import { type Collection, createCollection, type Owner, objectNotFoundError, toProjectOwner } from './object-table.ts';

const roleSchema = v.object({
  id: v.string(),
  createdAt: v.number(),
  updatedAt: v.number(),
  name: v.string(),
  description: v.nullable(v.string()),
  /** Scopes of tenants. None while the role is being deleted. */
  permissions: v.array(v.string()),
});
/** A named set of scopes, of the organization or a project. */
export type Role = v.InferOutput<typeof roleSchema>;

const PREFIX = 'role_';

/** The most roles that a user or group has, each in the organization and in a project, and that a federation rule names. */
export const MAX_ROLES = 20;

/** The roles that every deployment has, without scopes of the administration: no token can administrate. */
export const PREDEFINED_ROLES: readonly Role[] = Object.entries(BUILT_IN_ROLES).map(([name, role]) => ({
  id: `${PREFIX}${name}`,
  createdAt: 0,
  updatedAt: 0,
  name,
  description: role.description,
  permissions: TENANT_SCOPES.filter((scope) => new Set<string>(role.scopes).has(scope)),
}));

/** Creates the collection of custom roles. */
export function createRoles({ table }: Pick<AdminApi, 'table'>): Collection<Role> {
  return createCollection(table, { type: 'role', schema: roleSchema });
}

/** Lists the custom roles of an owner, in the order of their creation. */
export async function listCustomRoles(roles: Collection<Role>, owner: Owner): Promise<Role[]> {
  const all: Role[] = [];
  for await (const role of roles.listAll(owner)) all.push(role);
  return all;
}

/** Lists the custom roles that apply in a project: its own and those of the organization. */
type ListRoles = (projectId: string) => Promise<readonly Role[]>;

/** Creates a function that lists custom roles. It reads those of each owner once. */
export function createRoleReader(api: Pick<AdminApi, 'table'>): ListRoles {
  const roles = createRoles(api);
  const lists = new Map<Owner, Promise<Role[]>>();
  const list = (owner: Owner) => getOrCreate(lists, owner, () => listCustomRoles(roles, owner));
  return async (projectId) => (await Promise.all([list(toProjectOwner(projectId)), list(ORGANIZATION)])).flat();
}

export function isPredefined(id: string): boolean {
  return PREDEFINED_ROLES.some((role) => role.id === id);
}

/** Returns a predefined role or one of the owner. Returns undefined if there is no such role. */
export async function findRole(roles: Collection<Role>, owner: Owner, id: string): Promise<Role | undefined> {
  return PREDEFINED_ROLES.find((role) => role.id === id) ?? roles.find(owner, id);
}

/** Like `findRole`. @throws LambentError `not_found` */
export async function getRole(roles: Collection<Role>, owner: Owner, id: string): Promise<Role> {
  const role = await findRole(roles, owner, id);
  if (role === undefined) throw objectNotFoundError('role', id);
  return role;
}

/** Returns the id of the role that a request names by its id or, if it is predefined, by its name. @throws LambentError `not_found` */
export async function resolveRole(roles: Collection<Role>, owner: Owner, nameOrId: string): Promise<string> {
  const predefined = PREDEFINED_ROLES.find(({ name }) => name === nameOrId);
  return predefined?.id ?? (await getRole(roles, owner, nameOrId)).id;
}

/** Returns how the roles of a user or group are shown as one `role`: by the predefined one that permits most, or else the first. */
export function showRole(ids: readonly string[]): string | undefined {
  return PREDEFINED_ROLES.find(({ id }) => ids.includes(id))?.name ?? ids[0];
}

/** Encodes a role as the API shows it. */
export function encodeRole(owner: Owner, { id, name, description, permissions }: Role) {
  return {
    object: 'role' as const,
    id,
    name,
    description,
    permissions,
    predefined_role: isPredefined(id),
    resource_type: owner === ORGANIZATION ? 'api.organization' : 'api.project',
  };
}

/** Encodes a role as the API shows it where it is assigned. */
export function encodeAssignedRole(owner: Owner, role: Role) {
  const { object: _, ...fields } = encodeRole(owner, role);
  const isOwn = !isPredefined(role.id);
  return {
    ...fields,
    assignment_sources: null,
    created_at: isOwn ? role.createdAt : null,
    created_by: null,
    created_by_user_obj: null,
    metadata: null,
    updated_at: isOwn ? role.updatedAt : null,
  };
}
