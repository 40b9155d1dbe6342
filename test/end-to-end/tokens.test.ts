import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TOKEN_SHAPES } from '../shared/access/federation/token-shapes.ts';
import { type OidcIssuer, startOidcIssuer } from '../upstreams/oidc-issuer.ts';
import { waitUntil } from '../wait.ts';
import { type Service, startService } from './service.ts';

let service: Service;
let issuer: OidcIssuer;
let admin: OpenAI['admin']['organization'];
beforeAll(async () => {
  service = await startService();
  issuer = await startOidcIssuer();
  const client = new OpenAI({ baseURL: service.cloud.url, adminAPIKey: 'sk-admin-local', apiKey: '', maxRetries: 0 });
  admin = client.admin.organization;
});
afterAll(async () => {
  await issuer[Symbol.asyncDispose]();
  await service[Symbol.asyncDispose]();
});

const connect = (token: string): OpenAI => new OpenAI({ baseURL: service.cloud.url, apiKey: token, maxRetries: 0 });
const generate = (client: OpenAI) =>
  client.chat.completions.create({ model: 'compatible', messages: [{ role: 'user', content: 'Hello' }] });

const readStatus = ({ status }: { status?: number }) => status;

/** Returns whether a request is refused with status 401. */
const isRefused = (request: Promise<unknown>): Promise<boolean> =>
  request.then(
    () => false,
    (error: { status?: number }) => error.status === 401,
  );

/** Creates a project with a service account, and a provider with a rule that lets tokens act for it. */
async function federate(audience: string, matchers: Record<string, string>, own: OidcIssuer = issuer) {
  const project = await admin.projects.create({ name: audience });
  const account = await admin.projects.serviceAccounts.create(project.id, {
    name: 'backend',
    create_service_account_only: true,
  });
  const provider = await admin.workloadIdentityProviders.create({
    type: 'oidc',
    name: audience,
    issuer: own.url,
    audience,
  });
  const rule = await admin.workloadIdentityProviders.federationRules.create(provider.id, {
    attribute_matchers: matchers,
    project_id: project.id,
    service_account_id: account.id,
    permissions: { type: 'restricted', scopes: ['generate', 'models.read'] },
  });
  return { project, account, provider, rule };
}

describe.each(Object.entries(TOKEN_SHAPES))('%s', (name, { path, audience, claims, matchers, attributes = {} }) => {
  it(`${name} call models for the project of their rule`, async () => {
    await using own = await startOidcIssuer({ path });
    const { provider, project } = await federate(audience, matchers, own);
    const expressions = Object.entries(attributes).map(([attribute, steps]) => ({
      attribute,
      expression: `assertion${steps.map((step) => `['${step}']`).join('')}`,
    }));
    await admin.workloadIdentityProviders.update(provider.id, { attribute_transformations: expressions });
    const completion = await generate(connect(await own.sign(claims)));
    expect(completion.choices[0]?.message.content).not.toBe('');
    const line = service.logs.find((text) => text.includes('"token accepted"') && text.includes(project.id));
    expect(line).toContain(String(claims.sub));
    expect(line).toContain(`"requestId":"${completion._request_id}"`);
  });
});

describe('a token', () => {
  it('a token has only the scopes of its rule', async () => {
    await federate('scoped', { team: 'search' });
    const client = connect(await issuer.sign({ sub: 'a', aud: 'scoped', team: 'search' }));
    await generate(client);
    expect((await client.models.list()).data.length).toBeGreaterThan(0);
    await expect(client.conversations.create({})).rejects.toMatchObject({
      status: 403,
      code: 'insufficient_permissions',
    });
  });

  it('a token that meets no rule is refused', async () => {
    await federate('strict', { team: 'search' });
    const token = await issuer.sign({ sub: 'a', aud: 'strict', team: 'sales' });
    await expect(generate(connect(token))).rejects.toMatchObject({ status: 401 });
  });

  it('a token is refused after it has expired, though the gateway still caches it', async () => {
    await federate('short', { team: 'search' });
    // The clock's tolerance is 30 s, so 15 s are left for the first call.
    const exp = Math.floor(Date.now() / 1000) - 15;
    const client = connect(await issuer.sign({ sub: 'a', aud: 'short', team: 'search', exp }));
    await generate(client);
    await waitUntil('the token is refused', () => isRefused(client.conversations.create({})));
  });

  it('a token of an issuer that is down is an outage of the service, not an error of the caller', async () => {
    await using own = await startOidcIssuer();
    await federate('down', { team: 'search' }, own);
    own.setDown(true);
    const client = connect(await own.sign({ sub: 'a', aud: 'down', team: 'search' }));
    await expect(generate(client)).rejects.toMatchObject({ status: 500 });
  });
});

describe('revocation', () => {
  it('a deleted rule admits no token a minute later', async () => {
    const { provider, rule } = await federate('revoked', { team: 'search' });
    const client = connect(await issuer.sign({ sub: 'a', aud: 'revoked', team: 'search' }));
    await generate(client);
    await client.models.list();
    const { federationRules } = admin.workloadIdentityProviders;
    await federationRules.delete(rule.id, { workload_identity_provider_id: provider.id });
    // The scope `conversations.write` is missing, so that these get status 403 until the token is refused.
    await waitUntil('the token is refused where policies are cached', () => isRefused(client.conversations.create({})));
    await waitUntil('the token is refused elsewhere', () => isRefused(client.models.list()));
  });
});

describe('custom roles in a rule', () => {
  it('changes and deletions of the roles that a rule names reach its tokens', async () => {
    const { project, provider, rule } = await federate('roles', { team: 'search' });
    const caller = await admin.roles.create({ role_name: 'caller', permissions: ['generate'] });
    const lister = await admin.projects.roles.create(project.id, { role_name: 'lister', permissions: ['models.read'] });
    const { federationRules } = admin.workloadIdentityProviders;
    const inProvider = { workload_identity_provider_id: provider.id };
    // One by its name, the other by its id.
    const permissions = { type: 'restricted' as const, scopes: ['lister', caller.id] };
    const changed = await federationRules.update(rule.id, { ...inProvider, permissions });
    expect(changed.permissions).toEqual({ type: 'restricted', scopes: [lister.id, caller.id] });
    const connectAgain = async () =>
      connect(await issuer.sign({ sub: 'a', aud: 'roles', team: 'search', jti: crypto.randomUUID() }));
    /** Returns the statuses of a chat completion and of the list of models, with a token that the gateway may have cached. */
    const callBoth = (client: OpenAI) =>
      Promise.all([generate(client), client.models.list()].map((call) => call.then(() => 200, readStatus)));
    const callAgain = async () => callBoth(await connectAgain());
    const cached = await connectAgain();
    expect(await callBoth(cached)).toEqual([200, 200]);

    await admin.roles.update(caller.id, { permissions: ['embeddings'] });
    expect(await callAgain()).toEqual([403, 200]);
    await admin.roles.update(caller.id, { permissions: ['embeddings', 'generate'] });
    expect(await callAgain()).toEqual([200, 200]);
    await admin.roles.delete(caller.id);
    expect(await callAgain()).toEqual([403, 200]);
    const { permissions: left } = await federationRules.retrieve(rule.id, inProvider);
    expect(left).toEqual({ type: 'restricted', scopes: [lister.id] });

    await admin.projects.roles.delete(lister.id, { project_id: project.id });
    // A token still meets the rule, which grants nothing: an empty list of scopes doesn't mean all.
    expect(await callAgain()).toEqual([403, 403]);
    const { permissions: none } = await federationRules.update(rule.id, { ...inProvider, name: 'empty' });
    expect(none).toEqual({ type: 'restricted', scopes: [] });
    expect(await callAgain()).toEqual([403, 403]);
    await waitUntil('the scopes are lost where policies are cached', async () =>
      (await callBoth(cached)).every((status) => status === 403),
    );
  });
});
