import * as v from 'valibot';
import { type Identity, replaceUser, type TrustedUser } from '../access/federation/users.ts';
import { ORGANIZATION } from '../access/principal.ts';
import { mapInParallel } from '../core/map-in-parallel.ts';
import { invalidValueError } from '../openai/validation.ts';
import type { AdminApi } from './admin-routes.ts';
import { listKeyScopes } from './environments.ts';
import { type Collection, createCollection, type Owner, objectNotFoundError, toProjectOwner } from './object-table.ts';
import { createProjects } from './projects.ts';
import { createRoles, findRole, MAX_ROLES } from './roles.ts';

/** What users and groups have in common. Roles are ids. */
const memberFields = {
  id: v.string(),
  createdAt: v.number(),
  /** Roles of the organization. They apply in each project. */
  roles: v.array(v.string()),
  projects: v.array(v.object({ id: v.string(), addedAt: v.number(), roles: v.array(v.string()) })),
};
const userSchema = v.object({
  ...memberFields,
  name: v.nullable(v.string()),
  /** In lower case. */
  email: v.string(),
  providerId: v.string(),
  /** The `sub` of the user's tokens. Null: any token with the e-mail address. */
  subject: v.nullable(v.string()),
  /** Ids of groups. */
  groups: v.array(v.string()),
  /** True if it is being deleted. It is not found then. */
  deleted: v.boolean(),
  /** What restricts the user's tokens, as `encodeRestrictions` returns it. */
  policy: v.optional(v.nullable(v.string()), null),
});
const groupSchema = v.object({ ...memberFields, name: v.string() });
/** A person who calls with tokens of an identity provider. */
export type User = v.InferOutput<typeof userSchema>;
export type Group = v.InferOutput<typeof groupSchema>;
export type Member = User | Group;

/** Returns the changed fields of a user or group. May be called again. */
export type Change<T extends Member> = (member: T) => Partial<T> | Pick<Member, 'roles'> | Pick<Member, 'projects'>;

/** Either the users or the groups. */
export interface Members<T extends Member> {
  readonly collection: Collection<T>;
  /** @throws LambentError `not_found` */
  get(id: string): Promise<T>;
  /**
   * Changes a user or group, and what the authorizer lets the users do. A repeated call completes an interrupted one.
   * @throws LambentError `not_found`
   */
  change(id: string, change: Change<T>): Promise<T>;
}

/** The users and groups, and what they may do. Methods throw as those of `Collection`. */
export interface People {
  readonly users: Members<User>;
  readonly groups: Members<Group>;
  /**
   * Makes the authorizer know a new user, who may do nothing yet.
   * @throws LambentError `invalid_value` if another user has its subject
   */
  claimIdentity(user: User): Promise<void>;
  /** Makes the authorizer know what a user may do now. Forgets one who is deleted. Idempotent. */
  enforce(user: User): Promise<void>;
  /** Makes the authorizer know what all users of a project may do there now. Idempotent. */
  enforceProject(projectId: string): Promise<void>;
  /** Changes the roles of all who have a role, or makes its new permissions effective. Idempotent. */
  changeHolders(roleId: string, change?: (roles: readonly string[]) => string[]): Promise<void>;
  /**
   * Must be called after a role was assigned. Takes it away again if it is being deleted: the deletion may have looked for those
   * who have it before. Idempotent.
   * @throws LambentError `not_found` if it is being deleted
   */
  confirmRole(owner: Owner, roleId: string): Promise<void>;
}

/** Users that are changed at the same time. */
const CONCURRENCY = 10;

/** Creates the users and groups of the organization. */
export function createPeople(api: AdminApi): People {
  const users = createCollection(api.table, { type: 'user', schema: userSchema });
  const groups = createCollection(api.table, { type: 'group', schema: groupSchema });
  const projects = createProjects(api);
  const roles = createRoles(api);

  const listScopes = async (projectId: string | undefined, ids: readonly string[]): Promise<string[]> => {
    const owner = projectId === undefined ? ORGANIZATION : toProjectOwner(projectId);
    const found = ids.map((id) => findRole(roles, owner, id));
    return (await Promise.all(found)).flatMap((role) => role?.permissions ?? []);
  };

  /** Returns what a stored user may do by its own roles and those of its groups. Undefined if the user is deleted. */
  const computeGrants = async (id: string): Promise<TrustedUser | undefined> => {
    const user = await users.find(ORGANIZATION, id);
    if (user === undefined || user.deleted) return undefined;
    const found = await Promise.all(user.groups.map((group) => groups.find(ORGANIZATION, group)));
    const members = [user, ...found.filter((group) => group !== undefined)];
    const everywhere = await listScopes(
      undefined,
      members.flatMap((member) => member.roles),
    );
    const memberships = members.flatMap((member) => member.projects);
    const granted = [...new Set(memberships.map((membership) => membership.id))].map(async (tenant) => {
      const project = await projects.find(ORGANIZATION, tenant);
      // It was removed again, because its creation failed.
      if (project === undefined) return [];
      const own = memberships
        .filter((membership) => membership.id === tenant)
        .flatMap((membership) => membership.roles);
      const names = new Set([...everywhere, ...(await listScopes(tenant, own))]);
      const scopes = listKeyScopes(project).filter((scope) => names.has(scope));
      return [{ tenant, scopes, ...(project.archivedAt !== null && { archived: true }) }];
    });
    const policy = user.policy === null ? {} : { policy: user.policy };
    return { userId: id, subject: user.subject, projects: (await Promise.all(granted)).flat(), ...policy };
  };

  const replace = async (user: User, compute: () => Promise<TrustedUser | undefined>): Promise<void> => {
    for (const identity of listIdentities(user))
      if (!(await replaceUser(api.access, identity, user.id, compute)))
        throw invalidValueError('subject', "Invalid 'subject': another user of the provider has it.");
  };
  const enforce = (user: User) => replace(user, () => computeGrants(user.id));

  const enforceAll = async (isAffected: (user: User) => boolean): Promise<void> => {
    const affected: User[] = [];
    for await (const user of users.listAll(ORGANIZATION)) if (isAffected(user)) affected.push(user);
    await mapInParallel(affected, CONCURRENCY, enforce);
  };

  const changeUser = async (id: string, change: Change<User>): Promise<User> => {
    const user = await users.update(ORGANIZATION, id, (each) => {
      if (each.deleted) throw objectNotFoundError('user', id);
      return checkSize({ ...each, ...change(each) });
    });
    await enforce(user);
    return user;
  };

  const changeGroup = async (id: string, change: Change<Group>): Promise<Group> => {
    const group = await groups.update(ORGANIZATION, id, (each) => checkSize({ ...each, ...change(each) }));
    await enforceAll((user) => user.groups.includes(id));
    return group;
  };

  const changeHolders: People['changeHolders'] = async (roleId, change = (ids) => [...ids]) => {
    const edit = (member: Member) => ({
      roles: change(member.roles),
      projects: member.projects.map((project) => ({ ...project, roles: change(project.roles) })),
    });
    for await (const group of groups.listAll(ORGANIZATION))
      if (hasRole(group, roleId)) await changeGroup(group.id, edit);
    const holders: User[] = [];
    for await (const user of users.listAll(ORGANIZATION))
      if (hasRole(user, roleId) && !user.deleted) holders.push(user);
    await mapInParallel(holders, CONCURRENCY, ({ id }) => changeUser(id, edit));
  };

  return {
    users: {
      collection: users,
      change: changeUser,
      async get(id) {
        const user = await users.get(ORGANIZATION, id);
        if (user.deleted) throw objectNotFoundError('user', id);
        return user;
      },
    },
    groups: { collection: groups, change: changeGroup, get: (id) => groups.get(ORGANIZATION, id) },
    claimIdentity: (user) => replace(user, async () => ({ userId: user.id, subject: user.subject, projects: [] })),
    enforce,

    async enforceProject(projectId) {
      const isIn = ({ projects }: Member) => projects.some(({ id }) => id === projectId);
      const inProject = new Set<string>();
      for await (const group of groups.listAll(ORGANIZATION)) if (isIn(group)) inProject.add(group.id);
      await enforceAll((user) => isIn(user) || user.groups.some((id) => inProject.has(id)));
    },

    changeHolders,

    async confirmRole(owner, roleId) {
      const role = await findRole(roles, owner, roleId);
      if (role !== undefined && role.permissions.length > 0) return;
      await changeHolders(roleId, (ids) => removeId(ids, roleId));
      throw objectNotFoundError('role', roleId);
    },
  };
}

function hasRole({ roles, projects }: Member, id: string): boolean {
  return [roles, ...projects.map((project) => project.roles)].some((ids) => ids.includes(id));
}

/** The claims by which tokens name a user. */
function listIdentities({ providerId, email, subject }: User): Identity[] {
  const byEmail: Identity = { providerId, claim: 'email', value: email };
  return subject === null ? [byEmail] : [byEmail, { providerId, claim: 'subject', value: subject }];
}

const MAX_PROJECTS = 200;
const MAX_GROUPS = 50;

/** @throws LambentError `invalid_value` for a user or group with more than may be stored and read with each of its changes */
function checkSize<T extends Member>(member: T): T {
  const most = Math.max(member.roles.length, ...member.projects.map(({ roles }) => roles.length));
  if (most > MAX_ROLES) throw invalidValueError('role_id', `There are ${MAX_ROLES} roles already.`);
  if (member.projects.length > MAX_PROJECTS)
    throw invalidValueError('project_id', `There are ${MAX_PROJECTS} projects already.`);
  if ('groups' in member && member.groups.length > MAX_GROUPS)
    throw invalidValueError('group_id', `The user has ${MAX_GROUPS} groups already.`);
  return member;
}

/** Returns a list of ids with one more, unless it has that already. */
export function addId(ids: readonly string[], id: string): string[] {
  return [...ids.filter((each) => each !== id), id];
}

/** Returns a list of ids without one. */
export function removeId(ids: readonly string[], id: string): string[] {
  return ids.filter((each) => each !== id);
}
