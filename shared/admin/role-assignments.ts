import { ORGANIZATION } from '../access/principal.ts';
import type { HttpRequest } from '../access/route.ts';
import { logAct } from '../audit/act.ts';
import { omitUndefined } from '../core/objects.ts';
import { object, text } from '../openai/schema.ts';
import { type AdminApi, createAdminRoute, createBodyRoute, getPathParameter, listArray } from './admin-routes.ts';
import { encodeGroupSummary } from './groups.ts';
import { type Owner, objectNotFoundError, toProjectOwner } from './object-table.ts';
import { addId, createPeople, type Member, removeId } from './people.ts';
import { createProjects, getActiveProject, getProject, type Project } from './projects.ts';
import { createRoles, encodeAssignedRole, encodeRole, findRole, getRole, type Role } from './roles.ts';
import { encodeUser } from './users.ts';

const createBody = object({ role_id: text({ min: 1, max: 256 }) });

/** The users or the groups, for changes of what both have. */
interface Holders {
  get(id: string): Promise<Member>;
  change(id: string, change: (member: Member) => Pick<Member, 'roles'> | Pick<Member, 'projects'>): Promise<Member>;
}

/** Creates the routes by which roles are assigned to users and groups, in the organization and in projects. */
export function createRoleAssignmentRoutes(api: AdminApi) {
  const ofUsers = createRoutes(api, 'organization', 'user');
  const ofGroups = createRoutes(api, 'organization', 'group');
  const ofProjectUsers = createRoutes(api, 'project', 'user');
  const ofProjectGroups = createRoutes(api, 'project', 'group');
  return {
    'GET /v1/organization/users/{user}/roles': ofUsers.list,
    'POST /v1/organization/users/{user}/roles': ofUsers.create,
    'GET /v1/organization/users/{user}/roles/{role}': ofUsers.retrieve,
    'DELETE /v1/organization/users/{user}/roles/{role}': ofUsers.delete,
    'GET /v1/organization/groups/{group}/roles': ofGroups.list,
    'POST /v1/organization/groups/{group}/roles': ofGroups.create,
    'GET /v1/organization/groups/{group}/roles/{role}': ofGroups.retrieve,
    'DELETE /v1/organization/groups/{group}/roles/{role}': ofGroups.delete,
    'GET /v1/projects/{project}/users/{user}/roles': ofProjectUsers.list,
    'POST /v1/projects/{project}/users/{user}/roles': ofProjectUsers.create,
    'GET /v1/projects/{project}/users/{user}/roles/{role}': ofProjectUsers.retrieve,
    'DELETE /v1/projects/{project}/users/{user}/roles/{role}': ofProjectUsers.delete,
    'GET /v1/projects/{project}/groups/{group}/roles': ofProjectGroups.list,
    'POST /v1/projects/{project}/groups/{group}/roles': ofProjectGroups.create,
    'GET /v1/projects/{project}/groups/{group}/roles/{role}': ofProjectGroups.retrieve,
    'DELETE /v1/projects/{project}/groups/{group}/roles/{role}': ofProjectGroups.delete,
  };
}

function createRoutes(api: AdminApi, level: 'organization' | 'project', kind: 'user' | 'group') {
  const people = createPeople(api);
  const projects = createProjects(api);
  const roles = createRoles(api);
  const holders: Holders = kind === 'user' ? people.users : people.groups;
  const isOfProject = level === 'project';

  /** Returns the roles of the request's user or group, and what owns them. */
  const findAssignments = async (request: HttpRequest) => {
    const project = isOfProject ? await getProject(projects, request) : undefined;
    const member = await holders.get(getPathParameter(request, kind));
    return { owner: toOwner(project), ids: getRoles(member, project, kind) };
  };

  /** Changes the roles of the request's user or group. */
  const change = async (request: HttpRequest, edit: (ids: readonly string[]) => string[]): Promise<Member> => {
    const project = isOfProject ? await getActiveProject(api, request) : undefined;
    return holders.change(getPathParameter(request, kind), (member) => {
      const changed = edit(getRoles(member, project, kind));
      if (project === undefined) return { roles: changed };
      return {
        projects: member.projects.map((each) => (each.id === project.id ? { ...each, roles: changed } : each)),
      };
    });
  };

  const log = (request: HttpRequest, type: string, roleId: string): void => {
    const principal = getPathParameter(request, kind);
    const project = request.pathParameters['project'];
    const details = { principal_id: principal, principal_type: kind, role_id: roleId };
    logAct(request.telemetry, omitUndefined({ type, objectId: `${principal}:${roleId}`, project, details }));
  };

  return {
    list: createAdminRoute(async (request) => {
      const { owner, ids } = await findAssignments(request);
      const found = await Promise.all(ids.map((id) => findRole(roles, owner, id)));
      // A crash may have left the id of a role that was deleted.
      const existing = found.filter((role) => role !== undefined);
      return listArray(
        request,
        existing.map((role) => encodeAssignedRole(owner, role)),
      );
    }),

    create: createBodyRoute(createBody, async (request, { role_id }) => {
      const { owner } = await findAssignments(request);
      const role = await getRole(roles, owner, role_id);
      const member = await change(request, (ids) => addId(ids, role.id));
      await people.confirmRole(owner, role.id);
      log(request, 'role.assignment.created', role.id);
      return encodeAssignment(member, owner, role);
    }),

    retrieve: createAdminRoute(async (request) => {
      const { owner, ids } = await findAssignments(request);
      const id = getPathParameter(request, 'role');
      if (!ids.includes(id)) throw objectNotFoundError('role_assignment', id);
      return encodeAssignedRole(owner, await getRole(roles, owner, id));
    }),

    delete: createAdminRoute(async (request) => {
      const id = getPathParameter(request, 'role');
      let wasAssigned = false;
      // Even if it isn't assigned, so that a repeated request completes an interrupted one.
      await change(request, (ids) => {
        wasAssigned = ids.includes(id);
        return removeId(ids, id);
      });
      if (!wasAssigned) throw objectNotFoundError('role_assignment', id);
      log(request, 'role.assignment.deleted', id);
      return { object: `${kind}.role.deleted` as const, deleted: true };
    }),
  };
}

function toOwner(project: Project | undefined): Owner {
  return project === undefined ? ORGANIZATION : toProjectOwner(project.id);
}

/** @throws LambentError `not_found` if the user or group isn't in the project */
function getRoles(member: Member, project: Project | undefined, kind: string): readonly string[] {
  if (project === undefined) return member.roles;
  const membership = member.projects.find(({ id }) => id === project.id);
  if (membership === undefined) throw objectNotFoundError(`project_${kind}`, member.id);
  return membership.roles;
}

function encodeAssignment(member: Member, owner: Owner, role: Role) {
  const encoded = encodeRole(owner, role);
  return 'email' in member
    ? { object: 'user.role' as const, role: encoded, user: encodeUser(member) }
    : { object: 'group.role' as const, role: encoded, group: encodeGroupSummary(member) };
}
