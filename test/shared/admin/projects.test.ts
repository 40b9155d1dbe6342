import { CreateTableCommand } from '@aws-sdk/client-dynamodb';
import { expect, it, onTestFinished } from 'vitest';
import { ORGANIZATION } from '../../../shared/access/principal.ts';
import { createProjects } from '../../../shared/admin/projects.ts';
import { createTableInput } from '../../tables.ts';
import { startAccessTable } from '../access/access-table.ts';
import { createAdministration } from './administration.ts';

it('a change of a name leaves what another request changes of the project at the same time', async () => {
  const access = await startAccessTable();
  onTestFinished(() => access[Symbol.asyncDispose]());
  const { client } = access;
  await client.send(new CreateTableCommand(createTableInput('admin')));
  const table = { client, name: 'admin' };
  const projects = createProjects({ table });
  const project = {
    ...{ id: 'acme', createdAt: 1_800_000_000, name: 'Acme', archivedAt: null },
    ...{ environment: null, externalKeyId: null },
  };
  await projects.create(ORGANIZATION, project);

  let isFirst = true;
  client.middlewareStack.add(
    (next, context) => async (args) => {
      const result = await next(args);
      if (!isFirst || context['commandName'] !== 'GetItemCommand') return result;
      isFirst = false;
      const change = { environment: 'production', externalKeyId: 'extkey_1' } as const;
      await projects.update(ORGANIZATION, 'acme', (each) => ({ ...each, ...change }));
      return result;
    },
    { step: 'initialize' },
  );
  const request = createAdministration(client, { admin: 'admin', access: access.name }, () => 0);
  await request('POST /v1/organization/projects/{project}', { project: 'acme' }, { name: 'New' });
  expect(await projects.get(ORGANIZATION, 'acme')).toEqual({
    ...project,
    ...{ name: 'New', environment: 'production', externalKeyId: 'extkey_1' },
  });
});
