import OpenAI from 'openai';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { toPicodollars } from '../../shared/limits/caps.ts';
import { createDynamoDBCounters } from '../../shared/limits/dynamodb-counters.ts';
import { connectToTables } from '../end-to-end/keys.ts';
import { type Service, startService } from '../end-to-end/service.ts';
import { stayWithin, waitUntil } from '../wait.ts';

const CALLS = 200;
/** A token costs a tenth of a cent. */
const DOLLARS_PER_TOKEN = 0.001;
const PRICE = { inputPerMillion: 1_000, outputPerMillion: 1_000 };
const BUDGET = 0.5;

let service: Service;
let admin: OpenAI;
beforeAll(async () => {
  service = await startService({ alias: { price: PRICE }, isManaged: true });
  admin = new OpenAI({ baseURL: service.cloud.url, adminAPIKey: 'sk-admin-local', apiKey: '-', maxRetries: 0 });
});
afterAll(() => service[Symbol.asyncDispose]());

/** Sets the policy of an object of the administration. */
const setPolicy = (path: string, body: object) =>
  admin.post(`/organization/projects/${path}/policy`, { body, __security: { adminAPIKeyAuth: true } });

/** Makes one call, of the kind that `index` chooses. Returns the dollars that its answer reports, or the code of a refusal. */
async function call(client: OpenAI, index: number): Promise<number | string> {
  const messages = [{ role: 'user' as const, content: 'Hello' }];
  const body = { model: 'compatible', max_tokens: 5, messages };
  try {
    if (index % 3 > 0) {
      const { usage } = await client.chat.completions.create(body);
      return (usage?.total_tokens ?? Number.NaN) * DOLLARS_PER_TOKEN;
    }
    let tokens = Number.NaN;
    const options = { ...body, stream: true as const, stream_options: { include_usage: true } };
    for await (const chunk of await client.chat.completions.create(options))
      tokens = chunk.usage?.total_tokens ?? tokens;
    return tokens * DOLLARS_PER_TOKEN;
  } catch (thrown) {
    if (thrown instanceof OpenAI.APIError && thrown.status === 429) return String(thrown.code);
    throw thrown;
  }
}

it.each([
  ['a key', 1],
  ['a project with eight keys', 8],
] as const)('200 calls at once spend no more than the budget of %s, and at most one call', async (level, count) => {
  await stayWithin('day', 60_000);
  const { id: project } = await admin.admin.organization.projects.create({ name: level });
  const keys = await Promise.all(
    Array.from({ length: count }, async (_, index) => {
      const { api_key } = await admin.admin.organization.projects.serviceAccounts.create(project, {
        name: `k${index}`,
      });
      return { id: api_key?.id ?? '', value: api_key?.value ?? '' };
    }),
  );
  await setPolicy(count === 1 ? `${project}/api_keys/${keys[0]?.id}` : project, {
    limits: { dollarsPerMonth: BUDGET },
  });
  const clients = keys.map(({ value }) => new OpenAI({ baseURL: service.cloud.url, apiKey: value, maxRetries: 0 }));
  const callAll = () =>
    Promise.all(Array.from({ length: CALLS }, (_, index) => call(clients[index % count] ?? admin, index)));

  const results = await callAll();
  const costs = results.filter((result) => typeof result === 'number');
  expect(new Set(results.filter((result) => typeof result === 'string'))).toEqual(new Set(['insufficient_quota']));
  const [spent, dearest] = [costs.reduce((sum, cost) => sum + cost, 0), Math.max(...costs)];
  expect(dearest).toBeGreaterThan(0);
  expect(spent).toBeLessThanOrEqual(BUDGET + Math.max(BUDGET / 100, dearest));
  // What was reserved and not used is given back: the budget is spent in the end, and still not exceeded.
  let total = spent;
  for (let more = costs; more.length > 0; ) {
    more = (await callAll()).filter((result) => typeof result === 'number');
    total += more.reduce((sum, cost) => sum + cost, 0);
  }
  expect(total).toBeLessThanOrEqual(BUDGET + Math.max(BUDGET / 100, dearest));
  expect(total).toBeGreaterThan(0.8 * BUDGET);
  if (count > 1) return;
  const tables = connectToTables(service.cloud);
  const store = createDynamoDBCounters(tables, service.cloud.resources['LIMITS_TABLE'] ?? '');
  await waitUntil('the counters equal the sum of the answers', async () => {
    const counters = await store.read(`key#${project}#${keys[0]?.id}`);
    const counted = Object.entries(counters).find(([name]) => name.startsWith('k.c.y'))?.[1];
    return counted === toPicodollars(Math.round(total * 1e6) / 1e6);
  });
  tables.destroy();
});
