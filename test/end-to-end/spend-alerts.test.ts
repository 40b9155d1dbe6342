import OpenAI from 'openai';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { stayWithin, waitUntil } from '../wait.ts';
import { type Service, startService } from './service.ts';

// A token costs a tenth of a cent.
const PRICE = { inputPerMillion: 1_000, outputPerMillion: 1_000 };
const CENTS_PER_TOKEN = 0.1;

let service: Service;
let organization: OpenAI['admin']['organization'];
beforeAll(async () => {
  service = await startService({ alias: { price: PRICE } });
  organization = new OpenAI({ baseURL: service.cloud.url, adminAPIKey: 'sk-admin-local' }).admin.organization;
});
afterAll(() => service[Symbol.asyncDispose]());
beforeEach(() => stayWithin('day', 60_000), 120_000);

const createAlert = (cents: number) => ({
  ...{ currency: 'USD' as const, interval: 'month' as const, threshold_amount: cents },
  notification_channel: { type: 'email' as const, recipients: [] },
});

async function createCaller(project: string): Promise<OpenAI> {
  const { api_key } = await organization.projects.serviceAccounts.create(project, { name: 'web' });
  return new OpenAI({ baseURL: service.cloud.url, apiKey: api_key?.value ?? '', maxRetries: 0 });
}

/** Makes a small call. Returns what it has cost, in cents. */
async function spend(client: OpenAI): Promise<number> {
  const { usage } = await client.chat.completions.create({
    ...{ model: 'compatible', max_tokens: 5, messages: [{ role: 'user', content: 'Hello' }] },
  });
  return (usage?.total_tokens ?? 0) * CENTS_PER_TOKEN;
}

/** Returns the ids of the alerts that were logged as passed. */
const listPassed = (): string[] =>
  service.logs
    .filter((line) => line.includes('"message":"administrative act"'))
    .map((line) => JSON.parse(line))
    .filter(({ act }) => act === 'spend_alert.triggered')
    .map(({ objectId }): string => objectId);

const countMetric = (): number => service.logs.filter((line) => line.includes('"SpendAlerts":1')).length;

it('calls that pass spend alerts of their project and the organization log each of them once, and are not refused', async () => {
  const { id: project } = await organization.projects.create({ name: 'Website' });
  const low = await organization.projects.spendAlerts.create(project, createAlert(10));
  const high = await organization.projects.spendAlerts.create(project, createAlert(1_000_000));
  const ofAll = await organization.spendAlerts.create(createAlert(20));
  const callers = [await createCaller(project), await createCaller(project)];

  // What a call reserves is less than 5 cents.
  let cents = 0;
  while (cents < 2) for (const client of callers) cents += await spend(client);
  expect(cents).toBeLessThan(5);
  expect(listPassed()).toEqual([]);
  while (cents < 60) for (const client of callers) cents += await spend(client);
  await waitUntil('both alerts are logged and counted', () => listPassed().length >= 2 && countMetric() >= 2);
  expect(listPassed().sort()).toEqual([low.id, ofAll.id].sort());
  expect(countMetric()).toBe(2);

  const acts = await waitUntil('the acts are in the audit log', async () => {
    const { data } = await organization.auditLogs.list({ event_types: ['spend_alert.triggered' as never] });
    return data.length === 2 && data;
  });
  expect(acts.find(({ project: owner }) => owner?.id === project)).toMatchObject({
    type: 'spend_alert.triggered',
    'spend_alert.triggered': { id: low.id, level: 'project', per: 'month', dollars: 0.1 },
  });
  expect(acts.find(({ project: owner }) => owner === undefined)).toMatchObject({
    'spend_alert.triggered': { id: ofAll.id, level: 'account', dollars: 0.2 },
  });
  expect(listPassed()).not.toContain(high.id);
});

it('a stream and a job pass the daily alerts of their keys', async () => {
  const { id: project } = await organization.projects.create({ name: 'Shop' });
  const client = new OpenAI({ baseURL: service.cloud.url, adminAPIKey: 'sk-admin-local' });
  for (const use of ['stream', 'background'] as const) {
    const { api_key } = await organization.projects.serviceAccounts.create(project, { name: use });
    await client.post(`/organization/projects/${project}/api_keys/${api_key?.id}/policy`, {
      body: { limits: { alerts: [{ name: `by-${use}`, per: 'day', dollars: 0.001 }] } },
      __security: { adminAPIKeyAuth: true },
    });
    const caller = new OpenAI({ baseURL: service.cloud.url, apiKey: api_key?.value ?? '', maxRetries: 0 });
    const request = { model: 'compatible', input: 'Hello', max_output_tokens: 16 };
    if (use === 'background') await caller.responses.create({ ...request, background: true });
    else for await (const _ of await caller.responses.create({ ...request, stream: true, store: false }));
    await waitUntil('the alert is logged', () => listPassed().includes(`by-${use}`));
  }
});

it('a further alert than a policy may have is refused by a message that says so', async () => {
  const { id: project } = await organization.projects.create({ name: 'Many' });
  const create = () => organization.projects.spendAlerts.create(project, createAlert(10));
  for (let count = 0; count < 10; count += 1) await create();
  await expect(create()).rejects.toMatchObject({
    status: 400,
    message: '400 There are 10 spend alerts already. Delete one first.',
  });
});
