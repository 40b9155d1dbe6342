import { ScanCommand } from '@aws-sdk/client-dynamodb';
import { beforeEach, describe, expect, it } from 'vitest';
import { unmarshall } from '../../../shared/aws/attributes.ts';
import { interleave, NOW, startInterleaving } from './interleave.ts';

const PROJECT = '/v1/organization/projects/{project}';
const KEY = `${PROJECT}/api_keys/{key}`;

let world: Awaited<ReturnType<typeof startInterleaving>>;
let ids: { readonly project: string; readonly key: string };
beforeEach(async () => {
  world = await startInterleaving();
  await world.request('POST /v1/organization/projects', {}, { name: 'Acme', id: 'acme' });
  await createKey();
});

async function createKey(): Promise<void> {
  const project = 'acme';
  const account = { name: 'web', scopes: ['generate', 'models.read'] };
  const { api_key } = await world.request(`POST ${PROJECT}/service_accounts`, { project }, account);
  ids = { project, key: api_key?.id ?? '' };
}

const change = (body: object) => world.request(`POST ${KEY}`, ids, body);

/** Returns what the API shows of the key. */
async function readShown() {
  const { scopes, expires_at } = { scopes: [''], expires_at: 0, ...(await world.request(`GET ${KEY}`, ids)) };
  return { scopes: new Set(scopes), expiresAt: expires_at };
}

/** Returns what the authorizer reads of the key. */
async function readEnforced() {
  const { Items = [] } = await world.client.send(new ScanCommand({ TableName: 'access' }));
  const items = Items.map(unmarshall).filter(({ keyId }) => keyId === ids.key);
  return items.map(({ scopes, expiresAt }) => ({ scopes, expiresAt }));
}

const STEPS = [
  ['after', 'GetItemCommand', '"api_key#'],
  ['after', 'GetItemCommand', '"access"'],
  ['before', 'UpdateItemCommand', '"access"'],
  ['after', 'UpdateItemCommand', '"access"'],
  ['before', 'PutItemCommand', '"api_key#'],
  ['after', 'PutItemCommand', '"api_key#'],
] as const;
const CHANGES = [
  ['the loss of a scope', { scopes: ['generate'] }],
  ['the loss of the other scope', { scopes: ['models.read'] }],
  ['one scope more', { scopes: ['generate', 'models.read', 'embeddings'] }],
  ['other scopes', { scopes: ['embeddings'] }],
  ['a sooner end', { expires_in_seconds: 60 }],
  ['a later end', { expires_in_seconds: 86_400 * 365 }],
] as const;
const CASES = STEPS.flatMap(([when, command, text]) =>
  CHANGES.map(([name, body]) => ({ when, command, text, name, body })),
);

describe('two changes of a key at the same time', () => {
  it.each(CASES)(
    'the authorizer enforces what the API shows: $name, and another change $when $command of $text',
    async ({ when, command, text, body }) => {
      for (const [name, other] of CHANGES) {
        await createKey();
        const end = interleave(world.client, when, command, text, () => change(other));
        await change(body);
        end();
        expect(await readEnforced(), name).toEqual([await readShown()]);
      }
    },
  );

  it('a change of the policy does not give back scopes that were taken away meanwhile', async () => {
    interleave(world.client, 'after', 'GetItemCommand', '"access"', () => change({ scopes: ['generate'] }));
    const policy = { ipRanges: ['203.0.113.0/24'] };
    await world.request(`POST ${KEY}/policy`, ids, policy);
    expect(await readShown()).toMatchObject({ scopes: new Set(['generate']) });
    expect(await readEnforced()).toMatchObject([{ scopes: new Set(['generate']) }]);
  });

  it('a change that fails when it is stored leaves what the authorizer enforces as it was', async () => {
    const fail = () => Promise.reject(new Error('failed'));
    interleave(world.client, 'before', 'PutItemCommand', '"api_key#', fail);
    await expect(change({ scopes: ['generate'], expires_in_seconds: 60 })).rejects.toThrow('failed');
    expect(await readEnforced()).toEqual([await readShown()]);
  });

  it('a scope that a key gets instead of another one is enforced only once it is shown', async () => {
    const kill = () => Promise.reject(new Error('killed'));
    interleave(world.client, 'before', 'PutItemCommand', '"api_key#', () => {
      interleave(world.client, 'before', 'GetItemCommand', '"access"', kill);
      return kill();
    });
    const scopes = ['generate', 'embeddings'];
    await expect(change({ scopes })).rejects.toThrow('killed');
    expect(await readEnforced()).toMatchObject([{ scopes: new Set(['generate']) }]);
    await change({ scopes });
    expect(await readEnforced()).toMatchObject([{ scopes: new Set(scopes) }]);
    expect(await readShown()).toEqual({ scopes: new Set(scopes), expiresAt: NOW / 1000 + 90 * 86_400 });
  });
});
