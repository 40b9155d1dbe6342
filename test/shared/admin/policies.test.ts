import { CreateTableCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { createPolicyAdministration } from '../../../shared/access/policy-administration.ts';
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
