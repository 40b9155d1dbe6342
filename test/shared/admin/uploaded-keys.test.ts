import { generateKeyPairSync } from 'node:crypto';
import { ScanCommand } from '@aws-sdk/client-dynamodb';
import { beforeEach, describe, expect, it } from 'vitest';
import { startInterleaving } from './interleave.ts';

const PROVIDERS = '/v1/organization/workload_identity_providers';
const key = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ format: 'jwk' });
const signing = { ...key, kid: '2027-01', use: 'sig', alg: 'ES256' };
const upload = (jwks: object) => ({ verification: { type: 'uploaded_jwks', jwks } });

let world: Awaited<ReturnType<typeof startInterleaving>>;
beforeEach(async () => {
  world = await startInterleaving();
});

const create = (changes: object) =>
  world.request(
    `POST ${PROVIDERS}`,
    {},
    {
      ...{ type: 'oidc', name: 'CI', issuer: 'https://ci.example.com', audience: 'lambent' },
      ...changes,
    },
  );

async function countItems(TableName: string): Promise<number> {
  return (await world.client.send(new ScanCommand({ TableName }))).Items?.length ?? 0;
}

describe('the uploaded keys of a provider', () => {
  it.each([1_000, 250_000, 500_000])(
    'other fields of a key set and its keys, of %s bytes, are not stored',
    async (size) => {
      const pad = 'x'.repeat(size);
      const created = await create(upload({ keys: [{ ...signing, x5c: [pad] }], pad }));
      expect(created).toMatchObject(upload({ keys: [signing] }));
      expect(Reflect.get(created, 'verification')).toEqual(upload({ keys: [signing] }).verification);
      const { id: provider } = created;
      const changed = await world.request(`POST ${PROVIDERS}/{provider}`, { provider }, upload({ keys: [key], pad }));
      expect(Reflect.get(changed, 'verification')).toEqual(upload({ keys: [key] }).verification);
    },
  );

  it.each([
    ['too large together', [{ ...key, kid: 'x'.repeat(70_000) }]],
    ['too many', Array.from({ length: 21 }, () => key)],
    ['a private one', [{ ...key, d: 'x' }]],
  ])('keys that are %s are refused, and nothing is stored', async (_, keys) => {
    const refused = { code: 'invalid_value', param: 'verification.jwks' };
    await expect(create(upload({ keys }))).rejects.toMatchObject(refused);
    expect([await countItems('admin'), await countItems('access')]).toEqual([0, 0]);
    const { id: provider } = await create({});
    const update = world.request(`POST ${PROVIDERS}/{provider}`, { provider }, upload({ keys }));
    await expect(update).rejects.toMatchObject(refused);
    expect(await world.request(`GET ${PROVIDERS}/{provider}`, { provider })).toMatchObject({
      verification: { type: 'discovery' },
    });
  });
});
