import { once } from 'node:events';
import { request } from 'node:http';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { stayWithin, waitUntil } from '../wait.ts';
import { type Administrator, createAdministrator } from './administrator.ts';
import { type Service, startService } from './service.ts';

let service: Service;
let admin: Administrator;
beforeAll(async () => {
  service = await startService();
  admin = createAdministrator(service);
});
afterAll(() => service[Symbol.asyncDispose]());
// Calls are added up by the hour.
beforeEach(() => stayWithin('hour'));

/** Creates a project with two keys, and a policy. */
async function createProject(policy: object) {
  const created = await admin.createProject();
  expect(await admin.send('POST', `${created.project}/policy`, policy)).toMatchObject({ status: 200 });
  return created;
}

let calls = 0;
/**
 * Calls a model with a key, from an address of this machine. Each header is written differently, because the gateway caches what
 * the authorizer returned for it.
 */
async function call(key: string, { input = 'Hello', from = '127.0.0.1', headers = {} } = {}) {
  calls += 1;
  const url = new URL(`${service.cloud.url}/responses`);
  const sent = request(url, {
    method: 'POST',
    localAddress: from,
    headers: { authorization: `Bearer${' '.repeat(calls)}${key}`, 'content-type': 'application/json', ...headers },
  });
  sent.end(JSON.stringify({ model: 'compatible', input, store: false }));
  const [response] = await once(sent, 'response');
  const { error } = JSON.parse(await text(response));
  return { status: response.statusCode, code: error?.code };
}

const findAct = (type: string, objectId: string) =>
  waitUntil(`${type} is recorded`, async () => {
    const { data } = await admin.organization.auditLogs.list({ resource_ids: [objectId] });
    return data.find((act) => String(act.type) === type) as unknown as Record<string, unknown> | undefined;
  });

const listHolds = async (project: string) => (await admin.send('GET', `${project}/key_holds`)).json.data;

it('repeated refusals by a content rule hold the key; other keys work, and the key after its release', async () => {
  const { project, key, other } = await createProject({
    contentRules: [{ id: 'codename', terms: ['falcon'] }],
    abuse: { refusalsPerHour: 3, hold: ['refusals'] },
  });
  for (const _ of [1, 2]) expect(await call(key.value, { input: 'falcon' })).toMatchObject({ code: 'content_filter' });
  expect(await call(other.value, { input: 'falcon' })).toMatchObject({ code: 'content_filter' });
  expect(await call(key.value)).toMatchObject({ status: 200 });
  expect(await call(key.value, { input: 'falcon' })).toMatchObject({ code: 'content_filter' });

  const act = await findAct('api_key.held', key.id);
  const [hold] = await listHolds(project);
  expect(hold).toMatchObject({ id: key.id, reason: 'refusals' });
  const data = { reason: 'refusals', value: 3, threshold: 3, held_until: hold.held_until };
  expect(act).toMatchObject({ project: { id: project }, 'api_key.held': { id: key.id, data } });
  expect(await call(key.value)).toEqual({ status: 403, code: 'key_held' });
  expect(await call(other.value)).toMatchObject({ status: 200 });
  await waitUntil('the sign and the hold are counted', () =>
    service.logs.some((line) => line.includes('"AbuseSuspected":1') && line.includes('"KeysHeld":1')),
  );

  expect(await admin.send('DELETE', `${project}/key_holds/${key.id}`)).toMatchObject({ status: 200 });
  expect(await call(key.value)).toMatchObject({ status: 200 });
  expect(await listHolds(project)).toEqual([]);
});

it('a key that is used from many networks is held, whatever addresses its headers name', async () => {
  const { project, key, other } = await createProject({ abuse: { networksPerHour: 3, hold: ['networks'] } });
  for (const address of ['198.51.100.1', '203.0.113.1', '192.0.2.1', '10.1.2.3'])
    await call(other.value, { headers: { 'x-forwarded-for': address, forwarded: `for=${address}` } });
  for (const from of ['127.0.1.1', '127.0.1.2', '127.0.2.1', '127.0.3.1']) await call(key.value, { from });
  await findAct('api_key.held', key.id);
  expect(await listHolds(project)).toMatchObject([{ id: key.id, reason: 'networks' }]);
  expect(await call(key.value)).toEqual({ status: 403, code: 'key_held' });
  expect(await call(other.value)).toMatchObject({ status: 200 });
});

it('without a setting, a key is reported and not held', async () => {
  const { project, key } = await createProject({ abuse: { networksPerHour: 2 } });
  for (const from of ['127.0.1.1', '127.0.2.1']) await call(key.value, { from });
  expect(await findAct('api_key.suspected', key.id)).toMatchObject({
    'api_key.suspected': { data: { reason: 'networks', value: 2, threshold: 2 } },
  });
  expect(await listHolds(project)).toEqual([]);
  expect(await call(key.value)).toMatchObject({ status: 200 });
});

it('refused keys add nothing to what is counted, and no log has an address', async () => {
  const refused = Array.from({ length: 5 }, (_, index) =>
    call(`sk-unknown-${index}`, { from: `127.0.9.${index + 1}` }),
  );
  for (const { status } of await Promise.all(refused)) expect(status).toBe(401);
  expect(service.logs.filter((line) => line.includes('127.0.9.'))).toEqual([]);
  expect(service.logs.some((line) => line.includes('"network":"127.0.3.0/24"'))).toBe(true);
  expect(service.logs.filter((line) => /127\.0\.[1-3]\.[1-9]/.test(line))).toEqual([]);
});

it.each([
  ['networksPerHour', 0],
  ['networksPerHour', 201],
  ['refusalsPerHour', 1.5],
  ['timesUsualRate', 1],
  ['leastCallsPerHour', null],
  ['hold', ['money']],
  ['holdSeconds', 59],
  ['unknown', 1],
])('a policy whose section abuse has %s %j is refused', async (name, value) => {
  const { status, json } = await admin.send('POST', 'local/policy', { abuse: { [name]: value } });
  expect({ status, param: json.error?.param }).toEqual({
    status: 400,
    param: expect.stringContaining(`abuse.${name}`),
  });
});
