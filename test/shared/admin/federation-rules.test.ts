import { beforeEach, describe, expect, it } from 'vitest';
import { createIssuerFinder } from '../../../shared/access/federation/issuers.ts';
import { BUILT_IN_ROLES } from '../../../shared/access/roles.ts';
import { TENANT_SCOPES } from '../../../shared/access/scopes.ts';
import { startInterleaving } from './interleave.ts';

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
