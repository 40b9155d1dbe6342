import { PutItemCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { type FaultProxy, startFaultProxy } from '../../local/faults/proxy.ts';
import { createExpiringKeys } from '../../shared/access/expiring-keys.ts';
import { createKeyItem, getKeyPartition } from '../../shared/access/keys.ts';
import type { Policy } from '../../shared/access/policy.ts';
import { getProjectPartition } from '../../shared/access/policy-table.ts';
import { marshall } from '../../shared/aws/attributes.ts';
import { newId } from '../../shared/core/ids.ts';
import { listCaps } from '../../shared/limits/caps.ts';
import { createDynamoDBCounters } from '../../shared/limits/dynamodb-counters.ts';
import { JobLedger } from '../../shared/limits/job-ledger.ts';
import { Limiter } from '../../shared/limits/limiter.ts';
import { listQueueCaps } from '../../shared/limits/queue-caps.ts';
import { createAdministration, type Ids } from '../shared/admin/administration.ts';
import {
  getHandler,
  type Handler,
  makeContext,
  startTestEnvironment,
  type TestEnvironment,
} from './test-environment.ts';

let testEnvironment: TestEnvironment;
let proxy: FaultProxy;
/** The response of the next such operation of DynamoDB is lost. */
let lost: string | undefined;
let sweep: Handler;
let authorize: Handler;
/** The log. */
const write = vi.spyOn(process.stdout, 'write').mockReturnValue(true);

beforeAll(async () => {
  testEnvironment = await startTestEnvironment();
  for (const [name, value] of Object.entries(testEnvironment.variables)) vi.stubEnv(name, value);
  proxy = await startFaultProxy({
    service: 'dynamodb',
    target: testEnvironment.services.urls.dynamodb,
    random: (operation) => {
      if (operation !== lost) return 0.9;
      lost = undefined;
      return 0;
    },
    shares: { cutAfter: 0.5 },
  });
  vi.stubEnv('AWS_ENDPOINT_URL_DYNAMODB', proxy.url);
  vi.stubEnv('LOG_LEVEL', 'info');
  // Before the functions are loaded, because they take their clock then.
  vi.useFakeTimers({ toFake: ['Date'] });
  [sweep, authorize] = await Promise.all([
    import('../../functions/sweep.ts').then(getHandler),
    import('../../functions/authorize.ts').then(getHandler),
  ]);
});
beforeEach(() => write.mockClear());
afterAll(async () => {
  vi.useRealTimers();
  write.mockRestore();
  vi.unstubAllEnvs();
  await proxy.close();
  await testEnvironment[Symbol.asyncDispose]();
});

/** Runs the sweep at a time, and returns the lines that the function `record` gets. */
async function sweepAt(time: string, remainingMs?: number) {
  vi.setSystemTime(time);
  write.mockClear();
  await sweep({}, makeContext(remainingMs));
  return readLines().filter(({ record }) => record !== undefined);
}

const readLines = () =>
  write.mock.calls
    .flatMap(([text]) => String(text).split('\n'))
    .flatMap((line) => (line === '' ? [] : [JSON.parse(line)]));

describe('keys that expire', () => {
  const PROJECT = '/v1/organization/projects/{project}';
  const request = (...args: Parameters<ReturnType<typeof createAdministration>>) =>
    createAdministration(testEnvironment.services.dynamodb, { admin: 'admin', access: 'access' }, Date.now)(...args);

  /** Creates a project with a key that expires 90 days after the time. */
  async function createKey(time: string, project: string): Promise<Ids & { readonly value: string }> {
    vi.setSystemTime(time);
    await request('POST /v1/organization/projects', {}, { name: project, id: project });
    const { api_key } = await request(`POST ${PROJECT}/service_accounts`, { project }, { name: 'web' });
    return { project, key: api_key?.id ?? '', value: api_key?.value ?? '' };
  }

  /** Lists the keys that the sweep would read. */
  async function listKeys(day: string): Promise<string[]> {
    const keys = createExpiringKeys({ client: testEnvironment.services.dynamodb, name: 'admin' });
    const found: string[] = [];
    for await (const partition of keys.list(day)) found.push(partition);
    return found;
  }

  const expiring = (objectId: string | undefined) => expect.objectContaining({ act: 'api_key.expiring', objectId });

  it('an unused key is reported on each of its last seven days, once a day', async () => {
    const { key } = await createKey('2027-01-01T12:00:00Z', 'unused');
    expect(await sweepAt('2027-03-25T11:07:00Z')).toEqual([]);
    expect(await sweepAt('2027-03-25T12:07:00Z')).toEqual([
      expect.objectContaining({ act: 'api_key.expiring', objectId: key, project: 'unused', level: 'info' }),
    ]);
    expect(readLines().filter(({ KeysExpiring }) => KeysExpiring === 1)).toHaveLength(1);
    expect(await sweepAt('2027-03-25T23:07:00Z')).toEqual([]);
    expect(await sweepAt('2027-03-26T00:06:00Z')).toEqual([]);
    expect(await sweepAt('2027-03-26T00:07:00Z')).toEqual([expiring(key)]);
    expect(await sweepAt('2027-04-01T11:07:00Z')).toEqual([expiring(key)]);
    expect(await sweepAt('2027-04-01T12:07:00Z')).toEqual([]);
    expect(await sweepAt('2027-04-02T00:07:00Z')).toEqual([]);
  });

  it('an admin key is reported, too, as one of no project', async () => {
    vi.setSystemTime('2027-05-01T00:00:00Z');
    const body = { name: 'ops', expires_in_seconds: 3 * 86_400 };
    const { id } = await request('POST /v1/organization/admin_api_keys', {}, body);
    const [act] = await sweepAt('2027-05-01T00:07:00Z');
    expect(act).toEqual(expiring(id));
    expect(act).not.toHaveProperty('project');
    await request('DELETE /v1/organization/admin_api_keys/{key}', { key: id });
    expect(await sweepAt('2027-05-02T00:07:00Z')).toEqual([]);
    expect(await listKeys('2027-05-04')).toEqual([]);
  });

  it('a key whose use was reported is not reported again, and a used key is not reported after the sweep', async () => {
    const { key, value } = await createKey('2027-06-01T00:00:00Z', 'used');
    const use = async () => {
      write.mockClear();
      const methodArn = 'arn:aws:execute-api:eu-west-1:000000000000:api/test/POST/v1/responses';
      const headers = { authorization: `Bearer ${value}` };
      await authorize({ type: 'REQUEST', resource: '/v1/responses', methodArn, headers }, makeContext());
      return readLines().filter(({ record }) => record !== undefined);
    };
    vi.setSystemTime('2027-08-25T00:00:00Z');
    expect(await use()).toEqual([expiring(key)]);
    expect(await sweepAt('2027-08-25T00:07:00Z')).toEqual([]);
    expect(await sweepAt('2027-08-26T00:07:00Z')).toEqual([expiring(key)]);
    expect(await use()).toEqual([]);
  });

  it('a key that was prolonged is reported before its new end', async () => {
    const { key = '', project = '' } = await createKey('2028-01-01T00:00:00Z', 'prolonged');
    vi.setSystemTime('2028-03-20T00:00:00Z');
    await request(`POST ${PROJECT}/api_keys/{key}`, { project, key }, { expires_in_seconds: 30 * 86_400 });
    expect(await sweepAt('2028-03-30T00:07:00Z')).toEqual([]);
    expect(await sweepAt('2028-04-15T00:07:00Z')).toEqual([expiring(key)]);
    await request(`POST ${PROJECT}/api_keys/{key}`, { project, key }, { expires_in_seconds: null });
    expect(await sweepAt('2028-04-16T00:07:00Z')).toEqual([]);
  });

  it.each([['a deleted key', 'DELETE', ''] as const, ['a rotated key', 'POST', '/rotate'] as const])(
    '%s is not reported',
    async (_case, method, action) => {
      const { key = '', project = '' } = await createKey('2029-01-01T00:00:00Z', `ended-${method.toLowerCase()}`);
      expect(await sweepAt('2029-03-27T00:07:00Z')).toEqual([expiring(key)]);
      const body = method === 'POST' ? { overlap_seconds: 7 * 86_400 } : {};
      await request(`${method} ${PROJECT}/api_keys/{key}${action}`, { project, key }, body);
      expect(await sweepAt('2029-03-28T00:07:00Z')).toEqual([]);
      expect(await listKeys('2029-04-01')).toEqual([]);
    },
  );

  it('a key that was prolonged and then rotated is not reported before its earlier end', async () => {
    const { key = '', project = '' } = await createKey('2031-01-01T00:00:00Z', 'rotated');
    vi.setSystemTime('2031-03-27T00:00:00Z');
    await request(`POST ${PROJECT}/api_keys/{key}`, { project, key }, { expires_in_seconds: 7 * 86_400 });
    await request(`POST ${PROJECT}/api_keys/{key}/rotate`, { project, key }, { overlap_seconds: 4 * 86_400 });
    expect(await listKeys('2031-04-01')).toHaveLength(1);
    expect(await sweepAt('2031-03-28T00:07:00Z')).toEqual([]);
  });

  it('the keys of an archived project are not reported', async () => {
    const { project = '' } = await createKey('2029-06-01T00:00:00Z', 'archived');
    await request(`POST ${PROJECT}/archive`, { project });
    expect(await sweepAt('2029-08-25T00:07:00Z')).toEqual([]);
  });

  it('the keys of a project whose item is invalid are reported, like those of others', async () => {
    const { key } = await createKey('2032-01-01T00:00:00Z', 'broken');
    const { key: other } = await createKey('2032-01-02T00:00:00Z', 'whole');
    const Item = marshall({ pk: getProjectPartition('broken'), status: 'unknown' });
    await testEnvironment.services.dynamodb.send(new PutItemCommand({ TableName: 'access', Item }));
    expect(await sweepAt('2032-03-28T00:07:00Z')).toEqual([expiring(key), expiring(other)]);
    expect(readLines()).toContainEqual(expect.objectContaining({ message: 'project of an expiring key not read' }));
  });

  it('keys that a run has no time for are reported by the next one, however many they are', async () => {
    const { dynamodb } = testEnvironment.services;
    const list = createExpiringKeys({ client: dynamodb, name: 'admin' });
    const expiresAt = Date.parse('2030-01-03T00:00:00Z') / 1000;
    const names = Array.from({ length: 101 }, (_, index) => `sk-many-${index}`);
    for (const name of names) {
      const Item = createKeyItem(name, { tenant: 'many', keyId: name, scopes: ['generate'], expiresAt });
      await dynamodb.send(new PutItemCommand({ TableName: 'access', Item }));
      await list.add({ partition: getKeyPartition(name), expiresAt });
    }
    expect(await sweepAt('2030-01-01T00:07:00Z', 0)).toEqual([]);
    const reported = await sweepAt('2030-01-01T01:07:00Z');
    expect(new Set(reported.map(({ objectId }) => objectId))).toEqual(new Set(names));
    expect(reported).toHaveLength(names.length);
  });
});

describe('limits', () => {
  const createStore = () => createDynamoDBCounters(testEnvironment.services.dynamodb, 'limits');

  it('calls whose function died are settled and logged once, without their fallbacks, and free their places', async () => {
    vi.setSystemTime('2026-11-30T12:00:30Z');
    const store = createStore();
    const limiter = new Limiter(store, Date.now);
    const policy: Policy = { key: { limits: { requestsInFlight: 9, tokensPerDay: 1_000 } } };
    const amounts = { requests: 1n, inputTokens: 10n, outputTokens: 90n, spend: 5n };
    const call = { holder: { tenant: 'acme', keyId: 'dead' }, kind: 'answers', amounts } as const;
    const caps = listCaps(policy, 'main', 'answers');
    expect(await limiter.reserve({ ...call, model: 'main', caps })).toHaveProperty('settle');
    const ofModel: Policy = { project: { limits: { models: { spare: { tokensPerDay: 1_000 } } } } };
    const spare = listCaps(ofModel, 'spare', 'answers');
    const fallback = { ...call, model: 'spare', caps: spare, part: 'fallback' } as const;
    expect(await limiter.reserve(fallback)).toHaveProperty('settle');

    expect(await sweepAt('2026-11-30T12:15:00Z')).toEqual([]);
    expect(await sweepAt('2026-11-30T12:31:00Z')).toEqual([]);
    expect(await sweepAt('2026-11-30T12:45:00Z')).toEqual([
      expect.objectContaining({
        ...{ message: 'settlement', record: 'settlement', estimated: true, tenant: 'acme', keyId: 'dead' },
        ...{ model: 'main', calls: 1, inputTokens: 10, outputTokens: 90, startedAt: '2026-11-30T12:00:00.000Z' },
      }),
    ]);
    const counters = await store.read('key#acme#dead');
    expect(counters).toMatchObject({ 'k.f.now': 0n, 'k.t.d20787': 100n });
    expect(Object.keys(counters).filter((name) => name.startsWith('b.'))).toEqual([]);
    expect(await sweepAt('2026-11-30T13:00:00Z')).toEqual([]);
  });

  it('calls that were settled by a write without a response are reported as not settled', async () => {
    vi.setSystemTime('2026-11-29T12:00:30Z');
    const store = createStore();
    const caps = listCaps({ key: { limits: { requestsInFlight: 9 } } }, 'main', 'answers');
    const amounts = { requests: 1n, inputTokens: 10n, outputTokens: 90n, spend: 5n };
    const holder = { tenant: 'acme', keyId: 'lost' };
    const limiter = new Limiter(store, Date.now);
    expect(await limiter.reserve({ holder, kind: 'answers', amounts, model: 'main', caps })).toHaveProperty('settle');
    lost = 'DynamoDB_20120810.UpdateItem';
    expect(await sweepAt('2026-11-29T12:30:00Z')).toEqual([]);
    expect(lost).toBeUndefined();
    expect(readLines()).toContainEqual(expect.objectContaining({ message: 'calls of a key not settled' }));
    expect(await store.read('key#acme#lost')).toEqual({ 'k.f.now': 0n });
  });

  it('a job that was counted and never created is counted no more', async () => {
    vi.setSystemTime('2026-12-01T12:00:30Z');
    const store = createStore();
    const ledger = new JobLedger({ store, newId, now: Date.now, readState: async () => 'open' });
    const caps = listQueueCaps({ project: { limits: { jobsQueued: 1 } } });
    const amounts = { jobs: 1n, bytes: 7n, weight: 0n };
    const job = { tenant: 'acme', keyId: 'dead', id: 'resp_1', amounts };
    expect(await ledger.enter(job, caps, () => {})).toBeUndefined();
    const before = await store.read('jobs#acme');
    expect(Object.keys(before).filter((name) => name.includes('resp_1'))).toHaveLength(1);
    await sweepAt('2026-12-01T12:15:00Z');
    expect(await store.read('jobs#acme')).toEqual(before);
    await sweepAt('2026-12-01T12:30:00Z');
    expect(Object.keys(await store.read('jobs#acme')).filter((name) => name.includes('resp_1'))).toEqual([]);
    expect((await store.read('jobs#acme'))['p.j']).toBe(0n);
  });
});
