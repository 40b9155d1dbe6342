import * as v from 'valibot';
import { ORGANIZATION } from '../access/principal.ts';
import type { HttpRequest } from '../access/route.ts';
import { logAct } from '../audit/act.ts';
import { object, text } from '../openai/schema.ts';
import { invalidValueError } from '../openai/validation.ts';
import {
  type AdminApi,
  createAdminRoute,
  createBodyRoute,
  createOptionalBodyRoute,
  getPathParameter,
  listObjects,
} from './admin-routes.ts';
import { objectNotFoundError, toProjectOwner } from './object-table.ts';
import { addId, createPeople, type Group, type Member, type Members, type User } from './people.ts';
import { createProjects, getActiveProject, getProject } from './projects.ts';
import { createRoles, resolveRole, showRole } from './roles.ts';

const id = text({ min: 1, max: 256 });
const userBody = object({
  role: id,
  user_id: v.optional(v.nullable(id)),
  email: v.optional(v.nullable(text({ min: 1, max: 254 }))),
});
const updateBody = object({ role: v.optional(v.nullable(id)) });
const groupBody = object({ group_id: id, role: id });

/** Creates the routes of the users and groups of projects. */
export function createProjectMemberRoutes(api: AdminApi) {
  const { users, groups, confirmRole } = createPeople(api);
  const projects = createProjects(api);
  const roles = createRoles(api);

  /** Returns the id of the user that the body of a request names. */
  const findUserId = async ({ user_id, email }: v.InferOutput<typeof userBody>): Promise<string> => {
    if (typeof user_id === 'string') return user_id;
    const found: User[] = [];
    for await (const user of users.collection.listAll(ORGANIZATION))
      if (!user.deleted && user.email === email?.toLowerCase()) found.push(user);
    const [user, ...others] = found;
    if (user === undefined || others.length > 0)
      throw invalidValueError('email', `Invalid 'email': there ${user ? 'are several users' : 'is no user'} with it.`);
    return user.id;
  };

  /** Adds a user or group to a project, or gives it one role more there. */
  const add = async <T extends Member>(
    members: Members<T>,
    memberId: string,
    projectId: string,
    roleId: string,
  ): Promise<T> => {
    const added = await members.change(memberId, (member) => {
      const before = member.projects.find((each) => each.id === projectId);
      const after = {
        id: projectId,
        addedAt: before?.addedAt ?? Math.floor(api.now() / 1000),
        roles: addId(before?.roles ?? [], roleId),
      };
      return replaceMembership(member, projectId, [after]);
    });
    await confirmRole(toProjectOwner(projectId), roleId);
    return added;
  };

  /** Removes a user or group from a project, even if it isn't there, so that a repeated request completes an interrupted one. */
  const remove = async <T extends Member>(members: Members<T>, memberId: string, projectId: string): Promise<void> => {
    let wasThere = false;
    await members.change(memberId, (member) => {
      wasThere = isIn(member, projectId);
      return replaceMembership(member, projectId, []);
    });
    if (!wasThere) throw objectNotFoundError('project_member', memberId);
  };

  const log = (request: HttpRequest, type: string, objectId: string, role?: string): void => {
    const project = getPathParameter(request, 'project');
    logAct(request.telemetry, {
      type,
      objectId,
      project,
      ...(role === undefined ? {} : { details: { data: { role } } }),
    });
  };

  return {
    'GET /v1/organization/projects/{project}/users': createAdminRoute(async (request) => {
      const { id } = await getProject(projects, request);
      const isWanted = (user: User) => !user.deleted && isIn(user, id);
      return listObjects(request, users.collection, ORGANIZATION, (user) => encodeProjectUser(user, id), isWanted);
    }),

    'POST /v1/organization/projects/{project}/users': createBodyRoute(userBody, async (request, body) => {
      const { id } = await getActiveProject(api, request);
      const roleId = await resolveRole(roles, toProjectOwner(id), body.role);
      const user = await add(users, await findUserId(body), id, roleId);
      log(request, 'user.added', user.id, body.role);
      return encodeProjectUser(user, id);
    }),

    'GET /v1/organization/projects/{project}/users/{user}': createAdminRoute(async (request) => {
      const { id } = await getProject(projects, request);
      return encodeProjectUser(await users.get(getPathParameter(request, 'user')), id);
    }),

    'POST /v1/organization/projects/{project}/users/{user}': createOptionalBodyRoute(
      updateBody,
      async (request, { role }) => {
        const { id } = await getActiveProject(api, request);
        const ids = typeof role === 'string' ? [await resolveRole(roles, toProjectOwner(id), role)] : undefined;
        const user = await users.change(getPathParameter(request, 'user'), (each) => {
          const before = getMembership(each, id);
          return replaceMembership(each, id, [{ ...before, roles: ids ?? before.roles }]);
        });
        for (const roleId of ids ?? []) await confirmRole(toProjectOwner(id), roleId);
        log(request, 'user.updated', user.id, role ?? undefined);
        return encodeProjectUser(user, id);
      },
    ),

    // Works for archived projects and erased tenants, too: what is not removed counts among the projects of a user.
    'DELETE /v1/organization/projects/{project}/users/{user}': createAdminRoute(async (request) => {
      const { id } = await getProject(projects, request);
      const userId = getPathParameter(request, 'user');
      await remove(users, userId, id);
      log(request, 'user.deleted', userId);
      return { id: userId, object: 'organization.project.user.deleted' as const, deleted: true };
    }),

    'GET /v1/organization/projects/{project}/groups': createAdminRoute(async (request) => {
      const { id } = await getProject(projects, request);
      const encode = (group: Group) => encodeProjectGroup(group, id);
      return listObjects(request, groups.collection, ORGANIZATION, encode, (group) => isIn(group, id));
    }),

    'POST /v1/organization/projects/{project}/groups': createBodyRoute(
      groupBody,
      async (request, { group_id, role }) => {
        const { id } = await getActiveProject(api, request);
        const group = await add(groups, group_id, id, await resolveRole(roles, toProjectOwner(id), role));
        log(request, 'group.updated', group_id, role);
        return encodeProjectGroup(group, id);
      },
    ),

    'GET /v1/organization/projects/{project}/groups/{group}': createAdminRoute(async (request) => {
      const { id } = await getProject(projects, request);
      const groupId = getPathParameter(request, 'group');
      const type = request.query['group_type'] ?? 'group';
      if (type === 'tenant_group') throw objectNotFoundError('group', groupId);
      if (type !== 'group')
        throw invalidValueError('group_type', "Invalid value for 'group_type'. Supported values are: 'group'.");
      return encodeProjectGroup(await groups.get(groupId), id);
    }),

    // Works for archived projects and erased tenants, too: what is not removed counts among the projects of a user.
    'DELETE /v1/organization/projects/{project}/groups/{group}': createAdminRoute(async (request) => {
      const { id } = await getProject(projects, request);
      const groupId = getPathParameter(request, 'group');
      await remove(groups, groupId, id);
      log(request, 'group.updated', groupId);
      return { object: 'project.group.deleted' as const, deleted: true };
    }),
  };
}

type Membership = Member['projects'][number];

function isIn({ projects }: Member, projectId: string): boolean {
  return projects.some(({ id }) => id === projectId);
}

/** @throws LambentError `not_found` if the user or group isn't in the project */
function getMembership(member: Member, projectId: string): Membership {
  const membership = member.projects.find(({ id }) => id === projectId);
  if (membership === undefined) throw objectNotFoundError('project_member', member.id);
  return membership;
}

function replaceMembership(member: Member, projectId: string, memberships: readonly Membership[]) {
  return { projects: [...member.projects.filter(({ id }) => id !== projectId), ...memberships] };
}

function encodeProjectUser(user: User, projectId: string) {
  const { addedAt, roles } = getMembership(user, projectId);
  return {
    id: user.id,
    object: 'organization.project.user' as const,
    added_at: addedAt,
    name: user.name,
    email: user.email,
    role: showRole(roles) ?? 'none',
  };
}

function encodeProjectGroup(group: Group, projectId: string) {
  return {
    object: 'project.group' as const,
    project_id: projectId,
    group_id: group.id,
    group_name: group.name,
    group_type: 'group',
    created_at: getMembership(group, projectId).addedAt,
  };
}
