import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hasKeyForm } from '../../shared/access/api-key.ts';
import { createTenantKeyTable } from '../../shared/vault/key-table.ts';
import { type OidcIssuer, startOidcIssuer } from '../upstreams/oidc-issuer.ts';
import { waitUntil } from '../wait.ts';
import { type Service, startService } from './service.ts';

const TYPE = 'urn:ietf:params:oauth:token-type:';
const GRANT = 'urn:ietf:params:oauth:grant-type:token-exchange';

let service: Service;
let issuer: OidcIssuer;
let providerId: string;
let ruleId: string;
let accountId: string;
let admin: OpenAI['admin']['organization'];
beforeAll(async () => {
  service = await startService();
  issuer = await startOidcIssuer();
  const client = new OpenAI({ baseURL: service.cloud.url, adminAPIKey: 'sk-admin-local', apiKey: '', maxRetries: 0 });
  admin = client.admin.organization;
  const project = await admin.projects.create({ name: 'Website' });
  const account = await admin.projects.serviceAccounts.create(project.id, { name: 'backend' });
  const origin = { issuer: issuer.url, audience: 'lambent' };
  const provider = await admin.workloadIdentityProviders.create({ type: 'oidc', name: 'CI', ...origin });
  const rule = await admin.workloadIdentityProviders.federationRules.create(provider.id, {
    attribute_matchers: { team: 'search' },
    project_id: project.id,
    service_account_id: account.id,
  });
  [providerId, ruleId, accountId] = [provider.id, rule.id, account.id];
});
afterAll(async () => {
  await issuer[Symbol.asyncDispose]();
  await service[Symbol.asyncDispose]();
});

const sign = (claims = {}) => issuer.sign({ sub: 'a', aud: 'lambent', team: 'search', ...claims });
const isRefused = (request: Promise<unknown>): Promise<boolean> =>
  request.then(
    () => false,
    (error: { status?: number }) => error.status === 401,
  );

/** Posts to the token endpoint. */
async function exchange(fields: Record<string, string>, asForm = false) {
  const response = await fetch(`${service.cloud.url}/oauth/token`, {
    method: 'POST',
    headers: { 'content-type': asForm ? 'application/x-www-form-urlencoded' : 'application/json' },
    body: asForm ? new URLSearchParams(fields).toString() : JSON.stringify(fields),
  });
  return {
    status: response.status,
    headers: response.headers,
    body: (await response.json()) as Record<string, string>,
  };
}
const request = async (changes = {}) => ({
  grant_type: GRANT,
  subject_token: await sign(),
  subject_token_type: `${TYPE}jwt`,
  ...changes,
});

it("the official client exchanges a token by itself, with a fetch that knows the stage's endpoint", async () => {
  const { url } = service.cloud;
  const client = new OpenAI({
    baseURL: url,
    maxRetries: 0,
    workloadIdentity: {
      identityProviderId: providerId,
      serviceAccountId: accountId,
      provider: { tokenType: 'jwt', getToken: () => sign() },
    },
    fetch: (input, init) =>
      fetch(String(input) === 'https://auth.openai.com/oauth/token' ? `${url}/oauth/token` : input, init),
  });
  expect((await client.models.list()).data.length).toBeGreaterThan(0);
});

it.each([true, false])(
  'a token is exchanged for an access token with some of its scopes (as a form: %s)',
  async (asForm) => {
    const { status, headers, body } = await exchange(await request({ scope: 'models.read' }), asForm);
    expect(body).toEqual({
      access_token: expect.stringMatching(/^sk-token-/),
      issued_token_type: `${TYPE}access_token`,
      token_type: 'Bearer',
      expires_in: 3_600,
      scope: 'models.read',
    });
    expect([status, headers.get('cache-control')]).toEqual([200, 'no-store']);
    // A deployed stage refuses keys of any other form without a read.
    expect(hasKeyForm(body['access_token'] ?? '')).toBe(true);
    const client = new OpenAI({ baseURL: service.cloud.url, apiKey: body['access_token'] ?? '', maxRetries: 0 });
    await client.models.list();
    await expect(client.conversations.create({})).rejects.toMatchObject({ status: 403 });
    expect(service.logs.some((line) => line.includes(body['access_token'] ?? ''))).toBe(false);
  },
);

it.each<[string, object, string]>([
  ['another grant', { grant_type: 'client_credentials' }, 'unsupported_grant_type'],
  ['no grant', { grant_type: undefined }, 'invalid_request'],
  ['no token', { subject_token: undefined }, 'invalid_request'],
  ['a key instead of a token', { subject_token: 'sk-local' }, 'invalid_request'],
  ['a token of another type', { subject_token_type: `${TYPE}saml2` }, 'invalid_request'],
  ['a scope that its rule lacks', { scope: 'models.read admin.keys.write' }, 'invalid_scope'],
  ['another provider', { identity_provider_id: 'idp_other' }, 'invalid_request'],
  ['another service account', { service_account_id: 'svc_acct_other' }, 'invalid_request'],
  ['an actor', { actor_token: 'x' }, 'invalid_request'],
])('a request with %s is refused', async (_, changes, error) => {
  const { status, body } = await exchange(await request(changes));
  expect([status, body]).toEqual([400, { error, error_description: expect.any(String) }]);
});

it('a token that meets no rule, or has expired, is not exchanged', async () => {
  for (const claims of [{ team: 'sales' }, { exp: 1_000_000 }, { aud: 'other' }]) {
    const { status, body } = await exchange(await request({ subject_token: await sign(claims) }));
    expect([status, body['error']]).toEqual([400, 'invalid_request']);
  }
});

describe('a token is not exchanged', () => {
  const post = (path: string) =>
    fetch(`${service.cloud.url}/organization/projects/${path}`, {
      method: 'POST',
      headers: { authorization: 'Bearer sk-admin-local' },
    });
  const eraseTenant = async (project: string) => {
    const { cloud } = service;
    const endpoint = cloud.endpoints['AWS_ENDPOINT_URL_DYNAMODB'] ?? '';
    const client = new DynamoDBClient({ region: 'eu-west-1', credentials: cloud.credentials, endpoint });
    const tenantKeys = createTenantKeyTable(client, cloud.resources['KEYS_TABLE'] ?? '');
    await tenantKeys.markErased({ tenant: project, deletedAt: Date.now() });
    client.destroy();
  };
  it.each<[string, (project: string, account: string) => Promise<unknown>, string]>([
    ['an archived project', (project) => admin.projects.archive(project), 'the project is archived'],
    ['an erased tenant', eraseTenant, 'the tenant was erased'],
    [
      'a held service account',
      (project, account) => post(`${project}/key_holds/${account}`),
      'the service account is held',
    ],
  ])('for %s', async (_, change, reason) => {
    const project = await admin.projects.create({ name: 'Shop' });
    const account = await admin.projects.serviceAccounts.create(project.id, { name: 'backend' });
    await admin.workloadIdentityProviders.federationRules.create(providerId, {
      attribute_matchers: { team: project.id },
      project_id: project.id,
      service_account_id: account.id,
    });
    const token = async () => request({ subject_token: await sign({ team: project.id }) });
    expect((await exchange(await token())).status).toBe(200);
    await change(project.id, account.id);
    expect(await exchange(await token())).toMatchObject({
      status: 400,
      body: { error: 'invalid_request', error_description: `subject_token is refused: ${reason}.` },
    });
  });
});

it('a form with a field that occurs twice is refused', async () => {
  const form = new URLSearchParams(await request());
  form.append('scope', 'generate');
  form.append('scope', 'models.read');
  const body = form.toString();
  const headers = { 'content-type': 'application/x-www-form-urlencoded' };
  const response = await fetch(`${service.cloud.url}/oauth/token`, { method: 'POST', headers, body });
  expect([response.status, await response.json()]).toMatchObject([400, { error: 'invalid_request' }]);
});

describe('an access token of a rule that names a custom role', () => {
  /** Creates a rule that names a new role. Returns both, and the project. */
  async function nameRole(permissions: string[]) {
    const project = await admin.projects.create({ name: 'Shop' });
    const project_id = project.id;
    const account = await admin.projects.serviceAccounts.create(project_id, { name: 'backend' });
    const role = await admin.projects.roles.create(project_id, { role_name: 'caller', permissions });
    await admin.workloadIdentityProviders.federationRules.create(providerId, {
      attribute_matchers: { team: project_id },
      project_id,
      service_account_id: account.id,
      permissions: { type: 'restricted', scopes: [role.id] },
    });
    const exchangeAgain = async () => exchange(await request({ subject_token: await sign({ team: project_id }) }));
    return { role, project_id, exchange: exchangeAgain };
  }

  it('loses the scopes that the role loses, and gets no others until it is exchanged again', async () => {
    const { role, project_id, exchange } = await nameRole(['models.read', 'conversations.write']);
    /** Connects with a new access token, which the gateway caches with its first request. */
    const connect = async (scope: string) => {
      const { body } = await exchange();
      expect(body['scope']).toBe(scope);
      return new OpenAI({ baseURL: service.cloud.url, apiKey: body['access_token'] ?? '', maxRetries: 0 });
    };
    const issued = await connect('models.read conversations.write');
    const unused = await connect('models.read conversations.write');

    const { roles } = admin.projects;
    await roles.update(role.id, { project_id, permissions: ['conversations.write', 'conversations.read'] });
    const { id } = await issued.conversations.create({});
    await expect(issued.models.list()).rejects.toMatchObject({ status: 403 });
    await expect(issued.conversations.retrieve(id)).rejects.toMatchObject({ status: 403 });
    const renewed = await connect('conversations.read conversations.write');
    expect(await renewed.conversations.retrieve(id)).toMatchObject({ id });

    await roles.delete(role.id, { project_id });
    expect(await isRefused(unused.conversations.create({}))).toBe(true);
    expect(await exchange()).toMatchObject({
      status: 400,
      body: { error: 'invalid_request', error_description: 'subject_token is refused: its rules grant no scope.' },
    });
  });

  it('has only the scopes that the environment of the project permits at that time', async () => {
    const { project_id, exchange } = await nameRole(['models.read', 'generate']);
    expect((await exchange()).body['scope']).toBe('generate models.read');
    await admin.projects.update(project_id, { environment: 'sandbox' } as object);
    expect((await exchange()).body['scope']).toBe('models.read');
    await admin.projects.update(project_id, { environment: 'production' } as object);
    expect((await exchange()).body['scope']).toBe('generate models.read');
  });
});

it('an access token is refused a minute after its rule was deleted', async () => {
  const { body } = await exchange(await request());
  const client = new OpenAI({ baseURL: service.cloud.url, apiKey: body['access_token'] ?? '', maxRetries: 0 });
  await client.models.list();
  const path = { workload_identity_provider_id: providerId };
  await admin.workloadIdentityProviders.federationRules.delete(ruleId, path);
  await waitUntil('the access token is refused', () => isRefused(client.models.list()));
});
