import { ScanCommand } from '@aws-sdk/client-dynamodb';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { QUERIES } from '../../shared/admin/queries.ts';
import { createUnsupportedRoutes } from '../../shared/admin/unsupported.ts';
import { ADMIN_ROUTES } from '../../shared/api/route-table.ts';
import { createCertificate } from '../certificates.ts';
import { connectToTables } from './keys.ts';
import { type Service, startService } from './service.ts';

type Ids = Readonly<Record<string, string>>;
type Body = Readonly<Record<string, unknown>>;

const ROUTES = Object.keys(ADMIN_ROUTES);
const POST_ROUTES = ROUTES.filter((route) => route.startsWith('POST '));
const listParameters = (route: string) => [...route.matchAll(/\{(\w+)\}/g)].map(([, name = '']) => name);

const SPEND_ALERT = {
  ...{ currency: 'USD' as const, interval: 'month' as const, threshold_amount: 5 },
  notification_channel: { type: 'email' as const, recipients: [] },
};

let service: Service;
/** The ids of a project's objects, by path parameter. */
let own: Ids;
let foreign: Ids;
let archived: Ids;
/** A certificate in PEM format that is not uploaded. */
let certificate: string;
beforeAll(async () => {
  certificate = (await createCertificate()).pem;
  service = await startService({ environment: { DOMAIN_TRUSTSTORE: 's3://my-ca/clients.pem' } });
  const { organization } = new OpenAI({ baseURL: service.cloud.url, adminAPIKey: 'sk-admin-local' }).admin;
  const provider = await organization.workloadIdentityProviders.create(toProvider('lambent'));
  const createProject = async (name: string): Promise<Ids> => {
    const other = await organization.workloadIdentityProviders.create(toProvider(name));
    const { id: project } = await organization.projects.create({ name });
    const { id: account, api_key } = await organization.projects.serviceAccounts.create(project, { name });
    const rule = await organization.workloadIdentityProviders.federationRules.create(other.id, {
      ...{ attribute_matchers: { sub: name }, project_id: project, service_account_id: account },
    });
    const user = await send('POST /v1/organization/users', {
      email: `${name}@example.com`,
      identity_provider_id: provider.id,
    });
    const group = await organization.groups.create({ name });
    await organization.projects.users.create(project, { user_id: String(user.json['id']), role: 'member' });
    await organization.projects.groups.create(project, { group_id: group.id, role: 'member' });
    const role = await send(`POST /v1/projects/${project}/roles`, { role_name: name, permissions: ['embeddings'] });
    const adminKey = await organization.adminAPIKeys.create({ name });
    const alert = await organization.projects.spendAlerts.create(project, SPEND_ALERT);
    const sender = await send('POST /v1/organization/senders', {
      id: String(100_000_000_000 + name.length),
      project_ids: [project],
    });
    const uploaded = await organization.certificates.create({ certificate: (await createCertificate()).pem, name });
    return {
      ...{ project, account, key: api_key?.id ?? '', provider: other.id, rule: rule.id, user: String(user.json['id']) },
      ...{ group: group.id, role: String(role.json['id']), adminKey: adminKey.id, rateLimit: 'rl-lean' },
      ...{ alert: alert.id, certificate: uploaded.id, sender: String(sender.json['id']) },
    };
  };
  own = await createProject('own');
  foreign = await createProject('foreign');
  archived = await createProject('archived');
  await organization.projects.archive(archived['project'] ?? '');
});
afterAll(() => service[Symbol.asyncDispose]());

const toProvider = (audience: string) => ({
  ...{ type: 'oidc' as const, name: audience, issuer: 'https://id.example.com', audience },
  ...{ attribute_transformations: [], verification: { type: 'discovery' as const, discovery_url: null } },
});

/** Returns a valid body of a route that can't respond without one. */
function createBody(route: string): Body {
  const path = route.replace(/^POST \/v1(\/organization)?/, '');
  const bodies: Readonly<Record<string, Body>> = {
    '/admin_api_keys': { name: 'x', scopes: ['admin.keys.read'], expires_in_seconds: 60 },
    '/admin_api_keys/{key}/rotate': { overlap_seconds: 60 },
    '/admin_api_keys/{key}/policy': { ipRanges: ['127.0.0.1'] },
    '/projects': { name: 'x', id: 'x', environment: 'dev' },
    '/projects/{project}': { name: 'x', environment: 'dev' },
    '/projects/{project}/service_accounts': { name: 'x', scopes: ['embeddings'], expires_in_seconds: 60 },
    '/projects/{project}/service_accounts/{account}': { name: 'x', role: 'member' },
    '/projects/{project}/service_accounts/{account}/api_keys': { name: 'x', scopes: ['embeddings'] },
    '/projects/{project}/api_keys/{key}': { scopes: ['embeddings'], expires_in_seconds: 60 },
    '/projects/{project}/api_keys/{key}/rotate': { overlap_seconds: 60 },
    '/senders': {
      ...{ id: 'AROAEXAMPLEORDERS0001', project_ids: [own['project']], name: 'x', scopes: ['generate'] },
      ...{ reply_queues: ['answers'], messages_per_minute: 5, messages_per_day: 5, expires_in_seconds: 60 },
    },
    '/senders/{sender}': {
      ...{ project_ids: [own['project']], name: 'x', scopes: ['generate'], reply_queues: ['answers'] },
      ...{ messages_per_minute: 5, messages_per_day: 5, expires_in_seconds: 60 },
    },
    '/projects/{project}/model_permissions': { mode: 'allow_list', model_ids: ['lean'] },
    '/projects/{project}/rate_limits/{rateLimit}': { max_requests_per_1_minute: 5 },
    '/workload_identity_providers': { ...toProvider('x') },
    '/workload_identity_providers/{provider}': { name: 'x', enabled: true },
    '/workload_identity_providers/{provider}/federation_rules': {
      ...{ attribute_matchers: { sub: 'x' }, project_id: own['project'], service_account_id: own['account'] },
      permissions: { type: 'restricted', scopes: ['embeddings', own['role']] },
    },
    '/workload_identity_providers/{provider}/federation_rules/{rule}': { name: 'x', enabled: true },
    '/users': { email: 'x@example.com', identity_provider_id: own['provider'], name: 'x', role: 'reader' },
    '/users/{user}': { role: 'reader' },
    '/groups': { name: 'x' },
    '/groups/{group}': { name: 'x' },
    '/groups/{group}/users': { user_id: own['user'] },
    '/projects/{project}/users': { user_id: own['user'], role: 'reader' },
    '/projects/{project}/users/{user}': { role: 'reader' },
    '/projects/{project}/groups': { group_id: own['group'], role: 'reader' },
    '/roles': { role_name: 'x', permissions: ['embeddings'], description: 'x' },
    '/roles/{role}': { role_name: 'x', permissions: ['embeddings'] },
    '/projects/{project}/roles': { role_name: 'x', permissions: ['embeddings'] },
    '/projects/{project}/roles/{role}': { role_name: 'x', permissions: ['embeddings'] },
    '/certificates': { certificate, name: 'x' },
    '/certificates/{certificate}': { name: 'x' },
    '/certificates/activate': { certificate_ids: [own['certificate']] },
    '/certificates/deactivate': { certificate_ids: [own['certificate']] },
    '/projects/{project}/certificates/activate': { certificate_ids: [own['certificate']] },
    '/projects/{project}/certificates/deactivate': { certificate_ids: [own['certificate']] },
    '/spend_limit': { currency: 'USD', interval: 'month', threshold_amount: 5 },
    '/projects/{project}/spend_limit': { currency: 'USD', interval: 'month', threshold_amount: 5 },
    '/spend_alerts': SPEND_ALERT,
    '/spend_alerts/{alert}': SPEND_ALERT,
    '/projects/{project}/spend_alerts': SPEND_ALERT,
    '/projects/{project}/spend_alerts/{alert}': SPEND_ALERT,
    '/data_retention': { retention_type: 'modified_abuse_monitoring' },
    '/projects/{project}/data_retention': { retention_type: 'none' },
    '/policy': { models: { mode: 'allow', models: ['lean'] } },
    '/projects/{project}/policy': { models: { mode: 'allow', models: ['lean'] } },
    '/projects/{project}/api_keys/{key}/policy': { models: { mode: 'allow', models: ['lean'] } },
    '/projects/{project}/service_accounts/{account}/policy': { models: { mode: 'allow', models: ['lean'] } },
    '/users/{user}/policy': { models: { mode: 'allow', models: ['lean'] } },
  };
  const assignment = path.endsWith('}/roles') ? { role_id: 'role_reader' } : {};
  return bodies[path] ?? assignment;
}

async function send(
  route: string,
  body?: unknown,
  ids: Ids = {},
): Promise<{ status: number; json: Readonly<Record<string, unknown>>; text: string }> {
  const [method = '', path = ''] = route.split(' ');
  // The ids of both kinds of keys have the parameter `key`.
  const filled = path.replace(/\{(\w+)\}/g, (_, name: string) =>
    name === 'key' && path.includes('admin_api_keys') ? (ids['adminKey'] ?? ids['key'] ?? '') : (ids[name] ?? 'none'),
  );
  const response = await fetch(`${service.cloud.url.replace(/\/v1$/, '')}${filled}`, {
    method,
    headers: { authorization: 'Bearer sk-admin-local', 'content-type': 'application/json' },
    ...(method === 'POST' ? { body: typeof body === 'string' ? body : JSON.stringify(body ?? {}) } : {}),
  });
  const text = await response.text();
  return { status: response.status, text, json: JSON.parse(text) };
}

/** Returns all items of the tables that the administration writes. */
async function readTables(): Promise<unknown> {
  const client = connectToTables(service.cloud);
  const scans = ['ACCESS_TABLE', 'ADMIN_TABLE', 'LIMITS_TABLE'].map(async (name) => {
    const TableName = service.cloud.resources[name];
    const { Items = [] } = await client.send(new ScanCommand({ TableName }));
    // A change that takes nothing away is written, too: it may complete an interrupted one.
    return Items.map(({ version: _, ...item }) => JSON.stringify(item)).sort();
  });
  return Promise.all(scans).finally(() => client.destroy());
}

/** Runs requests, and checks that each is refused with an error of OpenAI's API and that nothing has changed. */
async function expectRefusals(requests: Readonly<Record<string, () => ReturnType<typeof send>>>): Promise<void> {
  const before = await readTables();
  for (const [name, request] of Object.entries(requests)) {
    const { status, json, text } = await request();
    expect(`${name}: ${status} ${text.slice(0, 300)}`).toMatch(/: 4\d\d /);
    expect(json['error'], name).toEqual({
      message: expect.stringMatching(/./),
      type: expect.any(String),
      code: expect.any(String),
      param: expect.toSatisfy((param) => param === null || typeof param === 'string'),
    });
    expect(text.length, name).toBeLessThan(3_000);
  }
  expect(await readTables()).toEqual(before);
}

const HOSTILE_IDS = [
  ...['none', 'constructor', '__proto__', 'toString', '%00', '%E2%80%AE', '..%2Fprojects', 'a%23b', 'a$'],
  ...['a'.repeat(600), '%F0%9F%92%A9'.repeat(300)],
];

describe('bad input of the administration API', () => {
  it.each(POST_ROUTES)('%s refuses a body that is no JSON object', async (route) => {
    const texts = ['{', 'null', '[]', '[{}]', '"text"', '1', 'true', '{"a":1}}', '\u0000', `"${'x'.repeat(100_000)}"`];
    await expectRefusals(Object.fromEntries(texts.map((text) => [text.slice(0, 20), () => send(route, text, own)])));
  });

  it.each(POST_ROUTES)('%s refuses unknown fields, whatever their names', async (route) => {
    const valid = JSON.stringify(createBody(route)).slice(1, -1);
    const withField = (field: string) => send(route, `{${valid}${valid === '' ? '' : ','}${field}}`, own);
    const fields = [
      '"nonsense":1',
      '"constructor":{"a":1}',
      '"__proto__":{"admin":true}',
      '"toString":[]',
      '"":{}',
      `"${'x'.repeat(100_000)}":1`,
    ];
    const huge = `"nonsense":"${'x'.repeat(1_000_000)}"`;
    await expectRefusals(
      Object.fromEntries([...fields, huge].map((field) => [field.slice(0, 30), () => withField(field)])),
    );
  });

  it.each(POST_ROUTES)('%s refuses fields of another type', async (route) => {
    const valid = createBody(route);
    const wrong = [0.5, -1, true, { constructor: [1] }, [[]], [null], 'x'.repeat(100_000)];
    const isSameType = (one: unknown, other: unknown) =>
      typeof one === typeof other && Array.isArray(one) === Array.isArray(other);
    const cases = Object.keys(valid).flatMap((field) =>
      wrong
        .filter((value) => typeof value === 'string' || !isSameType(value, valid[field]) || Array.isArray(value))
        .filter((value) => !(typeof value === 'number' && typeof valid[field] === 'number' && value > 0.5))
        .map((value): [string, () => ReturnType<typeof send>] => [
          `${field}=${JSON.stringify(value).slice(0, 20)}`,
          () => send(route, { ...valid, [field]: value }, own),
        ]),
    );
    await expectRefusals(Object.fromEntries(cases));
  });

  it('a federation rule refuses names that are neither of scopes nor of roles that it may have', async () => {
    const route = 'POST /v1/organization/workload_identity_providers/{provider}/federation_rules';
    const names = [...HOSTILE_IDS, '', ' ', 'EMBEDDINGS', 'role_', foreign['role'] ?? '', 'x'.repeat(100_000)];
    const cases = names.map((name): [string, () => ReturnType<typeof send>] => [
      name.slice(0, 30),
      () =>
        send(route, { ...createBody(route), permissions: { type: 'restricted', scopes: ['embeddings', name] } }, own),
    ]);
    await expectRefusals(Object.fromEntries(cases));
  });

  it('a body of 11 MB is refused', async () => {
    await expectRefusals({
      huge: () => send('POST /v1/organization/projects', { name: 'x'.repeat(11_000_000) }),
    });
  });

  it.each(ROUTES.filter((route) => listParameters(route).length > 0))('%s refuses unknown ids', async (route) => {
    const cases = listParameters(route).flatMap((parameter) =>
      HOSTILE_IDS.map((id): [string, () => ReturnType<typeof send>] => [
        `${parameter}=${id.slice(0, 30)}`,
        () =>
          send(route, createBody(route), {
            ...own,
            adminKey: own['adminKey'] ?? '',
            [parameter]: id,
            ...(parameter === 'key' ? { adminKey: id } : {}),
          }),
      ]),
    );
    await expectRefusals(Object.fromEntries(cases));
  });

  it.each(ROUTES.filter((route) => /\{(project|provider)\}.*\{/.test(route) && !/rate_limits/.test(route)))(
    '%s refuses ids of another project or provider',
    async (route) => {
      const [, ...inner] = listParameters(route);
      // A predefined role is everywhere; users and groups are in the organization, but not in the project.
      const cases = inner.map((parameter): [string, () => ReturnType<typeof send>] => [
        parameter,
        () => send(route, createBody(route), { ...own, [parameter]: foreign[parameter] ?? 'none' }),
      ]);
      await expectRefusals(Object.fromEntries(cases));
    },
  );

  // Users and groups can leave an archived project.
  const leaving = /^DELETE .*\{project\}\/(users|groups)\/\{\w+\}$/;
  const changing = ROUTES.filter((route) => /^(POST|DELETE) .*\{project\}/.test(route) && !route.endsWith('/archive'));
  it.each(changing.filter((route) => !leaving.test(route)))('%s refuses an archived project', async (route) => {
    await expectRefusals({ archived: () => send(route, createBody(route), archived) });
  });

  it.each(ROUTES.filter((route) => route.startsWith('GET ')))('%s refuses an invalid query', async (route) => {
    const { json } = await send(route, undefined, own);
    const isList = Array.isArray(json['data']) && json['object'] === 'list';
    const { least = 1, most = 100 } = QUERIES[route]?.sizes ?? {};
    const sizes = [`limit=${least - 1}`, `limit=${most + 1}`, 'limit=x', 'limit=-1', 'limit=1.5', 'limit=constructor'];
    const queries = isList ? sizes : [];
    if (isList && !route.includes('audit_logs'))
      queries.push('order=up', 'order=constructor', `after=${'a'.repeat(600)}`, `before=${'a'.repeat(600)}`);
    if (route.includes('{certificate}'))
      queries.push('include=x', 'include=constructor', 'include[]=content&include[]=x');
    if (/usage|costs/.test(route))
      queries.push(
        'start_time=x',
        'start_time=1&limit=x',
        'start_time=1&bucket_width=constructor',
        'start_time=1&page=x',
        'start_time=2&end_time=2',
      );
    await expectRefusals(
      Object.fromEntries(queries.map((query) => [query.slice(0, 40), () => send(`${route}?${query}`, undefined, own)])),
    );
  });

  it.each(ROUTES)('%s refuses unknown query parameters, whatever their names', async (route) => {
    // The event's parser drops the names `constructor`, `prototype` and `__proto__`.
    const names = ['nonsense', 'toString', 'limits', 'limit[gt]', 'x'.repeat(2_000), '%00'];
    await expectRefusals(
      Object.fromEntries(
        names.map((name) => [name.slice(0, 20), () => send(`${route}?${name}=1`, createBody(route), own)]),
      ),
    );
    const { json } = await send(`${route}?nonsense=1`, createBody(route), own);
    const isRefusing = Object.hasOwn(createUnsupportedRoutes(), route);
    if (!isRefusing) expect(json['error']).toMatchObject({ code: 'unknown_parameter', param: 'nonsense' });
  });

  const lists = Object.entries(QUERIES).flatMap(([route, { sizes }]) =>
    sizes === undefined ? [] : [{ route, ...sizes }],
  );
  it.each(lists)('$route has from $least to $most objects on a page', async ({ route, least, most }) => {
    for (const limit of [least, most]) {
      const { status, json } = await send(`${route}?limit=${limit}`, undefined, own);
      expect(status).toBe(200);
      expect((json['data'] as unknown[]).length).toBeLessThanOrEqual(limit);
    }
  });
});
