import { BatchWriteItemCommand } from '@aws-sdk/client-dynamodb';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type OidcIssuer, startOidcIssuer } from '../upstreams/oidc-issuer.ts';
import { stayWithin, waitUntil } from '../wait.ts';
import { connectToTables } from './keys.ts';
import { type Service, startService } from './service.ts';

let service: Service;
let issuer: OidcIssuer;
let client: OpenAI;
let admin: OpenAI['admin']['organization'];
let providerId: string;
beforeAll(async () => {
  service = await startService();
  issuer = await startOidcIssuer();
  client = new OpenAI({ baseURL: service.cloud.url, adminAPIKey: 'sk-admin-local', apiKey: '', maxRetries: 0 });
  admin = client.admin.organization;
  providerId = await createProvider('people');
});
afterAll(async () => {
  await issuer[Symbol.asyncDispose]();
  await service[Symbol.asyncDispose]();
});

async function createProvider(audience: string, changes: object = {}): Promise<string> {
  const body = { type: 'oidc' as const, name: audience, issuer: issuer.url, audience, ...changes };
  return (await admin.workloadIdentityProviders.create(body)).id;
}

/** Creates a user. OpenAI's API, whose users come by invites, has no such request. */
async function createUser(email: string, changes: object = {}): Promise<OpenAI.Admin.Organization.OrganizationUser> {
  return client.post('/organization/users', {
    body: { email, identity_provider_id: providerId, ...changes },
    __security: { adminAPIKeyAuth: true },
  });
}

type OrganizationUsage = OpenAI.Admin.Organization.UsageCompletionsResponse.Data.OrganizationUsageCompletionsResult;

const createProject = () => admin.projects.create({ name: 'Website' });

/** Returns the status of a request with a token that has not been sent before. */
async function call(claims: Record<string, unknown>, isGenerating = true): Promise<number> {
  const token = await issuer.sign({ sub: 'a', aud: 'people', jti: crypto.randomUUID(), ...claims });
  const caller = new OpenAI({ baseURL: service.cloud.url, apiKey: token, maxRetries: 0 });
  const request = isGenerating
    ? caller.chat.completions.create({ model: 'compatible', messages: [{ role: 'user', content: 'Hello' }] })
    : caller.models.list();
  return request.then(
    () => 200,
    (error: { status: number }) => error.status,
  );
}

const verified = (email: string) => ({ email, email_verified: true });

async function collect<T>(pages: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of pages) items.push(item);
  return items;
}

describe('tokens of users', () => {
  it('usage and costs have the calls of a user under its id, and those of a key under the id of the key', async () => {
    await stayWithin('day');
    const { id: project_id } = await createProject();
    const user = await createUser('may@example.com');
    await admin.projects.users.create(project_id, { user_id: user.id, role: 'member' });
    const { api_key: key } = await admin.projects.serviceAccounts.create(project_id, { name: 'web' });
    const program = new OpenAI({ baseURL: service.cloud.url, apiKey: key?.value ?? '', maxRetries: 0 });
    await program.chat.completions.create({ model: 'compatible', messages: [{ role: 'user', content: 'Hello' }] });
    for (let calls = 0; calls < 2; calls += 1) expect(await call(verified('may@example.com'))).toBe(200);

    const ids = { project_ids: [project_id], start_time: Math.floor(Date.now() / 1000) - 86_400 };
    const list = async (query: object) => {
      const { data } = await admin.usage.completions({ ...ids, ...query });
      return data.flatMap(({ results }) => results as OrganizationUsage[]);
    };
    await waitUntil('the calls are counted', async () => (await list({}))[0]?.num_model_requests === 3);
    const byCaller = await list({ group_by: ['user_id', 'api_key_id'] });
    expect(byCaller).toHaveLength(2);
    expect(byCaller).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ user_id: user.id, api_key_id: null, num_model_requests: 2 }),
        expect.objectContaining({ user_id: null, api_key_id: key?.id, num_model_requests: 1 }),
      ]),
    );
    expect(await list({ user_ids: [user.id] })).toMatchObject([{ num_model_requests: 2, user_id: null }]);
    expect(await list({ api_key_ids: [user.id] })).toEqual([]);
    const costs = await admin.usage.costs({ ...ids, group_by: ['user_id'] });
    const owners = costs.data.flatMap(({ results }) => results as OrganizationUsage[]).map(({ user_id }) => user_id);
    expect(owners.sort()).toEqual([user.id, null].sort());
  });

  it('a user may do in its project what its role there permits, and nothing without one', async () => {
    const user = await createUser('Ada@example.com', { name: 'Ada' });
    expect(user).toMatchObject({ object: 'organization.user', email: 'ada@example.com', name: 'Ada', role: null });
    expect(await call(verified('ada@example.com'))).toBe(401);
    const { id: project_id } = await createProject();
    await admin.projects.users.create(project_id, { user_id: user.id, role: 'sandbox' });
    expect(await call(verified('ADA@example.com'), false)).toBe(200);
    expect(await call(verified('ada@example.com'))).toBe(403);
    await admin.projects.users.roles.create(user.id, { project_id, role_id: 'role_member' });
    expect(await call(verified('ada@example.com'))).toBe(200);
    await waitUntil('the call is logged with project and user', async () =>
      service.logs.some((line) => line.includes(`"tenant":"${project_id}"`) && line.includes(`"keyId":"${user.id}"`)),
    );
    await admin.projects.users.roles.delete('role_member', { project_id, user_id: user.id });
    expect(await call(verified('ada@example.com'))).toBe(403);
    await admin.projects.users.delete(user.id, { project_id });
    expect(await call(verified('ada@example.com'), false)).toBe(401);
  });

  it('a token is of a user by a verified e-mail address, or by its subject', async () => {
    const { id: project_id } = await createProject();
    const byEmail = await createUser('bob@example.com');
    const bySubject = await createUser('eve@example.com', { subject: 'eve' });
    for (const { id } of [byEmail, bySubject])
      await admin.projects.users.create(project_id, { user_id: id, role: 'member' });
    expect(await call(verified('bob@example.com'))).toBe(200);
    expect(await call({ email: 'bob@example.com' })).toBe(401);
    expect(await call({ email: 'bob@example.com', email_verified: 'true' })).toBe(401);
    expect(await call({ sub: 'eve' })).toBe(200);
    expect(await call({ sub: 'eve', ...verified('eve@example.com') })).toBe(200);
    expect(await call({ sub: 'other', ...verified('eve@example.com') })).toBe(401);
    expect(await call({ sub: 'bob@example.com' })).toBe(401);
  });

  it('a token of another provider is not of the user', async () => {
    await createProvider('others');
    const { id: project_id } = await createProject();
    const { id } = await createUser('dan@example.com', { subject: 'dan' });
    await admin.projects.users.create(project_id, { user_id: id, role: 'member' });
    expect(await call({ sub: 'dan', ...verified('dan@example.com') })).toBe(200);
    expect(await call({ sub: 'dan', ...verified('dan@example.com'), aud: 'others' })).toBe(401);
  });

  it('a user of several projects calls for the one that its token names', async () => {
    const [one, two, other] = [await createProject(), await createProject(), await createProject()];
    await createUser('kim@example.com');
    const claims = verified('kim@example.com');
    await admin.projects.users.create(one.id, { email: 'kim@example.com', role: 'member' });
    expect(await call(claims)).toBe(200);
    await admin.projects.users.create(two.id, { email: 'kim@example.com', role: 'sandbox' });
    expect(await call(claims)).toBe(401);
    expect(await call({ ...claims, lambent_project: one.id })).toBe(200);
    expect(await call({ ...claims, lambent_project: two.id })).toBe(403);
    expect(await call({ ...claims, lambent_project: other.id })).toBe(401);
    expect(await call({ ...claims, lambent_project: [one.id, two.id] })).toBe(401);
  });

  it('a user has the roles of its groups until it leaves them, or they are deleted', async () => {
    const { id: project_id } = await createProject();
    const user = await createUser('joe@example.com');
    const groups = [await admin.groups.create({ name: 'one' }), await admin.groups.create({ name: 'two' })] as const;
    for (const { id } of groups) await admin.groups.users.create(id, { user_id: user.id });
    const claims = verified('joe@example.com');
    await admin.projects.groups.create(project_id, { group_id: groups[0].id, role: 'member' });
    expect(await call(claims)).toBe(200);
    await admin.groups.users.delete(user.id, { group_id: groups[0].id });
    expect(await call(claims)).toBe(401);
    await admin.projects.groups.create(project_id, { group_id: groups[1].id, role: 'sandbox' });
    expect(await call(claims)).toBe(403);
    // A role of the organization applies in the projects of the user.
    await admin.groups.roles.create(groups[1].id, { role_id: 'role_member' });
    expect(await call(claims)).toBe(200);
    await admin.groups.roles.delete('role_member', { group_id: groups[1].id });
    expect(await call(claims)).toBe(403);
    await admin.projects.groups.roles.create(groups[1].id, { project_id, role_id: 'role_member' });
    expect(await call(claims)).toBe(200);
    await admin.groups.delete(groups[1].id);
    expect(await call(claims)).toBe(401);
  });

  it('a custom role is effective as it is changed and deleted', async () => {
    const { id: project_id } = await createProject();
    const user = await createUser('liz@example.com');
    const claims = verified('liz@example.com');
    const role = await admin.projects.roles.create(project_id, { role_name: 'caller', permissions: ['models.read'] });
    await admin.projects.users.create(project_id, { user_id: user.id, role: role.id });
    expect(await call(claims)).toBe(403);
    await admin.projects.roles.update(role.id, { project_id, permissions: ['generate'] });
    expect(await call(claims)).toBe(200);
    await admin.projects.roles.delete(role.id, { project_id });
    expect(await call(claims)).toBe(403);
    expect(await collect(admin.projects.users.roles.list(user.id, { project_id }))).toEqual([]);
    const own = await admin.roles.create({ role_name: 'everywhere', permissions: ['generate'] });
    await admin.users.update(user.id, { role_id: own.id });
    expect(await call(claims)).toBe(200);
    await admin.users.roles.delete(own.id, { user_id: user.id });
    expect(await call(claims)).toBe(403);
  });

  it('a deleted user calls no more, and one that is created again begins without roles', async () => {
    const { id: project_id } = await createProject();
    const user = await createUser('max@example.com', { subject: 'max' });
    await admin.projects.users.create(project_id, { user_id: user.id, role: 'member' });
    expect(await call({ sub: 'max' })).toBe(200);
    expect(await admin.users.delete(user.id)).toMatchObject({ id: user.id, deleted: true });
    expect(await call({ sub: 'max' })).toBe(401);
    expect(await call({ sub: 'max', ...verified('max@example.com') })).toBe(401);
    await expect(admin.users.retrieve(user.id)).rejects.toMatchObject({ status: 404 });
    await createUser('max@example.com', { subject: 'max' });
    expect(await call({ sub: 'max' })).toBe(401);
  });

  it('a removed role is lost within a minute, caches included', async () => {
    const { id: project_id } = await createProject();
    const user = await createUser('pat@example.com');
    await admin.projects.users.create(project_id, { user_id: user.id, role: 'member' });
    const token = await issuer.sign({ sub: 'a', aud: 'people', ...verified('pat@example.com') });
    const caller = new OpenAI({ baseURL: service.cloud.url, apiKey: token, maxRetries: 0 });
    await caller.conversations.create({});
    await admin.projects.users.delete(user.id, { project_id });
    await waitUntil('the token is refused', () =>
      caller.conversations.create({}).then(
        () => false,
        (error: { status?: number }) => error.status === 401,
      ),
    );
  });

  it('an archived project takes no tokens of its users', async () => {
    const { id: project_id } = await createProject();
    const user = await createUser('zoe@example.com');
    await admin.projects.users.create(project_id, { user_id: user.id, role: 'member' });
    await admin.projects.archive(project_id);
    expect(await call(verified('zoe@example.com'))).toBe(403);
    await expect(admin.projects.users.update(user.id, { project_id, role: 'reader' })).rejects.toMatchObject({
      code: 'project_archived',
    });
  });

  it('a user of one active project needs not name it, whatever archived projects it was in', async () => {
    const [old, next] = [await createProject(), await createProject()];
    const user_id = (await createUser('ria@example.com')).id;
    const group = await admin.groups.create({ name: 'movers' });
    await admin.groups.users.create(group.id, { user_id });
    const claims = verified('ria@example.com');
    await admin.projects.users.create(old.id, { user_id, role: 'member' });
    await admin.projects.groups.create(next.id, { group_id: group.id, role: 'member' });
    expect(await call(claims)).toBe(401);
    await admin.projects.archive(old.id);
    expect(await call(claims)).toBe(200);
    expect(await call({ ...claims, lambent_project: old.id })).toBe(403);
    await admin.projects.archive(next.id);
    expect(await call(claims)).toBe(401);
    const last = await createProject();
    await admin.projects.users.create(last.id, { user_id, role: 'member' });
    expect(await call(claims)).toBe(200);
  });

  it('users and groups are removed from archived projects', async () => {
    const { id: project_id } = await createProject();
    const user_id = (await createUser('ron@example.com')).id;
    const group = await admin.groups.create({ name: 'leavers' });
    await admin.projects.users.create(project_id, { user_id, role: 'member' });
    await admin.projects.groups.create(project_id, { group_id: group.id, role: 'member' });
    await admin.projects.archive(project_id);
    await admin.projects.users.delete(user_id, { project_id });
    await admin.projects.groups.delete(group.id, { project_id });
    expect(await collect(admin.projects.users.list(project_id))).toEqual([]);
    expect(await collect(admin.projects.groups.list(project_id))).toEqual([]);
    expect(await call(verified('ron@example.com'))).toBe(401);
  });
});

describe('users, groups and roles', () => {
  it('users are listed in pages, found by e-mail address, and changed', async () => {
    const users = [await createUser('list-1@example.com', { role: 'member' }), await createUser('list-2@example.com')];
    const all = await collect(admin.users.list({ limit: 1 }));
    expect(all.map(({ id }) => id)).toEqual(expect.arrayContaining(users.map(({ id }) => id)));
    const found = await collect(admin.users.list({ emails: ['LIST-1@example.com'] }));
    expect(found.map(({ email }) => email)).toEqual(['list-1@example.com']);
    expect(found[0]).toMatchObject({ role: 'member' });
    const [, { id }] = users as [unknown, { id: string }];
    expect(await admin.users.update(id, { role: 'reader' })).toMatchObject({ id, role: 'reader' });
    expect(await admin.users.retrieve(id)).toMatchObject({ role: 'reader', projects: { data: [] } });
    expect(await collect(admin.users.roles.list(id))).toMatchObject([{ id: 'role_reader', predefined_role: true }]);
  });

  it('the role of a user with several is shown as the built-in one that permits most', async () => {
    const { id: user_id } = await createUser('roles@example.com');
    const { id } = await createProject();
    await admin.projects.users.create(id, { user_id, role: 'reader' });
    expect(await admin.projects.users.create(id, { user_id, role: 'member' })).toMatchObject({ role: 'member' });
    expect(await admin.projects.users.retrieve(user_id, { project_id: id })).toMatchObject({ role: 'member' });
  });

  it('groups and their users are created, read, changed, listed in pages and removed', async () => {
    const groups = [await admin.groups.create({ name: 'a' }), await admin.groups.create({ name: 'b' })] as const;
    const listed = await collect(admin.groups.list({ limit: 1 }));
    expect(await collect(admin.groups.list({ limit: 1_000 }))).toEqual(listed);
    expect(await admin.groups.list({ limit: 0 })).toMatchObject({ data: [], has_more: true, next: null });
    expect(listed.map(({ id }) => id)).toEqual(expect.arrayContaining(groups.map(({ id }) => id)));
    const [{ id: group_id }] = groups;
    expect(await admin.groups.update(group_id, { name: 'c' })).toMatchObject({ id: group_id, name: 'c' });
    expect(await admin.groups.retrieve(group_id)).toMatchObject({ name: 'c', group_type: 'group' });
    const user = await createUser('grouped@example.com', { name: 'Gil' });
    expect(await admin.groups.users.create(group_id, { user_id: user.id })).toEqual({
      object: 'group.user',
      user_id: user.id,
      group_id,
    });
    const other = await createUser('grouped-2@example.com');
    await admin.groups.users.create(group_id, { user_id: other.id });
    const members = await collect(admin.groups.users.list(group_id, { limit: 1 }));
    expect(members).toHaveLength(2);
    expect(members).toContainEqual({ id: user.id, name: 'Gil', email: 'grouped@example.com' });
    expect(await admin.groups.users.retrieve(user.id, { group_id })).toMatchObject({ id: user.id, user_type: 'user' });
    await admin.groups.users.delete(user.id, { group_id });
    await expect(admin.groups.users.retrieve(user.id, { group_id })).rejects.toMatchObject({ status: 404 });
    await expect(admin.groups.users.delete(user.id, { group_id })).rejects.toMatchObject({ status: 404 });
    expect(await admin.groups.delete(group_id)).toEqual({ id: group_id, object: 'group.deleted', deleted: true });
    await expect(admin.groups.retrieve(group_id)).rejects.toMatchObject({ status: 404 });
  });

  it('the built-in roles are listed as predefined, and can not be changed', async () => {
    const predefined = (await collect(admin.roles.list({ limit: 2 }))).filter((role) => role.predefined_role);
    expect(predefined.map(({ name }) => name).sort()).toEqual(['member', 'owner', 'reader', 'sandbox']);
    expect(await admin.roles.retrieve('role_sandbox')).toMatchObject({
      object: 'role',
      resource_type: 'api.organization',
      permissions: ['models.read', 'responses.read', 'conversations.read'],
    });
    await expect(admin.roles.update('role_member', { permissions: ['generate'] })).rejects.toMatchObject({
      status: 400,
    });
    await expect(admin.roles.delete('role_member')).rejects.toMatchObject({ status: 400 });
  });

  it('an assignment shows user or group and role', async () => {
    const { id: project_id } = await createProject();
    const user = await createUser('assigned@example.com');
    const group = await admin.groups.create({ name: 'assigned' });
    await admin.projects.users.create(project_id, { user_id: user.id, role: 'sandbox' });
    await admin.projects.groups.create(project_id, { group_id: group.id, role: 'sandbox' });
    const role = { object: 'role', name: 'member', predefined_role: true };
    const role_id = 'role_member';
    expect(await admin.users.roles.create(user.id, { role_id })).toMatchObject({
      object: 'user.role',
      user: { id: user.id },
      role: { ...role, resource_type: 'api.organization' },
    });
    expect(await admin.projects.groups.roles.create(group.id, { project_id, role_id })).toMatchObject({
      object: 'group.role',
      group: { object: 'group', id: group.id, name: 'assigned' },
      role: { ...role, resource_type: 'api.project' },
    });
    expect(await admin.projects.users.retrieve(user.id, { project_id })).toMatchObject({ role: 'sandbox' });
    expect(await admin.projects.users.update(user.id, { project_id, role: 'member' })).toMatchObject({
      object: 'organization.project.user',
      role: 'member',
    });
    expect(await admin.projects.groups.retrieve(group.id, { project_id })).toMatchObject({
      object: 'project.group',
      group_id: group.id,
      group_name: 'assigned',
    });
    const roles = await collect(admin.projects.groups.roles.list(group.id, { project_id, limit: 1 }));
    expect(roles.map(({ id }) => id)).toEqual(['role_member', 'role_sandbox']);
    expect(await admin.users.roles.retrieve(role_id, { user_id: user.id })).toMatchObject({ id: role_id });
    expect(await collect(admin.projects.users.list(project_id))).toHaveLength(1);
    expect(await collect(admin.projects.groups.list(project_id))).toHaveLength(1);
    await admin.projects.groups.delete(group.id, { project_id });
    expect(await collect(admin.projects.groups.list(project_id))).toEqual([]);
  });

  it.each<[string, object]>([
    ['email', { email: 'no address' }],
    ['email', { email: 'taken@example.com' }],
    ['subject', { subject: 'taken' }],
    ['subject', { subject: '' }],
    ['identity_provider_id', { identity_provider_id: undefined }],
    ['nickname', { nickname: 'A' }],
  ])('a user with an invalid %s is refused', async (param, changes) => {
    await createUser('taken@example.com', { subject: 'taken' }).catch(() => undefined);
    await expect(createUser('new@example.com', changes)).rejects.toMatchObject({ status: 400, param });
    expect(await collect(admin.users.list({ emails: ['new@example.com'] }))).toEqual([]);
  });

  it('a refused second creation takes nothing from the user', async () => {
    const { id: project_id } = await createProject();
    const user = await createUser('twice@example.com');
    await admin.projects.users.create(project_id, { user_id: user.id, role: 'member' });
    await expect(createUser('twice@example.com', { subject: 'twin' })).rejects.toMatchObject({ status: 400 });
    expect(await call(verified('twice@example.com'))).toBe(200);
    expect(await call({ sub: 'twin' })).toBe(401);
  });

  it('a role with unknown scopes, scopes of the administration, none, or the name of another is refused', async () => {
    const create = (changes: object) => admin.roles.create({ role_name: 'new', permissions: ['generate'], ...changes });
    const refuse = (param: string, changes: object) =>
      expect(create(changes)).rejects.toMatchObject({ status: 400, param });
    await refuse('permissions[0]', { permissions: ['fly'] });
    await refuse('permissions[1]', { permissions: ['generate', 'admin.keys.write'] });
    await refuse('permissions', { permissions: [] });
    await refuse('role_name', { role_name: 'member' });
    await create({ role_name: 'unique' });
    await refuse('role_name', { role_name: 'unique' });
  });

  it('a role, user or group that does not exist is not found', async () => {
    const { id: project_id } = await createProject();
    const user = await createUser('finder@example.com');
    const missing = { status: 404 };
    await expect(admin.users.roles.create(user.id, { role_id: 'role_none' })).rejects.toMatchObject(missing);
    await expect(admin.users.update(user.id, { role: 'none' })).rejects.toMatchObject(missing);
    await expect(admin.users.roles.create('user_none', { role_id: 'role_member' })).rejects.toMatchObject(missing);
    await expect(admin.users.roles.delete('role_member', { user_id: user.id })).rejects.toMatchObject(missing);
    await expect(admin.groups.users.create('group_none', { user_id: user.id })).rejects.toMatchObject(missing);
    const member = { user_id: 'user_none', role: 'member' };
    await expect(admin.projects.users.create(project_id, member)).rejects.toMatchObject(missing);
    await expect(admin.projects.users.create(project_id, { role: 'member' })).rejects.toMatchObject({ param: 'email' });
    await expect(createUser('other@example.com', { identity_provider_id: 'none' })).rejects.toMatchObject(missing);
  });

  it('nothing of a project is found through another', async () => {
    const [one, other] = [await createProject(), await createProject()];
    const project_id = other.id;
    const user = await createUser('crossing@example.com');
    const group = await admin.groups.create({ name: 'crossing' });
    const role = await admin.projects.roles.create(one.id, { role_name: 'own', permissions: ['generate'] });
    await admin.projects.users.create(one.id, { user_id: user.id, role: role.id });
    await admin.projects.groups.create(one.id, { group_id: group.id, role: role.id });
    const { users, groups, roles } = admin.projects;
    const attempts = [
      roles.retrieve(role.id, { project_id }),
      roles.update(role.id, { project_id, permissions: ['embeddings'] }),
      roles.delete(role.id, { project_id }),
      users.create(project_id, { user_id: user.id, role: role.id }),
      users.retrieve(user.id, { project_id }),
      users.update(user.id, { project_id, role: 'member' }),
      users.delete(user.id, { project_id }),
      users.roles.create(user.id, { project_id, role_id: 'role_member' }),
      users.roles.list(user.id, { project_id }),
      users.roles.delete(role.id, { project_id, user_id: user.id }),
      groups.create(project_id, { group_id: group.id, role: role.id }),
      groups.retrieve(group.id, { project_id }),
      groups.delete(group.id, { project_id }),
      groups.roles.create(group.id, { project_id, role_id: role.id }),
      admin.roles.retrieve(role.id),
      admin.users.roles.create(user.id, { role_id: role.id }),
    ];
    const outcomes = await Promise.allSettled(attempts);
    for (const outcome of outcomes) expect(outcome).toMatchObject({ status: 'rejected', reason: { status: 404 } });
    expect(await collect(users.list(project_id))).toEqual([]);
    expect(await call({ ...verified('crossing@example.com'), lambent_project: project_id })).toBe(401);
    expect(await call(verified('crossing@example.com'))).toBe(200);
  });

  it('a change to a sandbox narrows at once what users may do, by themselves and by groups', async () => {
    const project = await createProject();
    await createUser('alone@example.com');
    const grouped = await createUser('boxed@example.com');
    const group = await admin.groups.create({ name: 'Sandboxed' });
    await admin.groups.users.create(group.id, { user_id: grouped.id });
    await admin.projects.users.create(project.id, { email: 'alone@example.com', role: 'member' });
    await admin.projects.groups.create(project.id, { group_id: group.id, role: 'member' });
    const callAsBoth = () => Promise.all(['alone', 'boxed'].map((name) => call(verified(`${name}@example.com`))));
    expect(await callAsBoth()).toEqual([200, 200]);
    await admin.projects.update(project.id, { environment: 'sandbox' } as object);
    expect(await callAsBoth()).toEqual([403, 403]);
  });

  it('a group has at most 1,000 users, so that one request can change them all', async () => {
    const user = await createUser('last@example.com');
    const group = await admin.groups.create({ name: 'Crowd' });
    const tables = connectToTables(service.cloud);
    const items = Array.from({ length: 1_000 }, (_, index) => {
      const id = `user_crowd${index}`;
      const person = { name: null, email: `${id}@example.com`, providerId, subject: null, deleted: false };
      const json = JSON.stringify({ id, createdAt: 0, roles: [], projects: [], groups: [group.id], ...person });
      const stored = { version: { S: '1' }, json: { S: json } };
      return { PutRequest: { Item: { pk: { S: '#organization' }, sk: { S: `user#${id}` }, ...stored } } };
    });
    const name = service.cloud.resources['ADMIN_TABLE'] ?? '';
    for (let start = 0; start < items.length; start += 25)
      await tables.send(new BatchWriteItemCommand({ RequestItems: { [name]: items.slice(start, start + 25) } }));
    tables.destroy();
    await expect(admin.groups.users.create(group.id, { user_id: user.id })).rejects.toMatchObject({
      status: 400,
      message: expect.stringContaining('1000 users, the maximum'),
    });
    await admin.groups.users.delete('user_crowd0', { group_id: group.id });
    await admin.groups.users.create(group.id, { user_id: user.id });
  });

  it('a key without the scopes of people can not grant anything', async () => {
    const { value } = await admin.adminAPIKeys.create({ name: 'projects', ...{ scopes: ['admin.projects.write'] } });
    const limited = new OpenAI({ baseURL: service.cloud.url, adminAPIKey: value, apiKey: '', maxRetries: 0 });
    const user = await createUser('limited@example.com');
    const request = limited.admin.organization.users.roles.create(user.id, { role_id: 'role_member' });
    await expect(request).rejects.toMatchObject({ status: 403, code: 'insufficient_permissions' });
  });
});
