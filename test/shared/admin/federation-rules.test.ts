import { beforeEach, describe, expect, it } from 'vitest';
import { createIssuerFinder } from '../../../shared/access/federation/issuers.ts';
import { BUILT_IN_ROLES } from '../../../shared/access/roles.ts';
import { TENANT_SCOPES } from '../../../shared/access/scopes.ts';
import { interleave, startInterleaving } from './interleave.ts';

const PROJECT = '/v1/organization/projects/{project}';
const RULES = '/v1/organization/workload_identity_providers/{provider}/federation_rules';
const issuer = 'https://id.example.com';
const audience = 'lambent';
const project = 'acme';

let world: Awaited<ReturnType<typeof startInterleaving>>;
let provider: string;
let account: string;
beforeEach(async () => {
  world = await startInterleaving();
  const { request } = world;
  await request('POST /v1/organization/projects', {}, { name: 'Acme', id: project, environment: 'sandbox' });
  account = (await request(`POST ${PROJECT}/service_accounts`, { project }, { name: 'ci' })).id;
  const oidc = { type: 'oidc', name: 'CI', issuer, audience };
  provider = (await request('POST /v1/organization/workload_identity_providers', {}, oidc)).id;
});

async function createRule(changes: object): Promise<string> {
  const target = { project_id: project, service_account_id: account, attribute_matchers: { team: 'search' } };
  return (await world.request(`POST ${RULES}`, { provider }, { ...target, ...changes })).id;
}

/** Returns the scopes that the authorizer grants by a rule. Undefined if it doesn't apply the rule. */
async function readScopes(rule: string): Promise<readonly string[] | undefined> {
  const trust = await createIssuerFinder(world.access)(issuer, audience);
  return trust?.rules.find(({ id }) => id === rule)?.scopes;
}

const changeEnvironment = (environment: string) => world.request(`POST ${PROJECT}`, { project }, { environment });
const restrict = (...scopes: string[]) => ({ permissions: { type: 'restricted', scopes } });

describe('a rule that was created in a sandbox', () => {
  const { scopes: reading } = BUILT_IN_ROLES.sandbox;
  it.each<[string, object, readonly string[]]>([
    ['the default', {}, TENANT_SCOPES],
    ['all scopes', restrict('api.all'), TENANT_SCOPES],
    ['a role and a scope', restrict('member', 'models.read'), BUILT_IN_ROLES.member.scopes],
    ['a scope', restrict('models.read'), ['models.read']],
  ])('%s permits in each environment what it means there', async (_, changes, scopes) => {
    const rule = await createRule(changes);
    const inSandbox = reading.filter((scope) => scopes.includes(scope));
    const expectScopes = async (expected: readonly string[]) =>
      expect(new Set(await readScopes(rule))).toEqual(new Set(expected));
    await expectScopes(inSandbox);
    await changeEnvironment('production');
    await expectScopes(scopes);
    await changeEnvironment('sandbox');
    await expectScopes(inSandbox);
  });
});

describe('a change of a rule', () => {
  const few = ['models.read'];
  const some = ['models.read', 'responses.read'];
  const all = ['models.read', 'responses.read', 'conversations.read'];
  let rule: string;
  beforeEach(async () => {
    rule = await createRule(restrict(...some));
  });

  const update = (body: object) => world.request(`POST ${RULES}/{rule}`, { provider, rule }, body);

  /** Returns a list that gets what the authorizer grants by the rule after each write. */
  function observe() {
    const seen: (readonly string[] | undefined)[] = [];
    world.client.middlewareStack.add(
      (next, context) => async (args) => {
        const result = await next(args);
        if (/^(Put|Update|Delete)Item/.test(String(context['commandName']))) seen.push(await readScopes(rule));
        return result;
      },
      { step: 'initialize' },
    );
    return seen;
  }

  it.each<[string, object, readonly string[]]>([
    ['another name', { name: 'New', description: 'Newer' }, some],
    ['what is so already', { enabled: true, attribute_matchers: { team: 'search' } }, some],
    ['the same scopes in another order', restrict(...some.toReversed()), some],
    ['more scopes', restrict('sandbox'), all],
    ['all scopes', { permissions: { type: 'service_account_default' } }, all],
  ])('%s is applied without an interruption of the rule', async (_, body, after) => {
    const seen = observe();
    await update(body);
    expect(seen).toEqual([some, after]);
  });

  it.each<[string, object, readonly string[] | undefined]>([
    ['other claims', { attribute_matchers: { team: 'sales' } }, some],
    ['a further claim', { attribute_matchers: { team: 'search', ref: 'main' } }, some],
    ['fewer scopes', restrict(...few), few],
    ['other scopes', restrict('models.read', 'conversations.read'), ['models.read', 'conversations.read']],
    ['the end of the rule', { enabled: false }, undefined],
  ])('%s: the rule is revoked before it shows that something is taken away', async (_, body, after) => {
    const seen = observe();
    await update(body);
    expect(seen).toEqual([undefined, undefined, after]);
  });

  it('what it takes away from a concurrent change is revoked first, too', async () => {
    interleave(world.client, 'before', 'PutItemCommand', '"admin"', () => update(restrict(...all)));
    const seen = observe();
    await update(restrict(...some));
    expect(seen).toEqual([some, all, undefined, undefined, some]);
  });
});
