import { CreateTableCommand, type DynamoDBClient, ScanCommand } from '@aws-sdk/client-dynamodb';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { isObject } from '../../../shared/core/objects.ts';
import { createTableInput } from '../../tables.ts';
import { startAccessTable } from '../access/access-table.ts';
import { createAdministration } from './administration.ts';
import { interleave } from './interleave.ts';

const PROJECT = '/v1/organization/projects/{project}';
const KEY = `${PROJECT}/api_keys/{key}`;
const project = 'acme';

let client: DynamoDBClient;
let now: number;
let request: (route: string, ids: object, body?: unknown) => Promise<Record<string, unknown>>;
/** The key that is rotated, and the service account that owns it. */
let key: string;
let account: string;
beforeEach(async () => {
  const access = await startAccessTable();
  onTestFinished(() => access[Symbol.asyncDispose]());
  client = access.client;
  await client.send(new CreateTableCommand(createTableInput('admin')));
  now = Date.parse('2027-01-31T12:00:00Z');
  const administration = createAdministration(client, { admin: 'admin', access: access.name }, () => now);
  request = async (route, ids, body) => ({ ...(await administration(route, { project, ...ids }, body)) });
  await request('POST /v1/organization/projects', {}, { name: 'Acme', id: project });
  const { id, api_key: created } = await request(`POST ${PROJECT}/service_accounts`, {}, { name: 'web' });
  account = String(id);
  key = isObject(created) ? String(created['id']) : '';
});

const rotate = (id = key) => request(`POST ${KEY}/rotate`, { key: id }, { overlap_seconds: 60 });
const remove = (id: unknown) => request(`DELETE ${KEY}`, { key: id });

async function listKeys(): Promise<Set<unknown>> {
  const { data } = await request(`GET ${PROJECT}/api_keys`, {});
  return new Set(Array.isArray(data) ? data.map(({ id }) => id) : []);
}

it('of parallel rotations of a key one succeeds, and its new key remains', async () => {
  const results = await Promise.allSettled(Array.from({ length: 10 }, () => rotate()));
  const created = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value['id']] : []));
  expect(created).toHaveLength(1);
  expect(await listKeys()).toEqual(new Set([key, ...created]));
  const codes = results.flatMap((result) => (result.status === 'rejected' ? [String(result.reason.code)] : []));
  for (const code of codes) expect(code).toMatch(/^(invalid_value|overloaded)$/);
});

/** Does something after the first request of a kind, with a text in its key. */
const doAfter = (command: `${string}Command`, text: string, act: () => Promise<unknown>) =>
  interleave(client, 'after', command, text, act);

/** Returns the epoch seconds at which the authorizer refuses the key. */
async function readEnd(): Promise<number> {
  const { Items = [] } = await client.send(new ScanCommand({ TableName: 'access' }));
  const ends = Items.filter(({ keyId }) => keyId?.S === key).map(({ expiresAt }) => Number(expiresAt?.N));
  return ends[0] ?? Number.NaN;
}

it('a rotation that has read the key before another one replaced it leaves the new key of that one', async () => {
  let other: Record<string, unknown> | undefined;
  doAfter('GetItemCommand', `api_key#${key}`, async () => {
    other = await rotate();
  });
  await expect(rotate()).rejects.toMatchObject({ code: 'overloaded' });
  expect(await listKeys()).toEqual(new Set([key, other?.['id']]));
});

it.each([
  ['a change of its scopes', `POST ${KEY}`, { scopes: ['models.read'] }],
  ['another rotation', `POST ${KEY}/rotate`, { overlap_seconds: 600 }],
  ['a change of its policy', `POST ${KEY}/policy`, { ipRanges: ['203.0.113.0/24'] }],
])('the end of a key by a rotation is not undone by %s that began before', async (_, route, body) => {
  doAfter('GetItemCommand', '"access"', () => rotate());
  await request(route, { key }, body).catch(({ code }) => expect(code).toBe('overloaded'));
  expect(await readEnd()).toBe(now / 1000 + 60);
});

it('the end of a key by a rotation is not undone by a change while it is stored', async () => {
  doAfter('UpdateItemCommand', '"access"', () => request(`POST ${KEY}`, { key }, { scopes: ['models.read'] }));
  await rotate();
  expect(await readEnd()).toBe(now / 1000 + 60);
});

it.each([null, 3_600, 864_000])(
  'a key that is rotated again, because its new key was deleted, gets one that works as long: %s s',
  async (lifetime) => {
    await request(`POST ${KEY}`, { key }, { expires_in_seconds: lifetime });
    const readLifetime = ({ expires_at, created_at }: Record<string, unknown>) =>
      expires_at === null ? null : Number(expires_at) - Number(created_at);
    const first = await rotate();
    expect(readLifetime(first)).toBe(lifetime);
    await remove(first['id']);
    now += 30_000;
    const second = await rotate();
    expect(readLifetime(second)).toBe(lifetime);

    await remove(second['id']);
    await request(`POST ${KEY}`, { key }, { expires_in_seconds: 970 });
    expect(readLifetime(await rotate())).toBe(1_000);
  },
);

describe('rotations that fail', () => {
  const fail = () => Promise.reject(new Error('failed'));

  it('a rotation that fails once the end of the old key is stored leaves the new key, which a repetition names', async () => {
    await request(`POST ${KEY}`, { key }, { expires_in_seconds: null });
    doAfter('PutItemCommand', `api_key#${key}`, async () => {
      interleave(client, 'before', 'UpdateItemCommand', '"access"', fail);
    });
    await expect(rotate()).rejects.toThrow('failed');
    expect(await readEnd()).toBe(now / 1000 + 60);
    const [created, ...others] = [...(await listKeys())].filter((id) => id !== key);
    expect(others).toEqual([]);
    const message = `The key ${key} was replaced by ${created}. If that key's value was lost, delete it first.`;
    await expect(rotate()).rejects.toMatchObject({ code: 'invalid_value', message });

    await remove(created);
    expect(await rotate()).toMatchObject({ value: expect.any(String), expires_at: null });
  });

  it('a repeated rotation names the new key even if the old one has ended', async () => {
    const { id } = await rotate();
    now += 60_000;
    await expect(rotate()).rejects.toMatchObject({
      code: 'invalid_value',
      message: expect.stringContaining(`It was replaced by ${id}.`),
    });
  });

  it('a rotation that fails because its service account is being deleted leaves the old key as it was', async () => {
    const end = await readEnd();
    doAfter('PutItemCommand', 'replaces', async () => {
      interleave(client, 'before', 'DeleteItemCommand', '"access"', fail);
      await expect(request(`DELETE ${PROJECT}/service_accounts/{account}`, { account })).rejects.toThrow('failed');
    });
    await expect(rotate()).rejects.toMatchObject({ code: 'not_found' });
    expect(await readEnd()).toBe(end);
    expect(await listKeys()).toEqual(new Set([key]));
  });
});

it('a rotation succeeds although the client of DynamoDB sends the end of the old key twice, because a response was lost', async () => {
  let isSent = false;
  client.middlewareStack.add(
    (next, context) => async (args) => {
      const isEnd =
        context['commandName'] === 'PutItemCommand' && JSON.stringify(args.input).includes(`api_key#${key}`);
      if (isEnd && !isSent) {
        isSent = true;
        await next(args);
      }
      return next(args);
    },
    { step: 'initialize' },
  );
  const { id } = await rotate();
  expect(isSent).toBe(true);
  expect(await listKeys()).toEqual(new Set([key, id]));
  expect(await readEnd()).toBe(now / 1000 + 60);
});
