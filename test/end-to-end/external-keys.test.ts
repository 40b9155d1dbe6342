import { join } from 'node:path';
import { CreateKeyCommand, DisableKeyCommand, EnableKeyCommand, KMSClient } from '@aws-sdk/client-kms';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildKeyArn, Keyring } from '../../local/kms/keyring.ts';
import { waitUntil } from '../wait.ts';
import { type Service, startService } from './service.ts';

/** ARNs of customers' KMS keys that the deployment allows. The signing key can't encrypt. */
const arns: string[] = [];
let signing: string;
let unlisted: string;
let service: Service;
let kms: KMSClient;
let organization: OpenAI['admin']['organization'];

beforeAll(async () => {
  const environment: Record<string, string> = {};
  service = await startService({
    environment,
    async prepare(stateDir) {
      const keyring = new Keyring(join(stateDir, 'kms.json'), Date.now);
      const create = () => buildKeyArn(keyring.create("a customer's"));
      arns.push(create(), create());
      signing = buildKeyArn(keyring.create('signs', 'ECC_NIST_P256'));
      environment['EXTERNAL_KEYS'] = [...arns, signing].join(',');
    },
  });
  organization = createAdmin('sk-admin-local').admin.organization;
  kms = new KMSClient({
    endpoint: service.cloud.endpoints['AWS_ENDPOINT_URL_KMS'] ?? '',
    region: 'us-east-1',
    credentials: service.cloud.credentials,
  });
  unlisted = (await kms.send(new CreateKeyCommand({}))).KeyMetadata?.Arn ?? '';
});
afterAll(async () => {
  kms.destroy();
  await service[Symbol.asyncDispose]();
});

const createAdmin = (adminAPIKey: string) => new OpenAI({ baseURL: service.cloud.url, adminAPIKey, maxRetries: 0 });
const disable = (KeyId = '') => kms.send(new DisableKeyCommand({ KeyId }));
const enable = (KeyId = '') => kms.send(new EnableKeyCommand({ KeyId }));
/** Registers a KMS key, with the fields of a role that the client's types require. */
const register = (kms_arn = '', fields: object = {}) =>
  organization.externalKeys.create({ type: 'aws', name: 'Acme', kms_arn, role_arn: '', external_id: '', ...fields });

/** Returns a client with a key of a new service account of a project. */
async function createCaller(project: string): Promise<OpenAI> {
  const account = await organization.projects.serviceAccounts.create(project, { name: 'web' });
  return new OpenAI({ baseURL: service.cloud.url, apiKey: account.api_key?.value ?? '', maxRetries: 0 });
}

/** Ends the processes of all functions that have a vault. The next requests start new ones. */
async function replaceEnvironments(): Promise<void> {
  const running = service.cloud.processes().filter(({ function: name }) => !['authorize', 'admin'].includes(name));
  await waitUntil('no function runs an invocation', () => service.cloud.processes().every(({ busy }) => !busy));
  for (const { pid } of running) process.kill(pid, 'SIGKILL');
  const pids = new Set(running.map(({ pid }) => pid));
  await waitUntil('the processes have ended', () => service.cloud.processes().every(({ pid }) => !pids.has(pid)));
}

describe('external keys', () => {
  it('external keys are registered, read, listed, validated and deleted', async () => {
    const { externalKeys } = organization;
    const created = await register(arns[0]);
    expect(created).toMatchObject({ type: 'aws', purpose: 'ekm', name: 'Acme', kms_arn: arns[0], api_project_ids: [] });
    expect(await externalKeys.retrieve(created.id)).toEqual(created);
    const ids: string[] = [];
    for await (const { id } of externalKeys.list({ limit: 1 })) ids.push(id);
    expect(ids).toContain(created.id);
    expect((await externalKeys.list({ purpose: 'psp_decryption' })).data).toEqual([]);
    expect(await externalKeys.validate(created.id)).toEqual({ status: 'valid' });
    await disable(arns[0]);
    expect(await externalKeys.validate(created.id)).toEqual({
      status: 'invalid',
      message: expect.stringContaining('DisabledException'),
    });
    await enable(arns[0]);
    expect(await externalKeys.delete(created.id)).toEqual(created);
    await expect(externalKeys.retrieve(created.id)).rejects.toMatchObject({ status: 404, code: 'not_found' });
  });

  it('external keys are refused unless the deployment lists them and KMS lets the functions use them', async () => {
    const refusals: [string, object, object][] = [
      [unlisted, {}, { code: 'invalid_value', message: expect.stringContaining('`externalKeys`') }],
      [
        arns[0]?.replace('us-east-1', 'eu-north-1') ?? '',
        {},
        { message: expect.stringContaining('region must be us-east-1') },
      ],
      ['arn:aws:kms:us-east-1:000000000000:alias/customer', {}, { message: expect.stringContaining('ARN of a key') }],
      [signing, {}, { message: expect.stringContaining('InvalidKeyUsageException') }],
      [arns[0] ?? '', { type: 'gcp' }, { code: 'unsupported_value', param: 'type' }],
      [arns[0] ?? '', { role_arn: 'arn:aws:iam::1:role/x' }, { code: 'unsupported_value', param: 'role_arn' }],
      [arns[0] ?? '', { external_id: 'proj_1' }, { code: 'unsupported_value', param: 'external_id' }],
      [arns[0] ?? '', { purpose: 'psp_decryption' }, { code: 'unsupported_value', param: 'purpose' }],
    ];
    for (const [arn, fields, error] of refusals)
      await expect(register(arn, fields)).rejects.toMatchObject({ status: 400, ...error });
    await disable(arns[1]);
    await expect(register(arns[1])).rejects.toMatchObject({
      status: 400,
      param: 'kms_arn',
      message: expect.stringContaining('DisabledException'),
    });
    await enable(arns[1]);
  });

  it('external keys are not deleted while a project has them', async () => {
    const key = await register(arns[0]);
    const { id } = await organization.projects.create({ name: 'Shop', external_key_id: key.id });
    expect(await organization.externalKeys.retrieve(key.id)).toMatchObject({ api_project_ids: [id] });
    await expect(organization.externalKeys.delete(key.id)).rejects.toMatchObject({
      status: 400,
      message: expect.stringContaining(id),
    });
    expect(await organization.projects.update(id, { external_key_id: null })).toMatchObject({ external_key_id: null });
    await organization.externalKeys.delete(key.id);
  });

  it('the external key of a project needs the scope of data, and must exist', async () => {
    const { value } = await organization.adminAPIKeys.create({
      name: 'projects only',
      ...{ scopes: ['admin.projects.read', 'admin.projects.write'] },
    });
    const limited = createAdmin(value).admin.organization.projects;
    const { id } = await limited.create({ name: 'Shop' });
    for (const external_key_id of ['extkey_1', null])
      await expect(limited.update(id, { external_key_id })).rejects.toMatchObject({ code: 'insufficient_permissions' });
    await expect(limited.create({ name: 'Shop', external_key_id: 'extkey_1' })).rejects.toMatchObject({ status: 403 });
    await expect(organization.projects.update(id, { external_key_id: 'extkey_1' })).rejects.toMatchObject({
      status: 404,
      message: expect.stringContaining('external key'),
    });
  });
});

describe('a project with an external key', () => {
  it('a project is unreadable while its external key is disabled, and other projects are not', async () => {
    const key = await register(arns[1]);
    const before = await organization.projects.create({ name: 'Acme' });
    const neighbour = await organization.projects.create({ name: 'Neighbour' });
    const [acme, other] = [await createCaller(before.id), await createCaller(neighbour.id)];
    const store = async (client: OpenAI) => (await client.responses.create({ model: 'default', input: 'Hi' })).id;
    // Sealed by another tenant key's wrapping than the one that is revoked.
    const [old, theirs] = [await store(acme), await store(other)];
    await organization.projects.update(before.id, { external_key_id: key.id });
    const young = await store(acme);
    expect(await organization.projects.retrieve(before.id)).toMatchObject({ external_key_id: key.id });
    await disable(arns[1]);
    // Environments have the tenant's key in memory for up to five minutes. New ones don't.
    await replaceEnvironments();
    const unavailable = { status: 403, code: 'external_key_unavailable' };
    for (const id of [old, young]) await expect(acme.responses.retrieve(id)).rejects.toMatchObject(unavailable);
    await expect(
      acme.conversations.create({ items: [{ type: 'message', role: 'user', content: 'Hi' }] }),
    ).rejects.toMatchObject(unavailable);
    for (const how of [{}, { stream: true }, { background: true }])
      await expect(acme.responses.create({ model: 'default', input: 'Hi', ...how })).rejects.toMatchObject(unavailable);
    const unstored = await acme.responses.create({ model: 'default', input: 'Hi', store: false });
    expect(unstored).toMatchObject({ status: 'completed' });
    expect(await other.responses.retrieve(theirs)).toMatchObject({ id: theirs, status: 'completed' });
    await expect(organization.projects.update(before.id, { external_key_id: null })).rejects.toMatchObject(unavailable);
    expect(await organization.projects.retrieve(before.id)).toMatchObject({ external_key_id: key.id });
    await enable(arns[1]);
    for (const id of [old, young]) expect(await acme.responses.retrieve(id)).toMatchObject({ id, status: 'completed' });
  });
});
