import { ORGANIZATION } from '../access/principal.ts';
import { logAct } from '../audit/act.ts';
import { object, text } from '../openai/schema.ts';
import { invalidValueError } from '../openai/validation.ts';
import { type AdminApi, createAdminRoute, createBodyRoute, getPathParameter, listObjects } from './admin-routes.ts';
import { createObjectId, objectNotFoundError } from './object-table.ts';
import { addId, createPeople, type Group, removeId, type User } from './people.ts';

const groupBody = object({ name: text({ min: 1, max: 256 }) });
const userBody = object({ user_id: text({ min: 1, max: 256 }) });

/** A request that changes a group computes for each of its users what the user may do, and API Gateway waits for 29 s. */
const MAX_USERS = 1_000;

/** Creates the routes of groups and of their users. */
export function createGroupRoutes(api: AdminApi) {
  const { users, groups } = createPeople(api);

  /** @throws LambentError `invalid_value` if a group has as many users as one request can change */
  const requirePlace = async (groupId: string, userId: string): Promise<void> => {
    if ((await users.get(userId)).groups.includes(groupId)) return;
    let count = 0;
    for await (const user of users.collection.listAll(ORGANIZATION)) if (user.groups.includes(groupId)) count += 1;
    if (count >= MAX_USERS)
      throw invalidValueError('user_id', `The group ${groupId} has ${count} users, the maximum. Use several groups.`);
  };

  return {
    'GET /v1/organization/groups': createAdminRoute((request) =>
      listObjects(request, groups.collection, ORGANIZATION, encodeGroup),
    ),

    'POST /v1/organization/groups': createBodyRoute(groupBody, async (request, { name }) => {
      const now = api.now();
      const id = createObjectId('group', now);
      const group: Group = { id, createdAt: Math.floor(now / 1000), name, roles: [], projects: [] };
      await groups.collection.create(ORGANIZATION, group);
      logAct(request.telemetry, { type: 'group.created', objectId: id, details: { data: { group_name: name } } });
      return encodeGroup(group);
    }),

    'GET /v1/organization/groups/{group}': createAdminRoute(async (request) =>
      encodeGroup(await groups.get(getPathParameter(request, 'group'))),
    ),

    'POST /v1/organization/groups/{group}': createBodyRoute(groupBody, async (request, { name }) => {
      const id = getPathParameter(request, 'group');
      const group = await groups.collection.update(ORGANIZATION, id, (each) => ({ ...each, name }));
      const details = { changes_requested: { group_name: name } };
      logAct(request.telemetry, { type: 'group.updated', objectId: id, details });
      return encodeGroup(group);
    }),

    'DELETE /v1/organization/groups/{group}': createAdminRoute(async (request) => {
      const id = getPathParameter(request, 'group');
      // Its users lose its roles first, so that a repeated request finds a group whose deletion was interrupted.
      await groups.change(id, () => ({ roles: [], projects: [] }));
      for await (const user of users.collection.listAll(ORGANIZATION))
        if (user.groups.includes(id) && !user.deleted)
          await users.change(user.id, (each) => ({ groups: removeId(each.groups, id) }));
      await groups.collection.delete(ORGANIZATION, id);
      logAct(request.telemetry, { type: 'group.deleted', objectId: id });
      return { id, object: 'group.deleted' as const, deleted: true };
    }),

    'GET /v1/organization/groups/{group}/users': createAdminRoute(async (request) => {
      const { id } = await groups.get(getPathParameter(request, 'group'));
      const isIn = (user: User) => !user.deleted && user.groups.includes(id);
      return listObjects(request, users.collection, ORGANIZATION, encodeGroupUser, isIn);
    }),

    'POST /v1/organization/groups/{group}/users': createBodyRoute(userBody, async (request, { user_id }) => {
      const { id } = await groups.get(getPathParameter(request, 'group'));
      await requirePlace(id, user_id);
      await users.change(user_id, ({ groups: ids }) => ({ groups: addId(ids, id) }));
      logAct(request.telemetry, { type: 'group.updated', objectId: id, details: { added_user: user_id } });
      return { object: 'group.user' as const, user_id, group_id: id };
    }),

    'GET /v1/organization/groups/{group}/users/{user}': createAdminRoute(async (request) => {
      const group = await groups.get(getPathParameter(request, 'group'));
      const user = await users.get(getPathParameter(request, 'user'));
      if (!user.groups.includes(group.id)) throw objectNotFoundError('group_user', user.id);
      return { ...encodeGroupUser(user), is_service_account: false, picture: null, user_type: 'user' };
    }),

    'DELETE /v1/organization/groups/{group}/users/{user}': createAdminRoute(async (request) => {
      const { id } = await groups.get(getPathParameter(request, 'group'));
      const userId = getPathParameter(request, 'user');
      let wasIn = false;
      // Even if it isn't in the group, so that a repeated request completes an interrupted one.
      await users.change(userId, ({ groups: ids }) => {
        wasIn = ids.includes(id);
        return { groups: removeId(ids, id) };
      });
      if (!wasIn) throw objectNotFoundError('group_user', userId);
      logAct(request.telemetry, { type: 'group.updated', objectId: id, details: { removed_user: userId } });
      return { object: 'group.user.deleted' as const, deleted: true };
    }),
  };
}

function encodeGroup({ id, createdAt, name }: Group) {
  return { id, created_at: createdAt, name, group_type: 'group', is_scim_managed: false };
}

/** Encodes a group as the API shows it where roles are assigned. */
export function encodeGroupSummary({ id, createdAt, name }: Group) {
  return { object: 'group' as const, id, created_at: createdAt, name, scim_managed: false };
}

function encodeGroupUser({ id, name, email }: User) {
  return { id, name: name ?? email, email };
}
