import { CreateTableCommand } from '@aws-sdk/client-dynamodb';
import { CreateKeyCommand } from '@aws-sdk/client-kms';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createPolicyAdministration } from '../../../shared/access/policy-administration.ts';
import { createKeyGenerator, createKeyRewrapper, createKeyUnwrapper } from '../../../shared/vault/kms-keys.ts';
import { createWrappingKeys } from '../../../shared/vault/wrapping-key.ts';
import { createKeyedTable, createTableInput } from '../../tables.ts';
import { type Services, startServices } from '../vault/environments.ts';
import { createAdministration } from './administration.ts';

const P = '/v1/organization/projects';
const K = '/v1/organization/external_keys';
const project = 'acme';

let services: Services;
beforeEach(async () => {
  services = await startServices();
});
afterEach(() => services[Symbol.asyncDispose]());

/** Returns the administration with an external key, and a function that runs `act` before the next request with a command. */
async function start() {
  const { dynamodb, kms, keyId, clock } = services;
  await dynamodb.send(new CreateTableCommand(createTableInput('admin')));
  await createKeyedTable(dynamodb, 'access');
  const keys = await services.newTable();
  const wrappingKeys = createWrappingKeys({
    table: keys,
    generate: createKeyGenerator(kms, keyId),
    unwrap: createKeyUnwrapper(kms, keyId),
    rewrap: createKeyRewrapper(kms, keyId),
    now: () => clock.now,
  });
  const kmsArn = (await kms.send(new CreateKeyCommand({}))).KeyMetadata?.Arn ?? '';
  const vault = { tenantKeys: keys, wrappingKeys, keyId: kmsArn, externalKeys: [kmsArn] };
  const request = createAdministration(dynamodb, { admin: 'admin', access: 'access' }, () => clock.now, vault);
  const key = await request(`POST ${K}`, {}, { type: 'aws', name: 'Acme', kms_arn: kmsArn });
  const runBefore = (command: string, table: string, act: () => Promise<unknown>) => {
    let isFirst = true;
    dynamodb.middlewareStack.add(
      (next, context) => async (args) => {
        const isIt = context['commandName'] === command && Reflect.get(args.input, 'TableName') === table;
        if (isFirst && isIt) {
          isFirst = false;
          await act();
        }
        return next(args);
      },
      { step: 'initialize' },
    );
  };
  return { request, keys, key: key.id, kmsArn, runBefore };
}

it('of two concurrent creations of a project, only the one that created it gives it an external key', async () => {
  const { request, keys, key, kmsArn, runBefore } = await start();
  let other: Promise<unknown> = Promise.resolve();
  runBefore('PutItemCommand', keys.name, async () => {
    other = request(`POST ${P}`, {}, { id: project, name: 'Other' });
    await other.catch(() => {});
  });
  const created = request(`POST ${P}`, {}, { id: project, name: 'Acme', external_key_id: key });
  expect(await created).toMatchObject({ name: 'Acme', external_key_id: key });
  await expect(other).rejects.toMatchObject({ code: 'invalid_value', param: 'id' });
  expect(await request(`GET ${P}/{project}`, { project })).toMatchObject({ external_key_id: key });
  expect(await keys.read(project)).toMatchObject({ externalKey: kmsArn });
});

it('a project is not created if it does not get its external key', async () => {
  const { request, key } = await start();
  services.faults.kms = () => ({ status: 400, type: 'DisabledException' });
  const created = request(`POST ${P}`, {}, { id: project, name: 'Acme', external_key_id: key });
  await expect(created).rejects.toMatchObject({ code: 'external_key_unavailable' });
  await expect(request(`GET ${P}/{project}`, { project })).rejects.toMatchObject({ code: 'not_found' });
});

/** Lets a tenant that is not registered as a project call seven times a minute. Returns a function that reads what restricts it. */
async function restrictTenant() {
  const policies = createPolicyAdministration(services.dynamodb, 'access');
  await policies.changeProject(project, (each) => ({ ...each, restrictions: { limits: { requestsPerMinute: 7 } } }));
  return () => policies.readProject(project);
}

describe.each(['dev', 'production', 'sandbox'])(
  'a project in the environment %s that does not get its key',
  (environment) => {
    const disabled = { status: 400, type: 'DisabledException' };

    it.each([
      ['unknown', 'not_found'],
      ['refused by KMS', 'external_key_unavailable'],
    ])('its tenant is not restricted for a moment if the key is %s', async (name, code) => {
      const { request, key, runBefore } = await start();
      const read = await restrictTenant();
      const before = await read();
      const writes: string[] = [];
      runBefore('UpdateItemCommand', 'access', async () => writes.push('access'));
      services.faults.kms = () => disabled;
      const body = { id: project, name: 'Acme', environment, external_key_id: name === 'unknown' ? 'extkey_1' : key };
      await expect(request(`POST ${P}`, {}, body)).rejects.toMatchObject({ code });
      expect(writes).toEqual([]);
      expect(await read()).toEqual(before);
    });

    it('its tenant is restricted as before if KMS refuses the key for this tenant only', async () => {
      const { request, key } = await start();
      const read = await restrictTenant();
      const before = await read();
      services.kmsOperations.length = 0;
      services.faults.kms = () => (services.kmsOperations.length > 2 ? disabled : undefined);
      const body = { id: project, name: 'Acme', environment, external_key_id: key };
      await expect(request(`POST ${P}`, {}, body)).rejects.toMatchObject({ code: 'external_key_unavailable' });
      expect(services.kmsOperations).toEqual(['GenerateDataKey', 'Decrypt', 'GenerateDataKey']);
      expect(await read()).toEqual(before);
      await expect(request(`GET ${P}/{project}`, { project })).rejects.toMatchObject({ code: 'not_found' });
    });

    it('limits that another request gives its tenant meanwhile are kept', async () => {
      const { request, key, runBefore } = await start();
      const read = await restrictTenant();
      const limits = { requestsPerMinute: 9 };
      services.kmsOperations.length = 0;
      services.faults.kms = () => (services.kmsOperations.length > 2 ? disabled : undefined);
      runBefore('DeleteItemCommand', 'admin', () =>
        request(`POST ${P}/{project}/policy`, { project }, { limits, readOnly: null }),
      );
      const body = { id: project, name: 'Acme', environment, external_key_id: key };
      await expect(request(`POST ${P}`, {}, body)).rejects.toMatchObject({ code: 'external_key_unavailable' });
      expect(await read()).toEqual({ status: 'active', restrictions: { limits } });
    });
  },
);

it('an external key is not deleted while a project gets it', async () => {
  const { request, key, runBefore } = await start();
  await request(`POST ${P}`, {}, { id: project, name: 'Acme' });
  const give = () => request(`POST ${P}/{project}`, { project }, { external_key_id: key });
  runBefore('DeleteItemCommand', 'admin', give);
  await expect(request(`DELETE ${K}/{externalKey}`, { externalKey: key })).rejects.toMatchObject({
    code: 'invalid_value',
    message: expect.stringContaining(project),
  });
  expect(await request(`GET ${K}/{externalKey}`, { externalKey: key })).toMatchObject({ api_project_ids: [project] });
});

it('a project keeps an external key that is deleted while the project gets it', async () => {
  const { request, keys, key, runBefore } = await start();
  await request(`POST ${P}`, {}, { id: project, name: 'Acme' });
  runBefore('PutItemCommand', keys.name, () => request(`DELETE ${K}/{externalKey}`, { externalKey: key }));
  await request(`POST ${P}/{project}`, { project }, { external_key_id: key });
  expect(await request(`GET ${K}/{externalKey}`, { externalKey: key })).toMatchObject({ api_project_ids: [project] });
});

it('a change of a project is made in no part if its external key is refused', async () => {
  const { request } = await start();
  await request(`POST ${P}`, {}, { id: project, name: 'Acme', environment: 'production' });
  const read = () => Promise.all(['', '/policy'].map((path) => request(`GET ${P}/{project}${path}`, { project })));
  const before = await read();
  const body = { name: 'New', environment: 'sandbox', external_key_id: 'extkey_unknown' };
  await expect(request(`POST ${P}/{project}`, { project }, body)).rejects.toMatchObject({ code: 'not_found' });
  expect(await read()).toEqual(before);
});

it('the external key of an archived project can be removed, and nothing else of it can be changed', async () => {
  const { request, keys, key, kmsArn } = await start();
  await request(`POST ${P}`, {}, { id: project, name: 'Acme', external_key_id: key });
  await request(`POST ${P}/{project}/archive`, { project });
  await expect(request(`DELETE ${K}/{externalKey}`, { externalKey: key })).rejects.toThrow(project);
  for (const body of [{ external_key_id: key }, { external_key_id: null, name: 'New' }, { name: 'New' }])
    await expect(request(`POST ${P}/{project}`, { project }, body)).rejects.toMatchObject({ code: 'project_archived' });
  expect(await keys.read(project)).toMatchObject({ externalKey: kmsArn });
  const update = request(`POST ${P}/{project}`, { project }, { external_key_id: null });
  expect(await update).toMatchObject({ name: 'Acme', status: 'archived', external_key_id: null });
  const history = await keys.read(project);
  expect(history).toMatchObject({ state: 'active', current: 1 });
  expect(history).not.toHaveProperty('externalKey');
  expect(await request(`DELETE ${K}/{externalKey}`, { externalKey: key })).toMatchObject({ id: key });
});

it('an external key can be deleted once the tenants of its projects are erased, also of an archived one', async () => {
  const { request, keys, key } = await start();
  await request(`POST ${P}`, {}, { id: project, name: 'Acme', external_key_id: key });
  await request(`POST ${P}`, {}, { id: 'other', name: 'Other', external_key_id: key });
  await request(`POST ${P}/{project}/archive`, { project: 'other' });
  for (const tenant of [project, 'other']) await keys.markErased({ tenant, deletedAt: services.clock.now });
  const update = request(`POST ${P}/{project}`, { project: 'other' }, { external_key_id: null });
  await expect(update).rejects.toMatchObject({ code: 'tenant_deleted' });
  expect(await request(`GET ${K}/{externalKey}`, { externalKey: key })).toMatchObject({ api_project_ids: [] });
  expect(await request(`DELETE ${K}/{externalKey}`, { externalKey: key })).toMatchObject({ id: key });
});
