import { beforeEach, describe, expect, it } from 'vitest';
import type { Ids } from './administration.ts';
import { interleave, startInterleaving } from './interleave.ts';

const ORG = '/v1/organization';
const MEMBERS = `${ORG}/projects/{project}`;

let world: Awaited<ReturnType<typeof startInterleaving>>;
let ids: Record<'project' | 'provider' | 'user' | 'group' | 'role' | 'own', string>;
beforeEach(async () => {
  world = await startInterleaving();
  const { request } = world;
  const project = (await request(`POST ${ORG}/projects`, {}, { name: 'Acme', id: 'acme' })).id;
  const oidc = { type: 'oidc', name: 'Staff', issuer: 'https://id.example.com', audience: 'lambent' };
  const provider = (await request(`POST ${ORG}/workload_identity_providers`, {}, oidc)).id;
  const person = { email: 'ada@example.com', identity_provider_id: provider };
  const user = (await request(`POST ${ORG}/users`, {}, person)).id;
  const group = (await request(`POST ${ORG}/groups`, {}, { name: 'Editors' })).id;
  const custom = { role_name: 'custom', permissions: ['embeddings'] };
  const role = (await request(`POST ${ORG}/roles`, {}, custom)).id;
  const own = (await request('POST /v1/projects/{project}/roles', { project }, custom)).id;
  await request(`POST ${MEMBERS}/users`, { project }, { user_id: user, role: 'reader' });
  await request(`POST ${MEMBERS}/groups`, { project }, { group_id: group, role: 'reader' });
  ids = { project, provider, user, group, role, own };
});

/** Requests that assign a role: the role of the organization, or the project's own one. */
const ASSIGNMENTS: readonly {
  readonly name: string;
  readonly route: string;
  readonly body: (ids: Ids) => object;
  readonly isOwn?: boolean;
}[] = [
  { name: 'an assignment to a user', route: `POST ${ORG}/users/{user}/roles`, body: ({ role }) => ({ role_id: role }) },
  {
    name: 'an assignment to a group',
    route: `POST ${ORG}/groups/{group}/roles`,
    body: ({ role }) => ({ role_id: role }),
  },
  { name: 'a change of a user', route: `POST ${ORG}/users/{user}`, body: ({ role }) => ({ role }) },
  {
    name: 'the creation of a user',
    route: `POST ${ORG}/users`,
    body: ({ role, provider }) => ({ email: 'bob@example.com', identity_provider_id: provider, role }),
  },
  {
    name: 'an assignment to a user of a project',
    route: 'POST /v1/projects/{project}/users/{user}/roles',
    body: ({ own }) => ({ role_id: own }),
    isOwn: true,
  },
  {
    name: 'a change of a user of a project',
    route: `POST ${MEMBERS}/users/{user}`,
    body: ({ own }) => ({ role: own }),
    isOwn: true,
  },
  {
    name: 'the addition of a user to a project',
    route: `POST ${MEMBERS}/users`,
    body: ({ own, user }) => ({ user_id: user, role: own }),
    isOwn: true,
  },
  {
    name: 'the addition of a group to a project',
    route: `POST ${MEMBERS}/groups`,
    body: ({ own, group }) => ({ group_id: group, role: own }),
    isOwn: true,
  },
];

const assign = ({ route, body }: (typeof ASSIGNMENTS)[number]) => world.request(route, ids, body(ids));
const remove = ({ isOwn = false }: (typeof ASSIGNMENTS)[number]) =>
  isOwn
    ? world.request('DELETE /v1/projects/{project}/roles/{role}', { ...ids, role: ids.own })
    : world.request(`DELETE ${ORG}/roles/{role}`, ids);

/** Returns all users and groups with their roles, and what users may do, as text. */
async function readAll(): Promise<string> {
  const { request } = world;
  const routes = [
    `GET ${ORG}/users`,
    `GET ${MEMBERS}/users`,
    `GET ${ORG}/users/{user}/roles`,
    `GET ${ORG}/groups/{group}/roles`,
    'GET /v1/projects/{project}/users/{user}/roles',
    'GET /v1/projects/{project}/groups/{group}/roles',
  ];
  return JSON.stringify(await Promise.all(routes.map((route) => request(route, ids))));
}

describe.each(ASSIGNMENTS)('$name', (assignment) => {
  it('it is refused if the role is deleted after it was read, and no list has the role', async () => {
    interleave(world.client, 'after', 'GetItemCommand', `role#role_`, () => remove(assignment));
    await expect(assign(assignment)).rejects.toMatchObject({ code: 'not_found' });
    const all = await readAll();
    expect(all).not.toContain(ids[assignment.isOwn ? 'own' : 'role']);
    expect(all).not.toContain('bob@');
  });

  it('it is refused while the role is being deleted, and no list has the role', async () => {
    let assigned: Promise<unknown> = Promise.resolve();
    interleave(world.client, 'before', 'DeleteItemCommand', `role#role_`, async () => {
      assigned = assign(assignment);
      await assigned.catch(() => {});
    });
    await remove(assignment);
    await expect(assigned).rejects.toMatchObject({ code: 'not_found' });
    const all = await readAll();
    expect(all).not.toContain(ids[assignment.isOwn ? 'own' : 'role']);
    expect(all).not.toContain('bob@');
  });
});

it('a role that a crash has left with a user after its deletion is not listed', async () => {
  const { request, client } = world;
  interleave(client, 'after', 'GetItemCommand', `role#${ids.role}`, () => request(`DELETE ${ORG}/roles/{role}`, ids));
  // The function is killed after the assignment was written.
  interleave(client, 'after', 'PutItemCommand', `user#${ids.user}`, () => Promise.reject(new Error('killed')));
  const roles = `${ORG}/users/{user}/roles`;
  await expect(request(`POST ${roles}`, ids, { role_id: ids.role })).rejects.toThrow('killed');
  expect(await request(`GET ${roles}`, ids)).toMatchObject({ data: [] });
  expect(await request(`DELETE ${roles}/{role}`, ids)).toMatchObject({ deleted: true });
});

it('a role that is being deleted cannot get permissions again', async () => {
  const { request, client } = world;
  const update = () => request(`POST ${ORG}/roles/{role}`, ids, { permissions: ['generate'] });
  let refused: unknown;
  interleave(client, 'after', 'PutItemCommand', '"role#', async () => {
    refused = await update().catch(({ code }) => code);
  });
  await request(`DELETE ${ORG}/roles/{role}`, ids);
  expect(refused).toBe('not_found');
});
