import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type OidcIssuer, startOidcIssuer } from '../upstreams/oidc-issuer.ts';
import { stayWithin } from '../wait.ts';
import { type Administrator, createAdministrator } from './administrator.ts';
import { type Service, startService } from './service.ts';

let service: Service;
let issuer: OidcIssuer;
let administrator: Administrator;
let project: string;
let providerId: string;
beforeAll(async () => {
  service = await startService();
  issuer = await startOidcIssuer();
  administrator = createAdministrator(service);
  const { organization } = administrator;
  ({ id: project } = await organization.projects.create({ name: 'Website' }));
  const origin = { issuer: issuer.url, audience: 'lambent' };
  ({ id: providerId } = await organization.workloadIdentityProviders.create({ type: 'oidc', name: 'CI', ...origin }));
});
afterAll(async () => {
  await issuer[Symbol.asyncDispose]();
  await service[Symbol.asyncDispose]();
});

/** A caller with tokens. */
interface TokenCaller {
  /** The path of its policy, below `/v1/organization/`. */
  readonly path: string;
  /** Returns a token that was not sent before. */
  sign(): Promise<string>;
}

async function createServiceAccount(): Promise<TokenCaller> {
  const { organization } = administrator;
  const account = await organization.projects.serviceAccounts.create(project, { name: 'ci' });
  await organization.workloadIdentityProviders.federationRules.create(providerId, {
    attribute_matchers: { sub: account.id },
    project_id: project,
    service_account_id: account.id,
  });
  return {
    path: `projects/${project}/service_accounts/${account.id}/policy`,
    sign: () => issuer.sign({ sub: account.id, aud: 'lambent', jti: crypto.randomUUID() }),
  };
}

async function createExchangingAccount(): Promise<TokenCaller> {
  const { path, sign } = await createServiceAccount();
  return {
    path,
    async sign() {
      const response = await fetch(`${service.cloud.url}/oauth/token`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({
          grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
          subject_token: await sign(),
          subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
        }),
      });
      return String(((await response.json()) as Record<string, unknown>)['access_token']);
    },
  };
}

async function createUser(): Promise<TokenCaller> {
  const email = `${crypto.randomUUID()}@example.com`;
  const created = await send('POST', 'users', { email, identity_provider_id: providerId });
  await administrator.organization.projects.users.create(project, {
    user_id: String(created.json['id']),
    role: 'member',
  });
  return {
    path: `users/${created.json['id']}/policy`,
    sign: () => issuer.sign({ sub: 'u', aud: 'lambent', jti: crypto.randomUUID(), email, email_verified: true }),
  };
}

async function send(method: string, path: string, body?: object) {
  const response = await fetch(`${service.cloud.url}/organization/${path}`, {
    method,
    headers: { authorization: 'Bearer sk-admin-local', 'content-type': 'application/json' },
    ...(body && { body: JSON.stringify(body) }),
  });
  const json: Record<string, unknown> = JSON.parse(await response.text());
  return { status: response.status, json };
}

/** Calls a model, and returns the status and the error. */
async function call(caller: TokenCaller, model = 'compatible') {
  const client = new OpenAI({ baseURL: service.cloud.url, apiKey: await caller.sign(), maxRetries: 0 });
  return client.chat.completions.create({ model, messages: [{ role: 'user', content: 'Hello' }] }).then(
    () => ({ status: 200, code: undefined, message: '' }),
    ({ status, code, message }: { status: number; code?: string; message: string }) => ({ status, code, message }),
  );
}

const CALLERS: [string, () => Promise<TokenCaller>][] = [
  ['a service account', createServiceAccount],
  ['a service account, exchanged for access tokens,', createExchangingAccount],
  ['a user', createUser],
];

describe.each(CALLERS)('the policy for tokens of %s', (_, create) => {
  it('limits requests, models and addresses until it is removed', async () => {
    await stayWithin('day');
    const caller = await create();
    expect((await call(caller)).status).toBe(200);

    const limits = { requestsPerDay: 1 };
    expect(await send('POST', caller.path, { limits })).toMatchObject({ status: 200, json: { limits } });
    expect((await call(caller)).status).toBe(200);
    expect(await call(caller)).toMatchObject({
      status: 429,
      message: expect.stringContaining('requestsPerDay of this key: limit 1'),
    });

    await send('POST', caller.path, { limits: null, models: { mode: 'allow', models: ['lean'] } });
    expect((await call(caller, 'lean')).status).toBe(200);
    expect(await call(caller)).toMatchObject({ status: 404, code: 'model_not_found' });

    await send('POST', caller.path, { models: null, ipRanges: ['192.0.2.0/24'] });
    expect(await send('GET', caller.path)).toEqual({
      status: 200,
      json: { object: expect.stringMatching(/\.policy$/), ipRanges: ['192.0.2.0/24'] },
    });
    expect(await call(caller)).toMatchObject({ status: 401, code: 'ip_not_authorized' });

    expect((await send('POST', caller.path, { ipRanges: null })).json).toEqual({
      object: expect.stringMatching(/\.policy$/),
    });
    expect((await call(caller)).status).toBe(200);
  });

  it('is refused with sections that keys lack', async () => {
    const { path } = await create();
    for (const sections of [{ readOnly: true }, { abuse: {} }, { limits: { storedItems: 1 } }, { unknown: 1 }])
      expect((await send('POST', path, sections)).status).toBe(400);
    expect((await send('GET', path)).json).toEqual({ object: expect.any(String) });
  });
});

it('the policy of a service account is not that of its keys, and ends with the account', async () => {
  const { path } = await createServiceAccount();
  const account = path.split('/')[3] ?? '';
  await send('POST', path, { ipRanges: ['192.0.2.0/24'] });
  const { json } = await send('POST', `projects/${project}/service_accounts/${account}/api_keys`, {});
  const client = new OpenAI({ baseURL: service.cloud.url, apiKey: String(json['value']), maxRetries: 0 });
  expect((await client.models.list()).data.length).toBeGreaterThan(0);
  await administrator.organization.projects.serviceAccounts.delete(account, { project_id: project });
  for (const method of ['GET', 'POST'])
    expect((await send(method, path, method === 'GET' ? undefined : {})).status).toBe(404);
});
