import { CreateTableCommand } from '@aws-sdk/client-dynamodb';
import { expect, it, onTestFinished } from 'vitest';
import { createTenantKeyTable } from '../../../shared/vault/key-table.ts';
import { createTableInput } from '../../tables.ts';
import { startAccessTable } from '../access/access-table.ts';
import { createAdministration } from './administration.ts';

it('the project of an erased tenant can be read and archived, but not changed', async () => {
  const access = await startAccessTable();
  onTestFinished(() => access[Symbol.asyncDispose]());
  const { client } = access;
  for (const name of ['admin', 'keys']) await client.send(new CreateTableCommand(createTableInput(name)));
  const keys = createTenantKeyTable(client, 'keys');
  const request = createAdministration(client, { admin: 'admin', access: access.name }, Date.now, {
    tenantKeys: keys,
  });

  const P = '/v1/organization/projects/{project}';
  const project = 'acme';
  await request('POST /v1/organization/projects', {}, { name: 'Acme', id: project });
  const account = (await request(`POST ${P}/service_accounts`, { project }, { name: 'web' })).id;
  await keys.markErased({ tenant: project, deletedAt: Date.now() });

  for (const [route, ids, body] of [
    [`POST ${P}`, {}, { name: 'New' }],
    [`POST ${P}/service_accounts`, {}, { name: 'app' }],
    [`POST ${P}/service_accounts/{account}/api_keys`, { account }, {}],
    [`POST ${P}/users`, {}, { user_id: 'user_1', role: 'member' }],
    [`POST ${P}/policy`, {}, {}],
    ['POST /v1/projects/{project}/roles', {}, { role_name: 'reader', permissions: ['generate'] }],
  ] as const)
    await expect(request(route, { project, ...ids }, body), route).rejects.toMatchObject({ code: 'tenant_deleted' });

  expect(await request(`GET ${P}`, { project })).toMatchObject({ name: 'Acme', status: 'active' });
  expect(await request(`POST ${P}/archive`, { project })).toMatchObject({ status: 'archived' });
});
