import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createPolicyAdministration } from '../../shared/access/policy-administration.ts';
import { toProjectOwner } from '../../shared/admin/object-table.ts';
import { createServiceAccounts } from '../../shared/admin/service-accounts.ts';
import { isObject } from '../../shared/core/objects.ts';
import { stayWithin, waitUntil } from '../wait.ts';
import { connectToTables } from './keys.ts';
import { type Service, startService } from './service.ts';

let service: Service;
let organization: OpenAI['admin']['organization'];
beforeAll(async () => {
  service = await startService();
  organization = createAdmin('sk-admin-local').admin.organization;
});
afterAll(() => service[Symbol.asyncDispose]());

const createAdmin = (adminAPIKey: string) => new OpenAI({ baseURL: service.cloud.url, adminAPIKey, maxRetries: 0 });
const createCaller = (apiKey: string) => new OpenAI({ baseURL: service.cloud.url, apiKey, maxRetries: 0 });

/** Sends a request that the client has no method for. Returns the response's status and body. */
async function send(method: string, path: string, body?: unknown, key = 'sk-admin-local') {
  const response = await fetch(`${service.cloud.url}${path}`, {
    method,
    headers: { authorization: `Bearer ${key}`, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
  return { status: response.status, json: JSON.parse(await response.text()) };
}

/** Runs `use` with a client of the tables. */
async function withTables(use: (client: DynamoDBClient) => Promise<unknown>): Promise<void> {
  const client = connectToTables(service.cloud);
  await use(client).finally(() => client.destroy());
}

async function collect<T>(pages: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of pages) items.push(item);
  return items;
}

/** Creates a project with a service account. Returns its id, the account's and its key. */
async function createProject(fields: object = {}) {
  const project = await organization.projects.create({ name: 'Website', ...fields });
  const account = await organization.projects.serviceAccounts.create(project.id, { name: 'web' });
  return {
    project: project.id,
    account: account.id,
    key: account.api_key?.value ?? '',
    keyId: account.api_key?.id ?? '',
  };
}

/** Expects that a key which was not used before is refused. The gateway caches what the authorizer returned for a used one. */
const expectRefusal = (key: string) =>
  expect(createCaller(key).models.list()).rejects.toMatchObject({ status: 401, code: 'invalid_api_key' });

describe('projects', () => {
  it('a project is created, read, renamed and listed', async () => {
    const { projects } = organization;
    const created = await projects.create({ name: 'Website' });
    expect(created).toMatchObject({
      object: 'organization.project',
      name: 'Website',
      status: 'active',
      archived_at: null,
      external_key_id: null,
    });
    expect(await projects.retrieve(created.id)).toEqual(created);
    expect(await projects.update(created.id, { name: 'Shop' })).toEqual({ ...created, name: 'Shop' });
    const ids = (await collect(projects.list({ limit: 1 }))).map(({ id }) => id);
    expect(ids).toEqual(expect.arrayContaining(['local', created.id]));
    expect(new Set(ids).size).toBe(ids.length);
  });

  it("an archived project's keys are refused, and it can't be changed", async () => {
    const { project, key } = await createProject();
    const archived = await organization.projects.archive(project);
    expect(archived).toMatchObject({ status: 'archived', archived_at: expect.any(Number) });
    await expect(createCaller(key).models.list()).rejects.toMatchObject({ status: 403, code: 'project_archived' });
    await expect(organization.projects.update(project, { name: 'x' })).rejects.toMatchObject({
      code: 'project_archived',
    });
    const ids = async (query: object) => (await collect(organization.projects.list(query))).map(({ id }) => id);
    expect(await ids({})).not.toContain(project);
    expect(await ids({ include_archived: true })).toContain(project);
    // A repeated request, as after a crash, changes nothing.
    expect(await organization.projects.archive(project)).toEqual(archived);
  });

  it('a project can have the name of a tenant that has keys already, once', async () => {
    const id = 'acme';
    expect(await send('POST', '/organization/projects', { name: 'Acme', id })).toMatchObject({
      status: 200,
      json: { id },
    });
    expect(await send('POST', '/organization/projects', { name: 'Acme', id })).toMatchObject({
      status: 400,
      json: { error: { code: 'invalid_value', param: 'id' } },
    });
  });
});

describe('keys', () => {
  it("an admin key can't call models, and a project's key can't administrate", async () => {
    const admin = createCaller('sk-admin-local');
    const lacking = { status: 403, code: 'insufficient_permissions' };
    await expect(admin.models.list()).rejects.toMatchObject(lacking);
    const { key } = await createProject();
    for (const each of ['sk-local', key])
      await expect(createAdmin(each).admin.organization.projects.list()).rejects.toMatchObject(lacking);
  });

  it("a service account's key calls models for its project, and shows its value once", async () => {
    const { project, key, keyId } = await createProject();
    expect(key).toMatch(/^sk-svcacct-/);
    const caller = createCaller(key);
    const { id } = await caller.responses.create({ model: 'compatible', input: 'Hello' });
    await caller.responses.retrieve(id);
    await expect(createCaller('sk-local').responses.retrieve(id)).rejects.toMatchObject({ status: 404 });
    const listed = await collect(organization.projects.apiKeys.list(project));
    expect(listed).toEqual([await organization.projects.apiKeys.retrieve(keyId, { project_id: project })]);
    expect(listed).toMatchObject([
      {
        id: keyId,
        object: 'organization.project.api_key',
        redacted_value: expect.stringMatching(/^sk-svcacct-\.\.\..{4}$/),
        owner: { type: 'service_account', service_account: { name: 'web', role: 'member' } },
        owner_project_access: 'active',
        expires_at: expect.any(Number),
      },
    ]);
    expect(JSON.stringify(listed)).not.toContain(key);
    await waitUntil('the call is logged with the id of the key', () =>
      service.logs.some((line) => line.includes(`"keyId":"${keyId}"`)),
    );
    expect(service.logs.join('\n')).not.toContain(key);
  });

  it('a key expires after 90 days, after the seconds that are asked for, or never', async () => {
    const { project, account } = await createProject();
    const { apiKeys } = organization.projects.serviceAccounts;
    const lifetime = async (fields: object) => {
      const { created_at, expires_at } = await apiKeys.create(account, { project_id: project, ...fields });
      return typeof expires_at === 'number' ? expires_at - created_at : expires_at;
    };
    expect(await lifetime({})).toBe(90 * 86_400);
    expect(await lifetime({ expires_in_seconds: 60 })).toBe(60);
    expect(await lifetime({ expires_in_seconds: null })).toBeNull();
    const { value, expires_at } = await apiKeys.create(account, { project_id: project, expires_in_seconds: 1 });
    await waitUntil('the key has expired', () => Date.now() > 1000 * (expires_at ?? 0));
    await expectRefusal(value);
  });

  it('a key has the scopes that are asked for, and gets others by an update', async () => {
    const { project, account } = await createProject();
    const { apiKeys } = organization.projects;
    const reading = await apiKeys.update(
      (
        await organization.projects.serviceAccounts.apiKeys.create(account, {
          project_id: project,
          scopes: ['api.all'],
        })
      ).id,
      { project_id: project, scopes: ['api.all.read'] },
    );
    expect(reading).toMatchObject({ scopes: ['models.read', 'responses.read', 'conversations.read'] });
    const restricted = await organization.projects.serviceAccounts.apiKeys.create(account, {
      project_id: project,
      scopes: ['models.read'],
    });
    const caller = createCaller(restricted.value);
    await caller.models.list();
    await expect(caller.responses.create({ model: 'compatible', input: 'x' })).rejects.toMatchObject({ status: 403 });
    const unused = await organization.projects.serviceAccounts.apiKeys.create(account, {
      project_id: project,
      scopes: ['models.read'],
    });
    await apiKeys.update(unused.id, { project_id: project, scopes: [] });
    await createCaller(unused.value).responses.create({ model: 'compatible', input: 'x' });
  });

  it('a deleted key is refused, and a repeated deletion is not found', async () => {
    const { project, key, keyId } = await createProject();
    const { apiKeys } = organization.projects;
    expect(await apiKeys.delete(keyId, { project_id: project })).toEqual({
      id: keyId,
      object: 'organization.project.api_key.deleted',
      deleted: true,
    });
    await expectRefusal(key);
    await expect(apiKeys.delete(keyId, { project_id: project })).rejects.toMatchObject({ status: 404 });
  });

  it('a deleted service account takes its keys with it, and no others', async () => {
    const { project, account, key } = await createProject();
    const other = await organization.projects.serviceAccounts.create(project, { name: 'other' });
    await organization.projects.serviceAccounts.delete(account, { project_id: project });
    await expectRefusal(key);
    await createCaller(other.api_key?.value ?? '').models.list();
    const { serviceAccounts, apiKeys } = organization.projects;
    await expect(serviceAccounts.retrieve(account, { project_id: project })).rejects.toMatchObject({ status: 404 });
    expect((await collect(apiKeys.list(project))).map(({ id }) => id)).toEqual([other.api_key?.id]);
  });

  it('a key of a service account that is being deleted gets no successor', async () => {
    const { project, account, keyId } = await createProject();
    await withTables((client) =>
      createServiceAccounts({ table: { client, name: service.cloud.resources['ADMIN_TABLE'] ?? '' } }).update(
        toProjectOwner(project),
        account,
        (each) => ({ ...each, deleted: true }),
      ),
    );
    expect((await send('POST', `/organization/projects/${project}/api_keys/${keyId}/rotate`)).status).toBe(404);
    expect((await collect(organization.projects.apiKeys.list(project))).map(({ id }) => id)).toEqual([keyId]);
  });

  it('a rotated key works beside its successor until the overlap ends', async () => {
    const { project, key, keyId } = await createProject();
    const path = `/organization/projects/${project}/api_keys/${keyId}`;
    const { json } = await send('POST', `${path}/rotate`, { overlap_seconds: 1 });
    expect(json).toMatchObject({ value: expect.stringMatching(/^sk-svcacct-/), replaces: { id: keyId } });
    await waitUntil('the overlap has ended', () => Date.now() > 1000 * json.replaces.expires_at);
    await expectRefusal(key);
    await createCaller(json.value).models.list();
    expect(await send('POST', `${path}/rotate`)).toMatchObject({
      status: 400,
      json: { error: { code: 'invalid_value' } },
    });
  });

  it('a key is replaced once, and again after its successor was deleted', async () => {
    const { project, keyId } = await createProject();
    const path = `/organization/projects/${project}/api_keys`;
    const { json: successor } = await send('POST', `${path}/${keyId}/rotate`);
    expect(await send('POST', `${path}/${keyId}/rotate`)).toMatchObject({
      status: 400,
      json: { error: { message: expect.stringContaining(successor.id) } },
    });
    await send('DELETE', `${path}/${successor.id}`);
    expect((await send('POST', `${path}/${keyId}/rotate`)).status).toBe(200);
  });

  it('an admin key that expires can create none that lives longer', async () => {
    const hour = await organization.adminAPIKeys.create({ name: 'hour', expires_in_seconds: 3600 });
    const { adminAPIKeys } = new OpenAI({ baseURL: service.cloud.url, adminAPIKey: hour.value }).admin.organization;
    for (const expires_in_seconds of [null, 90 * 86_400])
      await expect(
        adminAPIKeys.create({ name: 'more', expires_in_seconds: expires_in_seconds as number }),
      ).rejects.toMatchObject({ status: 400, param: 'expires_in_seconds' });
    const same = await adminAPIKeys.create({ name: 'same' });
    expect(same.expires_at).toBe(hour.expires_at);
    const less = await adminAPIKeys.create({ name: 'less', expires_in_seconds: 60 });
    expect(less.expires_at).toBe(less.created_at + 60);
    for (const { id } of [same, less, hour]) await organization.adminAPIKeys.delete(id);
  });

  it('an admin key administrates as far as its scopes go, can create no stronger one, and is refused after its deletion', async () => {
    const { adminAPIKeys } = organization;
    const full = await adminAPIKeys.create({ name: 'full', expires_in_seconds: 3600 });
    expect(full).toMatchObject({ object: 'organization.admin_api_key', value: expect.stringMatching(/^sk-admin-/) });
    expect(full.expires_at).toBe(full.created_at + 3600);
    const { json: weak } = await send('POST', '/organization/admin_api_keys', {
      name: 'weak',
      scopes: ['admin.keys.write', 'admin.projects.read'],
    });
    const weakly = createAdmin(weak.value).admin.organization;
    await weakly.projects.list();
    await expect(weakly.projects.create({ name: 'x' })).rejects.toMatchObject({ status: 403 });
    expect(
      await send('POST', '/organization/admin_api_keys', { name: 'x', scopes: ['admin.projects.write'] }, weak.value),
    ).toMatchObject({
      status: 400,
      json: { error: { param: 'scopes[0]' } },
    });
    const own = await weakly.adminAPIKeys.create({ name: 'same' });
    await expect(createAdmin(own.value).admin.organization.projects.create({ name: 'x' })).rejects.toMatchObject({
      status: 403,
    });
    expect(await adminAPIKeys.delete(full.id)).toMatchObject({ deleted: true });
    await expect(adminAPIKeys.retrieve(full.id)).rejects.toMatchObject({ status: 404 });
    await expect(createAdmin(full.value).admin.organization.projects.list()).rejects.toMatchObject({ status: 401 });
    expect((await collect(adminAPIKeys.list({ limit: 1 }))).map(({ name }) => name)).toEqual(['weak', 'same']);
  });
});

describe('what a project may do', () => {
  it('model permissions are stored in the policy, and no model is denied without them', async () => {
    const { project, key } = await createProject();
    const { modelPermissions } = organization.projects;
    const none = { object: 'project.model_permissions', mode: 'deny_list', model_ids: [] };
    expect(await modelPermissions.retrieve(project)).toEqual(none);
    const allowed = { mode: 'allow_list' as const, model_ids: ['lean'] };
    expect(await modelPermissions.update(project, allowed)).toMatchObject(allowed);
    expect((await send('GET', `/organization/projects/${project}/policy`)).json).toEqual({
      object: 'project.policy',
      models: { mode: 'allow', models: ['lean'] },
    });
    expect((await createCaller(key).models.list()).data.map(({ id }) => id)).toEqual(['lean']);
    expect(await modelPermissions.delete(project)).toEqual({
      object: 'project.model_permissions.deleted',
      deleted: true,
    });
    expect(await modelPermissions.retrieve(project)).toEqual(none);
  });

  it('restrictions of models that models.json has no more can be read and removed, and new ones are refused', async () => {
    const { project } = await createProject();
    const restrictions = {
      models: { mode: 'deny' as const, models: ['gone'] },
      limits: { models: { gone: { requestsPerMinute: 1 } } },
    };
    await withTables((client) =>
      createPolicyAdministration(client, service.cloud.resources['ACCESS_TABLE'] ?? '').changeProject(
        project,
        ({ status }) => ({ status, restrictions }),
      ),
    );
    const { modelPermissions, rateLimits } = organization.projects;
    expect(await modelPermissions.retrieve(project)).toMatchObject({ model_ids: ['gone'] });
    const { object: _, ...policy } = (await send('GET', `/organization/projects/${project}/policy`)).json;
    expect((await send('POST', `/organization/projects/${project}/policy`, policy)).status).toBe(200);
    const unknown = { mode: 'deny_list' as const, model_ids: ['gone', 'gpt-9'] };
    await expect(modelPermissions.update(project, unknown)).rejects.toMatchObject({
      ...{ status: 400, code: 'invalid_value', param: 'model_ids[1]' },
      message: expect.stringMatching(/no model 'gpt-9'.*compatible/),
    });
    await modelPermissions.update(project, { mode: 'deny_list', model_ids: ['gone', 'lean'] });
    await modelPermissions.delete(project);
    const removed = { project_id: project, max_requests_per_1_minute: 2_147_483_647 };
    await rateLimits.updateRateLimit('rl-gone', removed);
    expect((await send('GET', `/organization/projects/${project}/policy`)).json).toEqual({ object: 'project.policy' });
    await expect(rateLimits.updateRateLimit('rl-gone', removed)).rejects.toMatchObject({ status: 400 });
  });

  it('a service account has no role that has no effect', async () => {
    const { project } = await createProject();
    const { id } = await organization.projects.serviceAccounts.create(project, { name: 'web' });
    const update = (role: 'member' | 'owner') =>
      organization.projects.serviceAccounts.update(id, { project_id: project, role });
    await expect(update('owner')).rejects.toMatchObject({
      ...{ status: 400, code: 'unsupported_value', param: 'role' },
      message: expect.stringContaining("Unsupported value: 'role' does not support 'owner'"),
    });
    expect(await update('member')).toMatchObject({ role: 'member' });
  });

  it('a residency other than GLOBAL is refused with the reason', async () => {
    const create = (residency: string) => organization.projects.create({ name: 'x', residency: residency as 'GLOBAL' });
    await expect(create('EU')).rejects.toMatchObject({
      ...{ status: 400, code: 'unsupported_value', param: 'residency' },
      message: expect.stringContaining("Unsupported value: 'residency' is not supported: a deployment keeps its data"),
    });
    expect(await create('GLOBAL')).toMatchObject({ name: 'x' });
  });

  it('each model has a rate limit, which is enforced and can be removed', async () => {
    await stayWithin('day');
    const { project, key } = await createProject();
    const { rateLimits } = organization.projects;
    const listed = await collect(rateLimits.listRateLimits(project, { limit: 2 }));
    expect(listed.map(({ id }) => id)).toEqual(expect.arrayContaining(['rl-compatible', 'rl-default', 'rl-lean']));
    const unlimited = listed.find(({ model }) => model === 'compatible');
    expect(unlimited).toMatchObject({ object: 'project.rate_limit', max_requests_per_1_minute: 2_147_483_647 });
    const limit = { project_id: project, max_requests_per_1_day: 1 };
    expect(await rateLimits.updateRateLimit('rl-compatible', limit)).toMatchObject({ max_requests_per_1_day: 1 });
    const messages = [{ role: 'user' as const, content: 'Hi' }];
    const call = () => createCaller(key).chat.completions.create({ model: 'compatible', messages });
    await call();
    await expect(call()).rejects.toMatchObject({ status: 429, code: 'rate_limit_exceeded' });
    const { json } = await send('POST', `/organization/projects/${project}/rate_limits/rl-compatible`, {
      max_requests_per_1_day: null,
    });
    expect(json).toEqual(unlimited);
    expect((await send('GET', `/organization/projects/${project}/policy`)).json).toEqual({ object: 'project.policy' });
  });

  it("the client's iteration of a list ends after the page before an object, and has all objects between two", async () => {
    const { project } = await createProject();
    const { rateLimits, spendAlerts } = organization.projects;
    const channel = { type: 'email' as const, recipients: [] };
    const alert = { currency: 'USD', interval: 'month', notification_channel: channel } as const;
    for (const threshold_amount of [1, 2, 3, 4, 5]) await spendAlerts.create(project, { ...alert, threshold_amount });
    interface Range {
      limit: number;
      after?: string;
      before?: string;
    }
    const lists = [
      (range: Range) => collect(rateLimits.listRateLimits(project, range)),
      (range: Range) => collect(spendAlerts.list(project, range)),
    ];
    for (const list of lists) {
      const iterate = async (range: Range) => (await list(range)).map(({ id }) => id);
      const all = await iterate({ limit: 2 });
      expect(all.length).toBeGreaterThan(3);
      const [after = '', before = ''] = [all[0], all.at(-1)];
      expect(await iterate({ limit: 2, before })).toEqual(all.slice(-3, -1));
      expect(await iterate({ limit: 1, after, before })).toEqual(all.slice(1, -1));
    }
  });

  it('a spend limit of a project or of the organization is set in cents, and absent before', async () => {
    const { project } = await createProject();
    const limit = { currency: 'USD', interval: 'month', threshold_amount: 1_250 } as const;
    const { spendLimit } = organization.projects;
    await expect(spendLimit.retrieve(project)).rejects.toMatchObject({ status: 404 });
    expect(await spendLimit.update(project, limit)).toMatchObject({ object: 'project.spend_limit', ...limit });
    expect((await send('GET', `/organization/projects/${project}/policy`)).json).toMatchObject({
      limits: { dollarsPerMonth: 12.5 },
    });
    expect(await spendLimit.delete(project)).toMatchObject({ deleted: true });
    await expect(spendLimit.retrieve(project)).rejects.toMatchObject({ status: 404 });
    expect(await organization.spendLimit.update(limit)).toMatchObject({ object: 'organization.spend_limit', ...limit });
    expect(await organization.spendLimit.retrieve()).toMatchObject(limit);
    await organization.spendLimit.delete();
    await expect(organization.spendLimit.retrieve()).rejects.toMatchObject({ status: 404 });
  });

  it('a spend alert is a monthly alert of the policy, for the recipients of the alarms', async () => {
    const { project } = await createProject();
    const channel = { type: 'email' as const, recipients: [] };
    const amount = { currency: 'USD', interval: 'month', threshold_amount: 1_250 } as const;
    const alert = { ...amount, notification_channel: channel };
    const { spendAlerts } = organization.projects;
    const { id, ...created } = await spendAlerts.create(project, alert);
    expect(created).toEqual({ object: 'project.spend_alert', ...alert });
    const readLimits = async () => (await send('GET', `/organization/projects/${project}/policy`)).json;
    expect(await readLimits()).toMatchObject({ limits: { alerts: [{ name: id, per: 'month', dollars: 12.5 }] } });
    const params = { project_id: project, ...alert, threshold_amount: 2_000 };
    expect(await spendAlerts.update(id, params)).toMatchObject({ id, threshold_amount: 2_000 });
    expect(await spendAlerts.retrieve(id, { project_id: project })).toMatchObject({ threshold_amount: 2_000 });
    expect((await spendAlerts.list(project)).data).toMatchObject([{ id, threshold_amount: 2_000 }]);
    expect(await spendAlerts.delete(id, { project_id: project })).toMatchObject({ id, deleted: true });
    await expect(spendAlerts.update(id, params)).rejects.toMatchObject({ status: 404 });
    expect(await readLimits()).toEqual({ object: 'project.policy' });

    const ofAll = await organization.spendAlerts.create(alert);
    expect(ofAll).toMatchObject({ object: 'organization.spend_alert', ...alert });
    await organization.spendAlerts.delete(ofAll.id);
    const mailed = { ...alert, notification_channel: { ...channel, recipients: ['a@example.com'] } };
    await expect(organization.spendAlerts.create(mailed)).rejects.toMatchObject({
      status: 400,
      code: 'unsupported_value',
      message: expect.stringContaining('alarmEmail'),
    });
  });

  it('a policy keeps the sections that a request does not name, and a key has one of its own', async () => {
    const { project, keyId } = await createProject();
    for (const path of [`projects/${project}/policy`, `projects/${project}/api_keys/${keyId}/policy`]) {
      await send('POST', `/organization/${path}`, { models: { mode: 'deny', models: ['lean'] } });
      const { json } = await send('POST', `/organization/${path}`, { limits: { requestsPerMinute: 5 } });
      expect(json).toMatchObject({ models: { models: ['lean'] }, limits: { requestsPerMinute: 5 } });
      expect((await send('POST', `/organization/${path}`, { ...json, models: null })).json).not.toHaveProperty(
        'models',
      );
    }
  });

  it('an environment presets the limits of a project, and the scopes of its keys', async () => {
    const { json } = await send('POST', '/organization/projects', { name: 'Play', environment: 'sandbox' });
    expect(json).toMatchObject({ environment: 'sandbox' });
    const policy = () => send('GET', `/organization/projects/${json.id}/policy`);
    expect((await policy()).json).toMatchObject({ limits: { requestsPerMinute: 0 } });
    const account = await organization.projects.serviceAccounts.create(json.id, { name: 'web' });
    const [key] = await collect(organization.projects.apiKeys.list(json.id));
    expect(key).toMatchObject({ scopes: ['models.read', 'responses.read', 'conversations.read'] });
    await expect(
      organization.projects.serviceAccounts.apiKeys.create(account.id, { project_id: json.id, scopes: ['generate'] }),
    ).rejects.toMatchObject({ status: 400, param: 'scopes[0]' });
    await send('POST', `/organization/projects/${json.id}`, { environment: 'production' });
    expect((await policy()).json).toMatchObject({ limits: { requestsPerMinute: 1_000 } });
  });

  it('the earlier keys of a project that became a sandbox only read', async () => {
    const { project, key } = await createProject();
    await send('POST', `/organization/projects/${project}`, { environment: 'sandbox' });
    const client = new OpenAI({ baseURL: service.cloud.url, apiKey: key, maxRetries: 0 });
    expect((await client.models.list()).data).not.toHaveLength(0);
    await expect(client.conversations.create()).rejects.toMatchObject({
      status: 403,
      code: 'insufficient_permissions',
    });
    await send('POST', `/organization/projects/${project}/policy`, { limits: null });
    const question = { model: 'default', messages: [{ role: 'user' as const, content: 'Hello' }] };
    await expect(client.chat.completions.create(question)).rejects.toMatchObject({ status: 403 });
    await send('POST', `/organization/projects/${project}`, { environment: 'dev' });
    expect((await send('GET', `/organization/projects/${project}/policy`)).json).not.toHaveProperty('readOnly');
  });

  it('a key of a project that became a sandbox is rotated once its scopes are those of a sandbox', async () => {
    const { project, keyId } = await createProject();
    const key = `/organization/projects/${project}/api_keys/${keyId}`;
    await send('POST', `/organization/projects/${project}`, { environment: 'sandbox' });
    const refused = await send('POST', `${key}/rotate`);
    expect(refused).toMatchObject({ status: 400, json: { error: { param: null } } });
    expect(refused.json.error.message).toContain('Change its scopes first.');
    await send('POST', key, { scopes: ['api.all.read'] });
    expect((await send('POST', `${key}/rotate`)).json).toMatchObject({
      scopes: ['models.read', 'responses.read', 'conversations.read'],
    });
  });

  it('the error of an unknown scope names only what the key may have', async () => {
    const { json } = await send('POST', '/organization/admin_api_keys', { name: 'x', scopes: ['api.all'] });
    expect(json.error.message).toMatch(/ are: admin\.keys\.read, .*admin\.audit\.read, owner, reader\.$/);
  });
});

describe('scopes of administration', () => {
  const createKey = async (scopes: readonly string[]): Promise<string> =>
    (await send('POST', '/organization/admin_api_keys', { name: 'part', scopes })).json.value;
  const lacks = (scope: string) => ({ status: 403, json: { error: { message: expect.stringContaining(scope) } } });

  it('a key for projects can not raise their limits by an environment', async () => {
    const key = await createKey(['admin.projects.read', 'admin.projects.write']);
    const { project } = await createProject();
    const path = `/organization/projects/${project}`;
    await send('POST', `${path}/policy`, { limits: { requestsPerMinute: 5 } });
    expect(await send('POST', path, { environment: 'production' }, key)).toMatchObject(lacks('admin.limits.write'));
    expect((await send('GET', `${path}/policy`)).json).toMatchObject({ limits: { requestsPerMinute: 5 } });
    const named = { name: 'x', id: 'tenant-with-limits', environment: 'production' };
    expect(await send('POST', '/organization/projects', named, key)).toMatchObject(lacks('admin.limits.write'));
    expect((await send('POST', path, { name: 'Shop' }, key)).status).toBe(200);
    expect((await send('POST', '/organization/projects', { name: 'x', environment: 'dev' }, key)).status).toBe(200);
  });

  it('a key for limits can not permit models', async () => {
    const key = await createKey(['admin.limits.read', 'admin.limits.write']);
    const { project, keyId } = await createProject();
    for (const path of ['policy', `projects/${project}/policy`, `projects/${project}/api_keys/${keyId}/policy`]) {
      for (const models of [null, { mode: 'deny', models: [] }])
        expect(await send('POST', `/organization/${path}`, { models }, key)).toMatchObject(
          lacks('admin.projects.write'),
        );
      expect((await send('POST', `/organization/${path}`, { limits: null }, key)).status).toBe(200);
    }
  });
});

describe('invalid requests', () => {
  const P = '/organization/projects/local';
  it.each([
    ['/organization/admin_api_keys', {}, 'name'],
    ['/organization/admin_api_keys', { name: 'x', expires_in_seconds: 0 }, 'expires_in_seconds'],
    ['/organization/admin_api_keys', { name: 'x', scopes: ['generate'] }, 'scopes[0]'],
    ['/organization/projects', { name: '' }, 'name'],
    ['/organization/projects', { name: 'x', id: '#organization' }, 'id'],
    ['/organization/projects', { name: 'x', geography: 'EU' }, 'geography'],
    ['/organization/projects', { name: 'x', residency: 'EU' }, 'residency'],
    ['/organization/projects', { name: 'x', residency: 5 }, 'residency'],
    ['/organization/projects', { name: 'x', environment: 'test' }, undefined],
    ['/organization/projects', { name: 'x', enviroment: 'sandbox' }, 'enviroment'],
    [P, { name: 5 }, 'name'],
    [`${P}/service_accounts`, { name: 'x', scopes: ['admin.projects.write'] }, 'scopes[0]'],
    [
      `${P}/service_accounts`,
      { name: 'x', create_service_account_only: true, expires_in_seconds: 5 },
      'expires_in_seconds',
    ],
    [`${P}/model_permissions`, { mode: 'allow_list', model_ids: 'default' }, 'model_ids'],
    [`${P}/model_permissions`, { mode: 'deny_list', model_ids: ['lean', 'gpt-9'] }, 'model_ids[1]'],
    [`${P}/rate_limits/rl-none`, { max_requests_per_1_minute: 1 }, 'rate_limit_id'],
    [`${P}/policy`, { models: { mode: 'deny', models: ['gpt-9'] } }, 'models.models[0]'],
    [`${P}/policy`, { limits: { models: { 'gpt-9': { requestsPerMinute: 1 } } } }, 'limits.models'],
    [`${P}/rate_limits/rl-default`, { max_images_per_1_minute: 1 }, 'max_images_per_1_minute'],
    [`${P}/rate_limits/rl-default`, { max_requests_per_1_minute: -1 }, 'max_requests_per_1_minute'],
    [`${P}/spend_limit`, { currency: 'EUR', interval: 'month', threshold_amount: 1 }, 'currency'],
    ['/organization/policy', { model: {} }, 'model'],
    [`${P}/policy`, { models: { mode: 'all', models: [] } }, 'models.mode'],
    [`${P}/policy`, { models: { mode: 'deny', models: Array.from({ length: 400 }, () => 'default') } }, 'project'],
  ])('the error of %s names the parameter: %j', async (path, body, param) => {
    const { status, json } = await send('POST', path, body);
    expect({ status, ...json.error }).toMatchObject({
      status: 400,
      type: 'invalid_request_error',
      ...(param === undefined ? {} : { param }),
    });
  });

  it('the error of a currency that is not supported names it and the one that is', async () => {
    const limit = { currency: 'EUR', interval: 'month', threshold_amount: 1 };
    const { json } = await send('POST', `${P}/spend_limit`, limit);
    expect(json.error.message).toBe("Invalid value: 'EUR'. Supported values are: 'USD'.");
  });

  it.each(['limit=0', 'limit=x', 'order=up', `after=${'x'.repeat(600)}`])('a list refuses %s', async (query) =>
    expect((await send('GET', `/organization/projects?${query}`)).status).toBe(400),
  );

  it('objects of other projects, and unknown ones, are not found', async () => {
    const one = await createProject();
    const other = await createProject();
    const missing = [
      `service_accounts/${one.account}`,
      `api_keys/${one.keyId}`,
      `api_keys/${one.keyId}/policy`,
      'api_keys/missing',
      'unknown',
    ];
    for (const path of missing)
      expect((await send('GET', `/organization/projects/${other.project}/${path}`)).status, path).toBe(404);
    for (const path of missing.slice(0, 2))
      expect((await send('DELETE', `/organization/projects/${other.project}/${path}`)).status, path).toBe(404);
    for (const path of [
      missing[1],
      missing[2],
      `api_keys/${one.keyId}/rotate`,
      `service_accounts/${one.account}/api_keys`,
    ])
      expect((await send('POST', `/organization/projects/${other.project}/${path}`, {})).status, path).toBe(404);
    expect((await send('GET', '/organization/projects/missing/api_keys')).status).toBe(404);
    await createCaller(one.key).models.list();
  });

  it('what a deployment cannot honour is refused with what to use instead', async () => {
    for (const path of ['/organization/invites', '/organization/external_storage', `${P}/service_tier_settings`])
      expect(await send('POST', path, {})).toMatchObject({
        status: 400,
        json: { error: { code: 'unsupported_value', message: expect.stringMatching(/ not supported: .+\.$/) } },
      });
  });

  it('without mutual TLS, certificates are refused with the setting that turns it on', async () => {
    const { certificates, projects } = organization;
    const ids = { certificate_ids: ['cert_1'] };
    for (const call of [
      () => certificates.create({ certificate: '-----BEGIN CERTIFICATE-----' }),
      () => certificates.list(),
      () => certificates.retrieve('cert_1', { include: ['content'] }),
      () => certificates.update('cert_1', { name: 'Acme' }),
      () => certificates.delete('cert_1'),
      () => certificates.activate(ids),
      () => certificates.deactivate(ids),
      () => projects.certificates.list('local'),
      () => projects.certificates.activate('local', ids),
      () => projects.certificates.deactivate('local', ids),
    ])
      await expect(call()).rejects.toMatchObject({
        status: 400,
        code: 'unsupported_value',
        message: expect.stringContaining('`domainTruststore`'),
      });
  });
});

describe('audit', () => {
  it('each act is logged with the key, the type, the object and the project, once it is done', async () => {
    const { project, account, keyId } = await createProject();
    await organization.projects.update(project, { name: 'Shop' });
    await organization.projects.serviceAccounts.delete(account, { project_id: project });
    const listActs = () =>
      service.logs
        .map((line): unknown => JSON.parse(line))
        .filter(isObject)
        // The function `record` logs each act once more.
        .filter((line) => line['message'] === 'administrative act' && line['project'] === project);
    await waitUntil('all acts are logged', () => listActs().length === 6);
    expect(listActs()).toMatchObject(
      [
        { act: 'project.created', objectId: project },
        { act: 'service_account.created', objectId: account },
        { act: 'api_key.created', objectId: keyId },
        { act: 'project.updated', details: expect.stringContaining('"previous":{"title":"Website"') },
        { act: 'api_key.deleted', objectId: keyId },
        { act: 'service_account.deleted', objectId: account },
      ].map((act) => ({ message: 'administrative act', keyId: 'local-admin', requestId: expect.any(String), ...act })),
    );
  });
});
