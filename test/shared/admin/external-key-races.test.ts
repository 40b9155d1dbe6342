import { CreateTableCommand } from '@aws-sdk/client-dynamodb';
import { CreateKeyCommand } from '@aws-sdk/client-kms';
import { afterEach, beforeEach, expect, it } from 'vitest';
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
