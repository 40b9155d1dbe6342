import { CreateTableCommand, DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { expect, it, onTestFinished } from 'vitest';
import { startTables } from '../../../local/tables.ts';
import { UNRESTRICTED } from '../../../shared/access/policy.ts';
import { createPolicyAdministration } from '../../../shared/access/policy-administration.ts';
import { ORGANIZATION } from '../../../shared/access/principal.ts';
import { ADMIN_SCOPES } from '../../../shared/access/scopes.ts';
import { createProjectRoutes, createProjects } from '../../../shared/admin/projects.ts';
import { createTableInput } from '../../tables.ts';
import { recordTelemetry } from '../core/recorded-telemetry.ts';

it('a change of a name leaves what another request changes of the project at the same time', async () => {
  const tables = await startTables({});
  const client = new DynamoDBClient({
    endpoint: tables.url,
    region: 'eu-west-1',
    credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
  });
  onTestFinished(async () => {
    client.destroy();
    await tables.close();
  });
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
  const useNone = () => Promise.reject(new Error('The request uses no keys'));
  const { 'POST /v1/organization/projects/{project}': update } = createProjectRoutes(
    {
      table,
      access: { client, name: 'access' },
      policies: createPolicyAdministration(client, 'access'),
      tenantKeys: { read: async () => undefined },
      ...{ wrappingKeys: { change: useNone, checkRemoval: useNone, validate: useNone }, keyId: 'key' },
      ...{ externalKeys: [], isLoopbackIssuerAllowed: false, hasMutualTls: false, models: [], now: () => 0 },
    },
    useNone,
  );
  await update.run({
    ...{ requestId: 'r', pathParameters: { project: 'acme' }, query: {}, headers: {}, body: { name: 'New' } },
    deadlineAt: Number.POSITIVE_INFINITY,
    principal: { tenant: ORGANIZATION, keyId: 'admin', scopes: ADMIN_SCOPES, policy: UNRESTRICTED },
    signal: new AbortController().signal,
    telemetry: recordTelemetry(),
  });
  expect(await projects.get(ORGANIZATION, 'acme')).toEqual({
    ...project,
    ...{ name: 'New', environment: 'production', externalKeyId: 'extkey_1' },
  });
});
