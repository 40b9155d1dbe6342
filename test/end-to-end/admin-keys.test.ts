import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Service, startService } from './service.ts';

let service: Service;
beforeAll(async () => {
  service = await startService();
});
afterAll(() => service[Symbol.asyncDispose]());

const LOOPBACK = '127.0.0.0/8';
const ELSEWHERE = '192.0.2.0/24';

/** Sends a request below `/v1/organization/admin_api_keys`. */
async function send(method: string, path: string, body?: object, key = 'sk-admin-local') {
  const response = await fetch(`${service.cloud.url}/organization/admin_api_keys${path}`, {
    method,
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    ...(body && { body: JSON.stringify(body) }),
  });
  const json: Record<string, unknown> = JSON.parse(await response.text());
  return { status: response.status, json };
}

/** Creates an admin key. */
async function create(fields: object = {}, key?: string) {
  const { status, json } = await send('POST', '', { name: 'ada', ...fields }, key);
  expect(status).toBe(200);
  return { id: String(json['id']), value: String(json['value']), expiresAt: Number(json['expires_at']) };
}

const readPolicy = async (id: string) => (await send('GET', `/${id}/policy`)).json;
const invalid = (param: string) => ({ status: 400, json: { error: { code: 'invalid_value', param } } });

describe('the addresses of an admin key', () => {
  it('are those that its creation names', async () => {
    const here = await create({ ip_ranges: [LOOPBACK] });
    expect((await send('GET', '', undefined, here.value)).status).toBe(200);
    const elsewhere = await create({ ip_ranges: [ELSEWHERE] });
    expect(await send('GET', '', undefined, elsewhere.value)).toMatchObject({
      status: 401,
      json: { error: { code: 'ip_not_authorized' } },
    });
    expect(await send('POST', '', { name: 'x', ip_ranges: ['::ffff:192.0.2.1'] })).toMatchObject(invalid('ip_ranges'));
  });

  it('are set and removed by its policy, which has no other section', async () => {
    const { id, value } = await create();
    const object = 'organization.admin_api_key.policy';
    expect((await send('POST', `/${id}/policy`, { ipRanges: [ELSEWHERE] })).json).toEqual({
      object,
      ipRanges: [ELSEWHERE],
    });
    expect(await readPolicy(id)).toEqual({ object, ipRanges: [ELSEWHERE] });
    expect((await send('GET', '', undefined, value)).status).toBe(401);
    expect(await send('POST', `/${id}/policy`, { limits: { requestsPerDay: 1 } })).toMatchObject(invalid('limits'));
    await send('POST', `/${id}/policy`, { ipRanges: null });
    expect(await readPolicy(id)).toEqual({ object });
  });

  it('are not changed by the key itself, which could lock itself out', async () => {
    const { id, value } = await create();
    expect(await send('POST', `/${id}/policy`, { ipRanges: [LOOPBACK] }, value)).toMatchObject(invalid('ipRanges'));
    expect(await readPolicy(id)).not.toHaveProperty('ipRanges');
  });

  it('restrict the keys that it creates, changes or rotates', async () => {
    const { value } = await create({ ip_ranges: [LOOPBACK] });
    expect(await readPolicy((await create({}, value)).id)).toMatchObject({ ipRanges: [LOOPBACK] });
    expect(await readPolicy((await create({ ip_ranges: ['127.0.0.1'] }, value)).id)).toMatchObject({
      ipRanges: ['127.0.0.1'],
    });
    for (const ranges of [['126.0.0.0/7'], ['127.0.0.1', ELSEWHERE], ['::1']])
      expect(await send('POST', '', { name: 'x', ip_ranges: ranges }, value)).toMatchObject(invalid('ip_ranges'));
    const other = await create({ ip_ranges: [ELSEWHERE] });
    for (const ipRanges of [null, ['0.0.0.0/0']])
      expect(await send('POST', `/${other.id}/policy`, { ipRanges }, value)).toMatchObject(invalid('ipRanges'));
    expect(await send('POST', `/${other.id}/rotate`, {}, value)).toMatchObject(invalid('key'));
  });
});

describe('the rotation of an admin key', () => {
  it('creates a key with the same scopes and addresses, and lets the old one work for the overlap', async () => {
    const old = await create({ scopes: ['admin.keys.read'], ip_ranges: [LOOPBACK], expires_in_seconds: 86_400 });
    const { status, json } = await send('POST', `/${old.id}/rotate`, { overlap_seconds: 600 });
    expect(status).toBe(200);
    const now = Date.now() / 1000;
    const { id, value, expires_at, replaces } = json as Record<string, string> & { replaces: Record<string, unknown> };
    expect(Math.abs(Number(expires_at) - now - 86_400)).toBeLessThan(300);
    expect(replaces).toEqual({ id: old.id, expires_at: expect.any(Number) });
    expect(Math.abs(Number(replaces['expires_at']) - now - 600)).toBeLessThan(300);
    expect((await send('GET', `/${old.id}`)).json['expires_at']).toBe(replaces['expires_at']);
    expect(await readPolicy(String(id))).toMatchObject({ ipRanges: [LOOPBACK] });
    for (const key of [old.value, String(value)]) {
      expect((await send('GET', '', undefined, key)).status).toBe(200);
      expect((await send('POST', '', { name: 'x' }, key)).status).toBe(403);
    }
    expect((await send('POST', `/${old.id}/rotate`)).status).toBe(400);
  });

  it('ends the old key at once without an overlap', async () => {
    const old = await create();
    expect((await send('POST', `/${old.id}/rotate`, { overlap_seconds: 0 })).status).toBe(200);
    expect((await send('GET', '', undefined, old.value)).status).toBe(401);
  });

  it('gives no key more scopes or time than the key of the request has', async () => {
    const { value, expiresAt } = await create({ scopes: ['admin.keys.write'], expires_in_seconds: 3_600 });
    const owner = await create();
    expect((await send('POST', `/${owner.id}/rotate`, {}, value)).status).toBe(403);
    const equal = await create({ scopes: ['admin.keys.write'], expires_in_seconds: null });
    const { status, json } = await send('POST', `/${equal.id}/rotate`, {}, value);
    expect([status, json['expires_at']]).toEqual([200, expiresAt]);
  });
});
