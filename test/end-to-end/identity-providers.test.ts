import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type OidcIssuer, startOidcIssuer } from '../upstreams/oidc-issuer.ts';
import { type Service, startService } from './service.ts';

let service: Service;
let issuer: OidcIssuer;
let admin: OpenAI['admin']['organization'];
let providers: OpenAI['admin']['organization']['workloadIdentityProviders'];
beforeAll(async () => {
  service = await startService();
  issuer = await startOidcIssuer();
  const client = new OpenAI({ baseURL: service.cloud.url, adminAPIKey: 'sk-admin-local', apiKey: '', maxRetries: 0 });
  admin = client.admin.organization;
  providers = admin.workloadIdentityProviders;
});
afterAll(async () => {
  await issuer[Symbol.asyncDispose]();
  await service[Symbol.asyncDispose]();
});

const create = (audience: string, changes = {}) =>
  providers.create({ type: 'oidc', name: audience, issuer: issuer.url, audience, ...changes });

async function createAccount() {
  const project = await admin.projects.create({ name: 'Website' });
  const account = await admin.projects.serviceAccounts.create(project.id, {
    name: 'backend',
    create_service_account_only: true,
  });
  return { project_id: project.id, service_account_id: account.id };
}

const RESTRICTED = { type: 'restricted' as const, scopes: ['generate', 'models.read'] };

/** Returns the status with which a token for an audience is answered that has not been sent before. */
async function callWithToken(audience: string, claims: Record<string, unknown>): Promise<number> {
  const token = await issuer.sign({ sub: 'a', aud: audience, jti: crypto.randomUUID(), ...claims });
  const client = new OpenAI({ baseURL: service.cloud.url, apiKey: token, maxRetries: 0 });
  return client.models.list().then(
    () => 200,
    (error: { status: number }) => error.status,
  );
}

describe('workload identity providers', () => {
  it('a provider is created, read, changed, listed and deleted', async () => {
    const created = await create('crud', { description: 'CI' });
    expect(created).toMatchObject({
      object: 'organization.workload_identity_provider',
      type: 'oidc',
      name: 'crud',
      description: 'CI',
      enabled: true,
      issuer: issuer.url,
      audience: 'crud',
      attribute_transformations: [],
      verification: { type: 'discovery', discovery_url: null },
    });
    expect(await providers.retrieve(created.id)).toEqual(created);
    const changed = await providers.update(created.id, { name: 'renamed', description: null });
    expect(changed).toEqual({ ...created, name: 'renamed', description: null, updated_at: changed.updated_at });
    const listed = [];
    for await (const provider of providers.list({ limit: 1 })) listed.push(provider.id);
    expect(listed).toContain(created.id);
    expect(await providers.delete(created.id)).toEqual({
      id: created.id,
      object: 'organization.workload_identity_provider.deleted',
      deleted: true,
    });
    await expect(providers.retrieve(created.id)).rejects.toMatchObject({ status: 404 });
  });

  it.each([
    ['issuer', { issuer: 'http://issuer.example.com' }],
    ['issuer', { issuer: 'issuer.example.com' }],
    ['issuer', { issuer: 'https://10.0.0.1/' }],
    ['issuer', { issuer: 'https://localhost:3912' }],
    [
      'verification.discovery_url',
      { verification: { type: 'discovery', discovery_url: 'https://169.254.169.254/latest' } },
    ],
    ['issuer', { issuer: 'https://user@issuer.example.com' }],
    ['verification.discovery_url', { verification: { type: 'discovery', discovery_url: 'http://169.254.169.254/' } }],
    ['verification.jwks', { verification: { type: 'uploaded_jwks', jwks: {} } }],
    ['verification.jwks', { verification: { type: 'uploaded_jwks', jwks: { keys: [{ kty: 'oct', k: 'AAAA' }] } } }],
    [
      'verification.jwks',
      { verification: { type: 'uploaded_jwks', jwks: { keys: [{ kty: 'RSA', n: '', e: 'AQAB' }] } } },
    ],
    ['verification.jwks', { verification: { type: 'uploaded_jwks', jwks: { keys: [{ kty: 'OKP', d: 'x' }] } } }],
    ['attribute_transformations[0].expression', transform('"a" + assertion.sub')],
    ['attribute_transformations[0].expression', transform('assertion')],
    ['attribute_transformations[0].expression', transform("assertion['unclosed")],
    ['attribute_transformations[0].attribute', transform('assertion.sub', '__proto__')],
    ['type', { type: 'saml' }],
    ['audience', { audience: '' }],
    ['enable', { enable: false }],
  ])('a provider with an invalid %s is refused', async (param, changes) => {
    await expect(create('invalid', changes)).rejects.toMatchObject({ status: 400, param });
  });

  it('two providers can not have the same issuer and audience', async () => {
    await create('taken');
    await expect(create('taken')).rejects.toMatchObject({ status: 400, param: 'issuer' });
    const other = await create('free');
    await expect(providers.update(other.id, { audience: 'taken' })).rejects.toMatchObject({ status: 400 });
    expect(await providers.retrieve(other.id)).toMatchObject({ audience: 'free' });
  });

  it('a provider keeps its rules when its audience changes, and accepts tokens for the new one only', async () => {
    const provider = await create('old');
    const target = await createAccount();
    const matchers = { attribute_matchers: { team: 'search' }, permissions: RESTRICTED };
    await providers.federationRules.create(provider.id, { ...matchers, ...target });
    expect(await callWithToken('old', { team: 'search' })).toBe(200);
    await providers.update(provider.id, { audience: 'new' });
    expect(await callWithToken('old', { team: 'search' })).toBe(401);
    expect(await callWithToken('new', { team: 'search' })).toBe(200);
    await providers.update(provider.id, { enabled: false });
    expect(await callWithToken('new', { team: 'search' })).toBe(401);
    await providers.update(provider.id, { enabled: true });
    expect(await callWithToken('new', { team: 'search' })).toBe(200);
  });
});

function transform(expression: string, attribute = 'group') {
  return { attribute_transformations: [{ attribute, expression }] };
}

describe('federation rules', () => {
  it('a rule is created, read, changed, listed and deleted, and applies at once', async () => {
    const provider = await create('rules');
    const target = await createAccount();
    const { federationRules } = providers;
    const path = { workload_identity_provider_id: provider.id };
    const created = await federationRules.create(provider.id, {
      ...target,
      attribute_matchers: { team: 'search', level: 3, admin: true },
      name: 'search',
      permissions: RESTRICTED,
    });
    expect(created).toMatchObject({
      object: 'organization.workload_identity_federation_rule',
      ...path,
      ...target,
      name: 'search',
      description: null,
      enabled: true,
      attribute_matchers: { team: 'search', level: 3, admin: true },
      permissions: RESTRICTED,
    });
    const claims = { team: 'search', level: 3, admin: true };
    expect(await callWithToken('rules', claims)).toBe(200);
    expect(await federationRules.retrieve(created.id, path)).toEqual(created);
    const changed = await federationRules.update(created.id, { ...path, attribute_matchers: { team: 'sales' } });
    expect(changed).toMatchObject({ attribute_matchers: { team: 'sales' }, permissions: RESTRICTED });
    expect(await callWithToken('rules', claims)).toBe(401);
    expect(await callWithToken('rules', { team: 'sales' })).toBe(200);
    await federationRules.update(created.id, { ...path, enabled: false });
    expect(await callWithToken('rules', { team: 'sales' })).toBe(401);
    const listed = [];
    const query = { service_account_id: target.service_account_id };
    for await (const rule of federationRules.list(provider.id, query)) listed.push(rule.id);
    expect(listed).toEqual([created.id]);
    await expect(providers.delete(provider.id)).rejects.toMatchObject({ status: 400 });
    expect(await federationRules.delete(created.id, path)).toMatchObject({ id: created.id, deleted: true });
    await expect(federationRules.retrieve(created.id, path)).rejects.toMatchObject({ status: 404 });
    await providers.delete(provider.id);
  });

  it('a rule of another provider is not found', async () => {
    const [one, other] = [await create('one'), await create('other')];
    const rule = await providers.federationRules.create(one.id, {
      ...(await createAccount()),
      attribute_matchers: { team: 'search' },
      permissions: RESTRICTED,
    });
    const path = { workload_identity_provider_id: other.id };
    await expect(providers.federationRules.retrieve(rule.id, path)).rejects.toMatchObject({ status: 404 });
    await expect(providers.federationRules.delete(rule.id, path)).rejects.toMatchObject({ status: 404 });
  });

  it('a rule that would admit every token of its provider, or more than its account may do, is refused', async () => {
    const provider = await create('refused');
    const target = await createAccount();
    const refuse = async (param: string, changes: object) => {
      const body = { ...target, attribute_matchers: { team: 'search' }, permissions: RESTRICTED, ...changes };
      await expect(providers.federationRules.create(provider.id, body)).rejects.toMatchObject({ status: 400, param });
    };
    await refuse('attribute_matchers', { attribute_matchers: {} });
    await refuse('attribute_matchers', { attribute_matchers: { iss: issuer.url, aud: 'refused' } });
    await refuse('attribute_matchers.team', { attribute_matchers: { team: ['search'] } });
    await refuse('attribute_matchers.constructor', { attribute_matchers: { constructor: 'x', team: 'search' } });
    await refuse('permissions.scopes', { permissions: { type: 'restricted', scopes: [] } });
    await refuse('permissions.scopes[0]', { permissions: { type: 'restricted', scopes: ['admin.keys.write'] } });
    // The account was created without a role.
    await refuse('permissions', { permissions: { type: 'service_account_default' } });
    const unknown = { ...target, service_account_id: 'none', attribute_matchers: { team: 'search' } };
    await expect(providers.federationRules.create(provider.id, unknown)).rejects.toMatchObject({ status: 404 });
  });

  it('a rule names roles by their ids or names, and keeps the ids', async () => {
    const provider = await create('named');
    const target = await createAccount();
    const own = await admin.projects.roles.create(target.project_id, { role_name: 'own', permissions: ['embeddings'] });
    const { id } = await admin.roles.create({ role_name: 'shared', permissions: ['models.read'] });
    const rule = await providers.federationRules.create(provider.id, {
      ...target,
      attribute_matchers: { team: 'search' },
      permissions: {
        type: 'restricted',
        scopes: ['own', 'shared', own.id, 'generate', 'role_sandbox', 'api.all.read'],
      },
    });
    const scopes = [own.id, id, 'generate', 'sandbox', 'api.all.read'];
    expect(rule.permissions).toEqual({ type: 'restricted', scopes });
    await admin.roles.update(id, { role_name: 'renamed' });
    await admin.roles.create({ role_name: 'shared', permissions: ['generate'] });
    const path = { workload_identity_provider_id: provider.id };
    expect((await providers.federationRules.retrieve(rule.id, path)).permissions).toEqual({
      type: 'restricted',
      scopes,
    });
  });

  it('a rule that names an unknown role, or one of another project, is refused, and so is an ambiguous name', async () => {
    const provider = await create('misnamed');
    const [target, other] = [await createAccount(), await createAccount()];
    const createRole = (project: string, role_name: string, permissions = ['generate']) =>
      admin.projects.roles.create(project, { role_name, permissions });
    const foreign = await createRole(other.project_id, 'foreign');
    const twins = [
      await createRole(target.project_id, 'twin'),
      await admin.roles.create({ role_name: 'twin', permissions: ['generate'] }),
    ];
    // A scope is what its name says, whatever a role with this name permits.
    await createRole(target.project_id, 'admin.keys.write');
    const refuse = async (names: string[], index: number, message: string) => {
      const permissions = { type: 'restricted' as const, scopes: names };
      const body = { ...target, attribute_matchers: { team: 'search' }, permissions };
      await expect(providers.federationRules.create(provider.id, body)).rejects.toMatchObject({
        status: 400,
        code: 'invalid_value',
        param: index < 0 ? 'permissions.scopes' : `permissions.scopes[${index}]`,
        message: expect.stringContaining(message),
      });
    };
    const unknown =
      'is neither a scope nor a role of the organization or of the project. Scopes and sets of scopes are: ';
    await refuse(['generate', 'fly'], 1, `'fly' ${unknown}generate, `);
    await refuse([foreign.id], 0, unknown);
    await refuse(['foreign'], 0, unknown);
    await refuse(['role_none'], 0, unknown);
    await refuse(['models.read', 'twin'], 1, `Use the id of one: ${twins.map(({ id }) => id).join(', ')}.`);
    await refuse(['admin.keys.write'], 0, "has no scope that the rule's project permits");
    const many = [];
    for (let count = 0; count <= 20; count += 1) many.push(await createRole(target.project_id, `role ${count}`));
    await refuse(
      many.map(({ id }) => id),
      -1,
      'at most 20 custom roles',
    );
    expect((await providers.federationRules.list(provider.id)).data).toEqual([]);
    await admin.projects.update(target.project_id, { environment: 'sandbox' } as object);
    await refuse([many[0]?.id ?? ''], 0, "has no scope that the rule's project permits");
  });

  it('what a role permits that rules name is changed only with the scope that changes rules', async () => {
    const provider = await create('privileged');
    const target = await createAccount();
    const role = await admin.roles.create({ role_name: 'privileged', permissions: ['models.read'] });
    const connectWith = async (...scopes: string[]) => {
      const { value } = await admin.adminAPIKeys.create({ name: 'limited', ...{ scopes } });
      const options = { baseURL: service.cloud.url, adminAPIKey: value, apiKey: '', maxRetries: 0 };
      return new OpenAI(options).admin.organization;
    };
    const [people, identity] = [await connectWith('admin.people.write'), await connectWith('admin.identity.write')];
    await people.roles.update(role.id, { permissions: ['models.read', 'embeddings'] });
    await identity.workloadIdentityProviders.federationRules.create(provider.id, {
      ...target,
      attribute_matchers: { team: 'search' },
      permissions: { type: 'restricted', scopes: [role.id] },
    });
    const refusal = {
      status: 403,
      code: 'insufficient_permissions',
      message: expect.stringContaining('`admin.identity.write`, which it needs because federation rules name the role'),
    };
    await expect(people.roles.update(role.id, { permissions: ['generate'] })).rejects.toMatchObject(refusal);
    await expect(people.roles.delete(role.id)).rejects.toMatchObject(refusal);
    expect(await people.roles.update(role.id, { role_name: 'called otherwise' })).toMatchObject({
      permissions: ['embeddings', 'models.read'],
    });
    const both = await connectWith('admin.people.write', 'admin.identity.write');
    await both.roles.update(role.id, { permissions: ['generate'] });
    await both.roles.delete(role.id);
  });

  it('a rule of a sandbox gives the scopes that a key of the sandbox could have', async () => {
    const provider = await create('sandboxed');
    const account = await createAccount();
    await admin.projects.update(account.project_id, { environment: 'sandbox' } as object);
    const rule = { ...account, name: 'CI', attribute_matchers: { team: 'a' } };
    await expect(
      providers.federationRules.create(provider.id, { ...rule, permissions: RESTRICTED }),
    ).rejects.toMatchObject({ status: 400, param: 'permissions.scopes[0]' });
    await providers.federationRules.create(provider.id, {
      ...rule,
      permissions: { type: 'restricted', scopes: ['models.read'] },
    });
    const token = await issuer.sign({ sub: 'a', aud: 'sandboxed', team: 'a', jti: crypto.randomUUID() });
    const client = new OpenAI({ baseURL: service.cloud.url, apiKey: token, maxRetries: 0 });
    expect((await client.models.list()).data).not.toEqual([]);
    await expect(client.conversations.create()).rejects.toMatchObject({ status: 403 });
  });

  it('a deleted service account takes its rules with it', async () => {
    const provider = await create('deleted');
    const target = await createAccount();
    const rule = await providers.federationRules.create(provider.id, {
      ...target,
      attribute_matchers: { team: 'search' },
      permissions: RESTRICTED,
    });
    expect(await callWithToken('deleted', { team: 'search' })).toBe(200);
    await admin.projects.serviceAccounts.delete(target.service_account_id, { project_id: target.project_id });
    expect(await callWithToken('deleted', { team: 'search' })).toBe(401);
    const path = { workload_identity_provider_id: provider.id };
    await expect(providers.federationRules.retrieve(rule.id, path)).rejects.toMatchObject({ status: 404 });
  });

  it('an archived project takes no tokens', async () => {
    const provider = await create('archived');
    const target = await createAccount();
    await providers.federationRules.create(provider.id, {
      ...target,
      attribute_matchers: { team: 'search' },
      permissions: RESTRICTED,
    });
    await admin.projects.archive(target.project_id);
    expect(await callWithToken('archived', { team: 'search' })).toBe(403);
  });
});
