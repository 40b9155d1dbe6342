import { type Command, listCommands } from './command.ts';

const ROLES = '/[projects/{project}|organization]/roles';
const ROLE_FIELDS = { fields: ['name', 'permissions', 'description'], rename: { name: 'role_name' } } as const;

/** The commands of users, groups, roles, and who has which. */
export const PEOPLE_COMMANDS: readonly Command[] = [
  ...listCommands('users', 'users'),
  {
    name: 'users create',
    method: 'POST',
    path: 'users',
    fields: ['email', 'provider', 'subject', 'name', 'role'],
    required: ['email', 'provider'],
  },
  { name: 'users update', method: 'POST', path: 'users/{id}', fields: ['role'] },

  ...listCommands('groups', 'groups'),
  { name: 'groups create', method: 'POST', path: 'groups', fields: ['name'], required: ['name'] },
  { name: 'groups update', method: 'POST', path: 'groups/{id}', fields: ['name'], required: ['name'] },

  ...listCommands('group-users', 'groups/{group}/users'),
  { name: 'group-users add', method: 'POST', path: 'groups/{group}/users', fields: ['user'], required: ['user'] },

  ...listCommands('project-users', 'projects/{project}/users'),
  { name: 'project-users add', method: 'POST', path: 'projects/{project}/users', fields: ['user', 'email', 'role'] },
  { name: 'project-users update', method: 'POST', path: 'projects/{project}/users/{id}', fields: ['role'] },

  ...listCommands('project-groups', 'projects/{project}/groups'),
  {
    name: 'project-groups add',
    method: 'POST',
    path: 'projects/{project}/groups',
    fields: ['group', 'role'],
    required: ['group', 'role'],
  },

  ...listCommands('roles', ROLES),
  { name: 'roles create', method: 'POST', path: ROLES, ...ROLE_FIELDS, required: ['name', 'permissions'] },
  { name: 'roles update', method: 'POST', path: `${ROLES}/{id}`, ...ROLE_FIELDS },

  ...listAssignments('user-roles', '/[projects/{project}|organization]/users/{user}/roles'),
  ...listAssignments('group-roles', '/[projects/{project}|organization]/groups/{group}/roles'),
];

function listAssignments(resource: string, path: string): Command[] {
  const assign: Command = {
    name: `${resource} assign`,
    method: 'POST',
    path,
    fields: ['role'],
    required: ['role'],
    rename: { role: 'role_id' },
  };
  return [...listCommands(resource, path), assign];
}
