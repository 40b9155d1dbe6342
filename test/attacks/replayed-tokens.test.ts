import OpenAI from 'openai';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Service, startService } from '../end-to-end/service.ts';
import { type OidcIssuer, startOidcIssuer } from '../upstreams/oidc-issuer.ts';
import { waitUntil } from '../wait.ts';

// A token may be used repeatedly until it expires: docs/security.md. These tests show where a replayed token is refused.

const TYPE = 'urn:ietf:params:oauth:token-type:';

let service: Service;
let issuer: OidcIssuer;
let admin: OpenAI['admin']['organization'];
beforeAll(async () => {
  [service, issuer] = await Promise.all([startService(), startOidcIssuer()]);
  admin = new OpenAI({ baseURL: service.cloud.url, adminAPIKey: 'sk-admin-local', apiKey: '' }).admin.organization;
});
afterAll(() => Promise.all([issuer[Symbol.asyncDispose](), service[Symbol.asyncDispose]()]));

/** Creates a project, and a provider whose tokens act for it. */
async function trust(audience: string, own: OidcIssuer = issuer) {
  const { id: project } = await admin.projects.create({ name: audience });
  const account = await admin.projects.serviceAccounts.create(project, { name: 'backend' });
  const origin = { issuer: own.url, audience };
  const provider = await admin.workloadIdentityProviders.create({ type: 'oidc', name: audience, ...origin });
  const rule = await admin.workloadIdentityProviders.federationRules.create(provider.id, {
    ...{ attribute_matchers: { team: 'search' }, project_id: project, service_account_id: account.id },
  });
  return { project, provider: provider.id, rule: rule.id };
}

const sign = (audience: string, claims = {}, own: OidcIssuer = issuer) =>
  own.sign({ sub: 'a', aud: audience, team: 'search', ...claims });

/** Calls a route with a token. Returns the status. */
async function call(token: string): Promise<number> {
  const response = await fetch(`${service.cloud.url}/models`, { headers: { authorization: `Bearer ${token}` } });
  await response.text();
  return response.status;
}

/** Exchanges a token for an access token. */
async function exchange(token: string, fields: Record<string, string> = {}) {
  const response = await fetch(`${service.cloud.url}/oauth/token`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
      ...{ subject_token: token, subject_token_type: `${TYPE}jwt`, ...fields },
    }),
  });
  const { access_token: accessToken = '', error } = (await response.json()) as Record<string, string>;
  return { status: response.status, accessToken, error };
}
const REFUSED = { status: 400, accessToken: '', error: 'invalid_request' };

it('a token for another audience is refused, and one for two providers acts for the project of its own alone', async () => {
  const [first, second] = [await trust('first'), await trust('second')];
  const other = await sign('a third service');
  expect(await call(other)).toBe(401);
  expect(await exchange(other)).toEqual(REFUSED);
  const token = await sign('first');
  expect(await call(token)).toBe(200);
  expect(await exchange(token, { identity_provider_id: second.provider })).toEqual(REFUSED);
  const tenants = service.logs.flatMap((line) => (line.includes('"token accepted"') ? [JSON.parse(line).tenant] : []));
  expect(new Set(tenants)).toEqual(new Set([first.project]));
});

it('a token of one issuer is refused by another one’s provider with the same audience', async () => {
  await using own = await startOidcIssuer();
  await trust('shared', own);
  expect(await call(await sign('shared', {}, own))).toBe(200);
  expect(await call(await sign('shared'))).toBe(401);
});

it('an access token is not exchanged for another one', async () => {
  await trust('exchanged');
  const { status, accessToken } = await exchange(await sign('exchanged'));
  expect([status, await call(accessToken)]).toEqual([200, 200]);
  for (const type of ['jwt', 'id_token', 'access_token'])
    expect(await exchange(accessToken, { subject_token_type: TYPE + type })).toEqual(REFUSED);
});

it('a token that was used before its expiry is refused after it, and its exchange too', async () => {
  await trust('short');
  // The clock's tolerance is 30 s, so 15 s are left for the first call.
  const token = await sign('short', { exp: Math.floor(Date.now() / 1000) - 15 });
  expect(await call(token)).toBe(200);
  await waitUntil('the token is refused', async () => (await call(token)) === 401);
  expect(await exchange(token)).toEqual(REFUSED);
});

it('a token and its access token are refused once their rule is deleted, and the token is not exchanged again', async () => {
  const { provider, rule } = await trust('revoked');
  const token = await sign('revoked');
  const { accessToken } = await exchange(token);
  expect([await call(token), await call(accessToken)]).toEqual([200, 200]);
  await admin.workloadIdentityProviders.federationRules.delete(rule, { workload_identity_provider_id: provider });
  await waitUntil('the token is refused', async () => (await call(token)) === 401);
  await waitUntil('the access token is refused', async () => (await call(accessToken)) === 401);
  await waitUntil('the token is not exchanged', async () => (await exchange(token)).status === 400);
});
