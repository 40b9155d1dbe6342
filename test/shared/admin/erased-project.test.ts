import { CreateTableCommand } from '@aws-sdk/client-dynamodb';
import { expect, it, onTestFinished } from 'vitest';
import { createTenantKeyTable } from '../../../shared/vault/key-table.ts';
import { createTableInput } from '../../tables.ts';
import { startAccessTable } from '../access/access-table.ts';
import { createAdministration } from './administration.ts';

it('the project of an erased tenant can be read and archived, and loses its users, but is not changed otherwise', async () => {
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
  const oidc = { type: 'oidc', name: 'Staff', issuer: 'https://id.example.com', audience: 'lambent' };
  const provider = await request('POST /v1/organization/workload_identity_providers', {}, oidc);
  const person = { email: 'ada@example.com', identity_provider_id: provider.id };
  const user = (await request('POST /v1/organization/users', {}, person)).id;
  const group = (await request('POST /v1/organization/groups', {}, { name: 'Editors' })).id;
  await request(`POST ${P}/users`, { project }, { user_id: user, role: 'member' });
  await request(`POST ${P}/groups`, { project }, { group_id: group, role: 'member' });
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

  await request(`DELETE ${P}/users/{user}`, { project, user });
  await request(`DELETE ${P}/groups/{group}`, { project, group });
  for (const members of ['users', 'groups'])
    expect(await request(`GET ${P}/${members}`, { project })).toMatchObject({ data: [] });
  expect(await request(`GET ${P}`, { project })).toMatchObject({ name: 'Acme', status: 'active' });
  expect(await request(`POST ${P}/archive`, { project })).toMatchObject({ status: 'archived' });
});
