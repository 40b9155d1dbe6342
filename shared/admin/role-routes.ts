import * as v from 'valibot';
import { ORGANIZATION } from '../access/principal.ts';
import type { HttpRequest } from '../access/route.ts';
import { TENANT_SCOPES } from '../access/scopes.ts';
import { logAct } from '../audit/act.ts';
import { omitUndefined } from '../core/objects.ts';
import { arrayOf, object, string, text } from '../openai/schema.ts';
import { invalidValueError } from '../openai/validation.ts';
import {
  type AdminApi,
  createAdminRoute,
  createBodyRoute,
  createOptionalBodyRoute,
  getPathParameter,
  listArray,
  requireScope,
} from './admin-routes.ts';
import { createFederationRules } from './federation-rules.ts';
import { parseScopes } from './key-fields.ts';
import { createObjectId, type Owner, objectNotFoundError, toProjectOwner } from './object-table.ts';
import { createPeople, removeId } from './people.ts';
import { createProjects, getActiveProject, getProject } from './projects.ts';
import {
  createRoles,
  encodeRole,
  getRole,
  isPredefined,
  listCustomRoles,
  PREDEFINED_ROLES,
  type Role,
} from './roles.ts';

const name = text({ min: 1, max: 256 });
const permissions = arrayOf(string, 'strings', { min: 1, max: 100 });
const description = v.optional(v.nullable(text({ max: 1_024 })));
const createBody = object({ role_name: name, permissions, description });
const updateBody = object({
  role_name: v.optional(v.nullable(name)),
  permissions: v.optional(v.nullable(permissions)),
  description,
});

/** Creates the routes of the roles of the organization and of projects. */
export function createRoleRoutes(api: AdminApi) {
  const organization = createRoutes(api, 'organization');
  const project = createRoutes(api, 'project');
  return {
    'GET /v1/organization/roles': organization.list,
    'POST /v1/organization/roles': organization.create,
    'GET /v1/organization/roles/{role}': organization.retrieve,
    'POST /v1/organization/roles/{role}': organization.update,
    'DELETE /v1/organization/roles/{role}': organization.delete,
    'GET /v1/projects/{project}/roles': project.list,
    'POST /v1/projects/{project}/roles': project.create,
    'GET /v1/projects/{project}/roles/{role}': project.retrieve,
    'POST /v1/projects/{project}/roles/{role}': project.update,
    'DELETE /v1/projects/{project}/roles/{role}': project.delete,
  };
}

function createRoutes(api: AdminApi, level: 'organization' | 'project') {
  const projects = createProjects(api);
  const roles = createRoles(api);
  const people = createPeople(api);
  const rules = createFederationRules(api);

  const getOwner = async (request: HttpRequest): Promise<Owner> =>
    level === 'project' ? toProjectOwner((await getProject(projects, request)).id) : ORGANIZATION;
  const getActiveOwner = async (request: HttpRequest): Promise<Owner> =>
    level === 'project' ? toProjectOwner((await getActiveProject(api, request)).id) : ORGANIZATION;

  const listRoles = async (owner: Owner): Promise<Role[]> => [
    ...PREDEFINED_ROLES,
    ...(await listCustomRoles(roles, owner)),
  ];

  const checkName = async (owner: Owner, name: string, id?: string): Promise<void> => {
    if ((await listRoles(owner)).some((role) => role.name === name && role.id !== id))
      throw invalidValueError('role_name', "Invalid 'role_name': there is a role with this name already.");
  };

  const getCustomRole = (owner: Owner, request: HttpRequest): Promise<Role> => {
    const id = getPathParameter(request, 'role');
    if (isPredefined(id)) throw invalidValueError('role_id', "Predefined roles can't be changed.");
    return roles.get(owner, id);
  };

  /**
   * A role that federation rules name decides what their tokens may do, so that to change it is to change the rules.
   * @throws LambentError `insufficient_permissions`
   */
  const requireScopeOfRules = async (request: HttpRequest, { id }: Role): Promise<void> => {
    if (await rules.isRoleNamed(id))
      requireScope(request, 'admin.identity.write', 'because federation rules name the role');
  };

  const log = (request: HttpRequest, type: string, objectId: string, details?: Readonly<Record<string, unknown>>) => {
    const project = request.pathParameters['project'];
    logAct(request.telemetry, omitUndefined({ type, objectId, project, details }));
  };

  return {
    list: createAdminRoute(async (request) => {
      const owner = await getOwner(request);
      const encoded = (await listRoles(owner)).map((role) => encodeRole(owner, role));
      return listArray(request, encoded);
    }),

    create: createBodyRoute(createBody, async (request, body) => {
      const scopes = parseScopes(body.permissions, TENANT_SCOPES, 'permissions');
      const owner = await getActiveOwner(request);
      await checkName(owner, body.role_name);
      const now = api.now();
      const createdAt = Math.floor(now / 1000);
      const role: Role = {
        id: createObjectId('role', now),
        createdAt,
        updatedAt: createdAt,
        name: body.role_name,
        description: body.description ?? null,
        permissions: [...scopes],
      };
      await roles.create(owner, role);
      log(request, 'role.created', role.id, { role_name: role.name, permissions: scopes });
      return encodeRole(owner, role);
    }),

    retrieve: createAdminRoute(async (request) => {
      const owner = await getOwner(request);
      return encodeRole(owner, await getRole(roles, owner, getPathParameter(request, 'role')));
    }),

    update: createOptionalBodyRoute(updateBody, async (request, body) => {
      const scopes = body.permissions && parseScopes(body.permissions, TENANT_SCOPES, 'permissions');
      const owner = await getActiveOwner(request);
      const before = await getCustomRole(owner, request);
      if (scopes) await requireScopeOfRules(request, before);
      if (typeof body.role_name === 'string') await checkName(owner, body.role_name, before.id);
      const after = await roles.update(owner, before.id, (role) => {
        // A role without permissions is being deleted.
        if (role.permissions.length === 0) throw objectNotFoundError('role', role.id);
        return {
          ...role,
          name: body.role_name ?? role.name,
          description: body.description === undefined ? role.description : body.description,
          permissions: scopes ? [...scopes] : role.permissions,
          updatedAt: Math.floor(api.now() / 1000),
        };
      });
      await people.changeHolders(after.id);
      await rules.enforceRole(after.id);
      log(request, 'role.updated', after.id, { changes_requested: body });
      return encodeRole(owner, after);
    }),

    delete: createAdminRoute(async (request) => {
      const owner = await getActiveOwner(request);
      const role = await getCustomRole(owner, request);
      const { id } = role;
      await requireScopeOfRules(request, role);
      // Its holders lose its permissions first, so that a repeated request finds a role whose deletion was interrupted.
      await roles.update(owner, id, (each) => ({ ...each, permissions: [] }));
      await people.changeHolders(id, (ids) => removeId(ids, id));
      await rules.forgetRole(id);
      await roles.delete(owner, id);
      log(request, 'role.deleted', id);
      return { id, object: 'role.deleted' as const, deleted: true };
    }),
  };
}
