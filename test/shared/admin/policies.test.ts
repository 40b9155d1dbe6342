import { CreateTableCommand, PutItemCommand, ScanCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { createPolicyAdministration } from '../../../shared/access/policy-administration.ts';
import { marshall } from '../../../shared/aws/attributes.ts';
import { createTableInput } from '../../tables.ts';
import { type AccessTable, startAccessTable } from '../access/access-table.ts';
import { createAdministration, type Ids } from './administration.ts';

// The administration here knows the guardrails `strict` and `people`.

const ORGANIZATION_POLICY = 'POST /v1/organization/policy';
const PROJECT_POLICY = 'POST /v1/organization/projects/{project}/policy';
const KEY_POLICY = 'POST /v1/organization/projects/{project}/api_keys/{key}/policy';
const MASK_NAMES = { personalData: { kinds: { name: 'mask' } } };

let access: AccessTable;
let request: ReturnType<typeof createAdministration>;
let ids: Ids;
beforeAll(async () => {
  access = await startAccessTable();
  await access.client.send(new CreateTableCommand(createTableInput('admin')));
  request = createAdministration(access.client, { admin: 'admin', access: access.name }, Date.now);
});
afterAll(() => access[Symbol.asyncDispose]());
beforeEach(async () => {
  const { id: project } = await request('POST /v1/organization/projects', {}, { name: 'Acme' });
  const account = await request(
    'POST /v1/organization/projects/{project}/service_accounts',
    { project },
    { name: 'web' },
  );
  ids = { project, key: account.api_key?.id ?? '' };
  await request(ORGANIZATION_POLICY, {}, { personalData: null });
});

it.each([ORGANIZATION_POLICY, PROJECT_POLICY, KEY_POLICY])(
  'a guardrail that models.json does not have is refused, with the names that it has: %s',
  async (route) => {
    for (const name of ['nope', 'constructor', '']) {
      const message = expect.stringMatching(name === '' ? /./ : /It has these: strict, people\.$/);
      const refused = { code: 'invalid_value', message };
      const byName = request(route, ids, { guardrail: { name } });
      await expect(byName).rejects.toMatchObject({ ...refused, param: 'guardrail.name' });
      const forNames = request(route, ids, { personalData: { kinds: { name: 'mask' }, guardrail: name } });
      await expect(forNames).rejects.toMatchObject({ ...refused, param: 'personalData.guardrail' });
    }
    await request(route, ids, { guardrail: { name: 'strict' } });
    await request(route, ids, { guardrail: null });
  },
);

it.each(['name', 'address'])('an action for a %s is refused unless a guardrail finds it', async (kind) => {
  const rule = { personalData: { kinds: { [kind]: 'redact' } } };
  const refused = { code: 'invalid_value', param: `personalData.kinds.${kind}` };
  for (const route of [ORGANIZATION_POLICY, PROJECT_POLICY, KEY_POLICY]) {
    await expect(request(route, ids, rule)).rejects.toMatchObject(refused);
    await request(route, ids, { personalData: { kinds: { [kind]: 'off', email: 'mask' } } });
    await request(route, ids, { personalData: { ...rule.personalData, guardrail: 'people' } });
    await request(route, ids, { personalData: null });
  }
});

it('the guardrail of a level above finds the names of a project or a key', async () => {
  await request(ORGANIZATION_POLICY, {}, { personalData: { guardrail: 'people' } });
  await request(PROJECT_POLICY, ids, MASK_NAMES);
  await request(KEY_POLICY, ids, MASK_NAMES);
  await request(ORGANIZATION_POLICY, {}, { personalData: null });
  await expect(request(PROJECT_POLICY, ids, MASK_NAMES)).rejects.toMatchObject({ code: 'invalid_value' });
  await request(PROJECT_POLICY, ids, { personalData: { guardrail: 'people' } });
  await request(KEY_POLICY, ids, MASK_NAMES);
});

it('a stored policy with a guardrail that models.json no longer has is read, and its other sections can be changed', async () => {
  const restrictions = { guardrail: { name: 'removed' }, personalData: { kinds: { name: 'mask' } } } as const;
  const policies = createPolicyAdministration(access.client, access.name);
  await policies.changeProject(ids['project'] ?? '', (project) => ({ ...project, restrictions }));
  const read = () => request('GET /v1/organization/projects/{project}/policy', ids);
  expect(await read()).toEqual({ object: 'project.policy', ...restrictions });
  await request(PROJECT_POLICY, ids, { readOnly: true });
  expect(await read()).toEqual({ object: 'project.policy', ...restrictions, readOnly: true });
  await request(PROJECT_POLICY, ids, { guardrail: { name: 'strict' } });
  expect(await read()).toMatchObject({ guardrail: { name: 'strict' } });
});

it.each([ORGANIZATION_POLICY, PROJECT_POLICY, KEY_POLICY])(
  'a section that does not exist is refused, also if it is to be removed: %s',
  async (route) => {
    for (const name of ['limit', 'constructor', `x${'y'.repeat(400_000)}`])
      for (const value of [null, {}]) {
        const refused = request(route, ids, { limits: { requestsPerMinute: 5 }, [name]: value });
        await expect(refused).rejects.toMatchObject({ code: 'unknown_parameter', param: name.slice(0, 500) });
      }
    for (const name of ['limits', 'certificates']) await request(route, ids, { [name]: null });
  },
);

it('a section that another version has stored can be removed', async () => {
  await overwritePolicy(access.name, ids['key'] ?? '', '{"later":{},"readOnly":true}');
  await request(KEY_POLICY, ids, { later: null, readOnly: null });
  const read = await request('GET /v1/organization/projects/{project}/api_keys/{key}/policy', ids);
  expect(read).toEqual({ object: 'organization.project.api_key.policy' });
});

it('a policy that is larger than this version accepts can be changed, and its key rotated, unless it grows', async () => {
  const ipRanges = Array.from({ length: 68 }, (_, index) => `192.0.2.${index}`);
  const grown = [...ipRanges, '198.51.100.1'];
  const oidc = { type: 'oidc', name: 'Staff', issuer: 'https://id.example.com', audience: 'lambent' };
  const provider = await request('POST /v1/organization/workload_identity_providers', {}, oidc);
  const person = { email: 'ann@example.com', identity_provider_id: provider.id };
  const { id: user } = await request('POST /v1/organization/users', {}, person);
  const { id: key } = await request('POST /v1/organization/admin_api_keys', {}, { name: 'ops' });
  const cases = [
    { route: KEY_POLICY, path: ids, id: ids['key'], table: access.name },
    { route: 'POST /v1/organization/users/{user}/policy', path: { user }, id: user, table: 'admin' },
    { route: 'POST /v1/organization/admin_api_keys/{key}/policy', path: { key }, id: key, table: access.name },
  ];
  for (const { route, path, id = '', table } of cases) {
    await overwritePolicy(table, id, JSON.stringify({ ipRanges }));
    await expect(request(route, path, { ipRanges: grown }), route).rejects.toMatchObject({ code: 'invalid_value' });
    expect(await request(route, path, { ipRanges: ipRanges.toReversed() }), route).toMatchObject({
      ipRanges: ipRanges.toReversed(),
    });
  }
  const { id } = await request('POST /v1/organization/admin_api_keys/{key}/rotate', { key });
  const policy = await request('GET /v1/organization/admin_api_keys/{key}/policy', { key: id });
  expect(policy).toMatchObject({ ipRanges: ipRanges.toReversed() });
});

/** Writes a policy as an earlier version did, to the item of a key or user. */
async function overwritePolicy(table: string, id: string, policy: string): Promise<void> {
  const { Items = [] } = await access.client.send(new ScanCommand({ TableName: table }));
  const item = Items.find(({ keyId, sk }) => keyId?.S === id || sk?.S === `user#${id}`);
  const { json } = item ?? {};
  // An object of the administration is one attribute.
  const change = json?.S === undefined ? { policy } : { json: JSON.stringify({ ...JSON.parse(json.S), policy }) };
  await access.client.send(new PutItemCommand({ TableName: table, Item: { ...item, ...marshall(change) } }));
}
