import { DeleteItemCommand, ScanCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import { TENANT_SCOPES } from '../../shared/access/scopes.ts';
import { omitUndefined } from '../../shared/core/objects.ts';
import { waitUntil } from '../wait.ts';
import { type Administrator, createAdministrator } from './administrator.ts';
import { addKeys, connectToTables } from './keys.ts';
import { type Service, startService } from './service.ts';

let service: Service;
let admin: Administrator;
beforeAll(async () => {
  service = await startService();
  admin = createAdministrator(service);
});
afterAll(() => service[Symbol.asyncDispose]());

let calls = 0;
/** Calls a model with a key. Each header is written differently, because the gateway caches what the authorizer returned for it. */
async function call(key: string) {
  calls += 1;
  const response = await fetch(`${service.cloud.url}/responses`, {
    method: 'POST',
    headers: { authorization: `Bearer${' '.repeat(calls)}${key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'compatible', input: 'Hello', store: false }),
  });
  const { error } = JSON.parse(await response.text());
  return { status: response.status, code: error?.code, message: error?.message };
}

it('an administrator holds a key and releases it; other keys of the project work meanwhile', async () => {
  const { project, key, other } = await admin.createProject();
  expect((await call(key.value)).status).toBe(200);
  const placed = await admin.send('POST', `${project}/key_holds/${key.id}`);
  expect(placed).toMatchObject({ status: 200, json: { id: key.id, reason: 'manual' } });
  expect(placed.json.held_until - placed.json.created_at).toBe(86_400);
  const until = new Date(placed.json.held_until * 1000).toISOString().replace('.000', '');
  const refused = { status: 403, code: 'key_held', message: expect.stringContaining(until) };
  expect(await call(key.value)).toMatchObject(refused);
  expect((await call(other.value)).status).toBe(200);
  expect((await admin.send('GET', `${project}/key_holds`)).json.data).toEqual([placed.json]);

  expect(await admin.send('DELETE', `${project}/key_holds/${key.id}`)).toMatchObject({
    status: 200,
    json: { deleted: true },
  });
  expect((await call(key.value)).status).toBe(200);
  expect((await admin.send('GET', `${project}/key_holds`)).json.data).toEqual([]);
  const acts = await waitUntil('both acts are recorded', async () => {
    const { data } = await admin.organization.auditLogs.list({ resource_ids: [key.id] });
    const types = data.map(({ type }) => String(type));
    // Each process's lines are recorded on their own, so the second act may be recorded before the first.
    return types.includes('api_key.released') && types.includes('api_key.held') ? types : undefined;
  });
  expect(acts.slice(0, 2)).toEqual(['api_key.released', 'api_key.held']);
});

it('a hold ends by itself', async () => {
  const { project, key } = await admin.createProject();
  await admin.send('POST', `${project}/key_holds/${key.id}`, { hold_seconds: 10 });
  expect(await call(key.value)).toMatchObject({ code: 'key_held' });
  await waitUntil('the key works again', async () => (await call(key.value)).status === 200);
});

it('a key that was made by hand can be held once its calls are recorded, and its hold can be prolonged', async () => {
  const [one, other] = [await admin.createProject(), await admin.createProject()];
  const keyId = `hand-made-${one.project.slice(-8)}`;
  await addKeys(service.cloud, { 'sk-hand-made': { tenant: one.project, keyId, scopes: TENANT_SCOPES } });
  const hold = (project: string, id = keyId) => admin.send('POST', `${project}/key_holds/${id}`);
  expect((await hold(one.project)).status).toBe(404);
  expect((await call('sk-hand-made')).status).toBe(200);
  await waitUntil('the key is known', async () => (await hold(one.project)).status === 200);
  expect(await call('sk-hand-made')).toMatchObject({ status: 403, code: 'key_held' });
  expect((await hold(other.project)).status).toBe(404);
  expect((await hold(one.project, keyId.slice(0, -1))).status).toBe(404);

  const { cloud } = service;
  const tables = connectToTables(cloud);
  onTestFinished(() => tables.destroy());
  // As after a day without calls.
  const TableName = cloud.resources['USAGE_TABLE'] ?? '';
  const { Items = [] } = await tables.send(new ScanCommand({ TableName }));
  const activity = Items.filter(({ pk }) => pk?.S === `activity#${one.project}#${keyId}`);
  expect(activity.length).toBeGreaterThan(0);
  for (const { pk, sk } of activity)
    await tables.send(new DeleteItemCommand({ TableName, Key: omitUndefined({ pk, sk }) }));
  expect((await hold(one.project)).status).toBe(200);
  await admin.send('DELETE', `${one.project}/key_holds/${keyId}`);
  expect((await hold(one.project)).status).toBe(404);
});

it('a hold of an unknown key, for an invalid time or of an archived project is refused', async () => {
  const { project, key } = await admin.createProject();
  const path = `${project}/key_holds/${key.id}`;
  expect(await admin.send('POST', `${project}/key_holds/key_unknown`)).toMatchObject({ status: 404 });
  expect(await admin.send('DELETE', path)).toMatchObject({ status: 404, json: { error: { code: 'not_found' } } });
  for (const hold_seconds of [0, 1.5, '60', 366 * 86_400 + 1])
    expect(await admin.send('POST', path, { hold_seconds })).toMatchObject({
      ...{ status: 400, json: { error: { param: 'hold_seconds' } } },
    });
  expect(await admin.send('POST', path, { seconds: 60 })).toMatchObject({
    json: { error: { code: 'unknown_parameter' } },
  });
  await admin.organization.projects.archive(project);
  expect(await admin.send('POST', path)).toMatchObject({ status: 403, json: { error: { code: 'project_archived' } } });
});
