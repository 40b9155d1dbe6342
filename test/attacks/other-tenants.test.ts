import { ScanCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { OPERATIONS } from '../../infra/openapi/operations.ts';
import { ADMIN_ROUTES, PUBLIC_ROUTES } from '../../shared/api/route-table.ts';
import { addTenant, connectToTables } from '../end-to-end/keys.ts';
import { type Service, startService } from '../end-to-end/service.ts';
import { waitUntil } from '../wait.ts';
import { type Belongings, createBelongings, listProbedBodies, listProbedRoutes, probe } from './probes.ts';

/** Requests to each route. `npm run probe` sends more. */
const COUNT = 100;

let service: Service;
let attacker: string;
let belongings: Belongings;
beforeAll(async () => {
  service = await startService();
  belongings = await createBelongings(service, 'sk-local');
  attacker = await addTenant(service.cloud, 'attacker');
});
afterAll(() => service[Symbol.asyncDispose]());

it('no route answers with or changes the objects of another tenant, whatever ids a caller sends', async () => {
  const routes = listProbedRoutes(belongings);
  expect(routes.length).toBeGreaterThanOrEqual(15);
  for (const route of routes)
    expect(await probe(service.cloud.url, attacker, route, belongings, COUNT), route.route).toEqual([]);
  for (const { route, resource, method, ids } of routes.filter(({ method }) => method === 'GET')) {
    const path = resource.replace(/\{(\w+)\}/g, (_, name: string) => ids[name] ?? '');
    const response = await fetch(new URL(path, service.cloud.url), {
      method,
      headers: { authorization: 'Bearer sk-local' },
    });
    const text = await response.text();
    expect([route, response.status]).toEqual([route, 200]);
    // A conversation is listed by its metadata, the other objects by their content.
    expect(text).toContain(belongings.word);
  }
});

it('no body that names the objects of another tenant is answered with them, whatever ids it has', async () => {
  const countSent = () => service.upstream.requests.filter(({ text }) => text.includes(belongings.word)).length;
  for (const route of listProbedBodies(belongings)) {
    const before = countSent();
    expect(await probe(service.cloud.url, attacker, route, belongings, COUNT), route.route).toEqual([]);
    expect(countSent()).toBe(before);
    // The owner's request is answered with the object, so that the field is read.
    const response = await fetch(new URL(route.resource, service.cloud.url), {
      method: 'POST',
      headers: { authorization: 'Bearer sk-local', 'content-type': 'application/json' },
      body: JSON.stringify(route.makeBody?.(route.ids)),
    });
    expect([route.route, response.status]).toEqual([route.route, 200]);
    await response.text();
    if (!route.resource.endsWith('/input_tokens'))
      expect([route.route, countSent() > before]).toEqual([route.route, true]);
  }
});

it('the probe reports what an answer shows of another tenant', async () => {
  const [route] = listProbedRoutes(belongings).filter(({ route }) => route === 'GET /v1/conversations/{id}');
  if (route === undefined) throw new Error('There is no such route');
  const leaks = await probe(service.cloud.url, 'sk-local', route, belongings, 3);
  expect(leaks).toContainEqual(
    expect.objectContaining({ status: 200, text: expect.stringContaining(belongings.word) }),
  );
  for (const body of listProbedBodies(belongings)) {
    const answered = await probe(service.cloud.url, 'sk-local', body, belongings, 3);
    expect(answered, body.route).toContainEqual(expect.objectContaining({ status: 200 }));
  }
});

it('no route of the administration takes the key of a tenant', async () => {
  for (const route of Object.keys(ADMIN_ROUTES)) {
    const [method = '', resource = ''] = route.split(' ');
    const response = await fetch(new URL(resource.replace(/\{\w+\}/g, 'attacker'), service.cloud.url), {
      method,
      headers: { authorization: `Bearer ${attacker}`, 'content-type': 'application/json' },
      ...(method === 'POST' ? { body: '{}' } : {}),
    });
    expect([route, response.status]).toEqual([route, 403]);
    expect(await response.json()).toMatchObject({ error: { code: 'insufficient_permissions' } });
  }
});

/** Every way to name a tenant, project or user beside the key's. */
const CLAIMS = {
  ...{
    tenant: 'victim',
    tenant_id: 'victim',
    project: 'victim',
    organization: 'victim',
    keyId: 'victim',
    principal: 'victim',
  },
  ...{ user: 'victim', safety_identifier: 'victim', metadata: { tenant: 'victim', user_id: 'victim' } },
};
const CLAIMING_HEADERS = {
  ...{
    'x-tenant': 'victim',
    'x-lambent-tenant': 'victim',
    'openai-project': 'victim',
    'openai-organization': 'victim',
  },
  ...{ 'x-amzn-principal': 'victim', 'x-forwarded-user': 'victim', 'idempotency-key': 'victim' },
};

it('a request is the key’s tenant’s, whatever tenant its body, query and headers name', async () => {
  const own = await createBelongings(service, attacker);
  const ids: (string | null)[] = [];
  // Routes without a key have no tenant.
  const keyless: readonly string[] = PUBLIC_ROUTES;
  const bodies = Object.entries(OPERATIONS).filter(
    ([route, { body }]) => body !== undefined && !keyless.includes(route),
  );
  for (const [route, { example }] of bodies) {
    const [, resource = ''] = route.split(' ');
    const owner = Object.keys(own.ids).find((prefix) => resource.startsWith(`${prefix}/{`)) ?? '';
    const path = resource.replace('{id}', own.ids[owner]?.['id'] ?? '');
    const model = example?.['model'] === undefined ? {} : { model: 'compatible' };
    const response = await fetch(new URL(`${path}?tenant=victim&project=victim`, service.cloud.url), {
      method: 'POST',
      headers: { authorization: `Bearer ${attacker}`, 'content-type': 'application/json', ...CLAIMING_HEADERS },
      body: JSON.stringify({ ...example, ...CLAIMS, ...model }),
    });
    await response.text();
    expect([200, 400, 404], `${route}: ${response.status}`).toContain(response.status);
    ids.push(response.headers.get('x-request-id'));
  }
  const tenants = await waitUntil('all requests are logged', () => {
    const lines = service.logs.flatMap((text) => parseLine(text)).filter(({ message }) => message === 'request');
    const found = lines.filter(({ requestId }) => ids.includes(String(requestId))).map(({ tenant }) => tenant);
    return found.length >= bodies.length && found;
  });
  expect(tenants).toEqual(bodies.map(() => 'attacker'));
  expect(await findPartitions('victim')).toEqual([]);
});

function parseLine(text: string): Record<string, unknown>[] {
  try {
    return [JSON.parse(text)];
  } catch {
    return [];
  }
}

/** Returns the keys of stored items that have a word. */
async function findPartitions(word: string): Promise<string[]> {
  const tables = connectToTables(service.cloud);
  const names = Object.entries(service.cloud.resources).flatMap(([name, table]) =>
    name.endsWith('_TABLE') ? [table] : [],
  );
  expect(names.length).toBeGreaterThan(4);
  const pages = await Promise.all([...new Set(names)].map((TableName) => tables.send(new ScanCommand({ TableName }))));
  tables.destroy();
  return pages.flatMap(({ Items = [] }) =>
    Items.map(({ pk, sk }) => `${pk?.S} ${sk?.S}`).filter((key) => key.includes(word)),
  );
}
