import type { QueryCommandOutput } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { UNRESTRICTED } from '../../../shared/access/policy.ts';
import { ORGANIZATION } from '../../../shared/access/principal.ts';
import { createAuditLogRoutes } from '../../../shared/admin/audit-logs.ts';
import { storeActs } from '../../../shared/audit/act-table.ts';
import type { Entry } from '../../../shared/audit/entry.ts';
import type { Table } from '../../../shared/aws/table.ts';
import { type AuditWorld, startAuditWorld } from '../audit/audit-world.ts';
import { recordTelemetry } from '../core/recorded-telemetry.ts';

const DAY_SECONDS = 86_400;
/** The second of the acts whose order is compared: the last hour of a year in which there was an act each day. */
const SECOND = Date.parse('2026-11-30T12:00:00Z') / 1000;
/** Milliseconds after the second before it, at which there is an act each. Objects are named by them. */
const TIMES = [0, 999, 1_000, 1_001, 1_999, 2_000];

let world: AuditWorld;
let usage: Table;
/** Items that DynamoDB has returned. */
let items = 0;

beforeAll(async () => {
  world = await startAuditWorld();
  usage = (await world.newLog()).table;
  usage.client.middlewareStack.add((next) => async (input) => {
    const result = await next(input);
    items += (result.output as Partial<QueryCommandOutput>).Count ?? 0;
    return result;
  });
  const earlier = Array.from({ length: 365 }, (_, index) =>
    makeAct('old', (SECOND - (index + 1) * DAY_SECONDS) * 1000),
  );
  const recent = TIMES.map((ms) => makeAct(String(ms), (SECOND - 1) * 1000 + ms));
  await storeActs(usage, [...earlier, ...recent], 400);
});
afterAll(() => world[Symbol.asyncDispose]());

let made = 0;
function makeAct(objectId: string, at: number): Entry {
  made += 1;
  const id = `audit_${String(made).padStart(24, '0')}`;
  return { id, time: new Date(at).toISOString(), record: 'act', act: 'project.updated', objectId };
}

interface Page {
  readonly data: readonly { readonly id: string; readonly 'project.updated': { readonly id: string } }[];
  readonly has_more: boolean;
}

async function list(query: Readonly<Record<string, string | number>>): Promise<Page> {
  const texts = Object.fromEntries(Object.entries(query).map(([name, value]) => [name, String(value)]));
  const response = await createAuditLogRoutes({ usage })['GET /v1/organization/audit_logs'].run({
    ...{ requestId: 'r', pathParameters: {}, query: texts, headers: {}, body: {} },
    principal: { tenant: ORGANIZATION, keyId: 'admin', scopes: [], policy: UNRESTRICTED },
    ...{ signal: new AbortController().signal, telemetry: recordTelemetry(), deadlineAt: Number.POSITIVE_INFINITY },
  });
  return response.json as unknown as Page;
}

const listObjects = async (query: Readonly<Record<string, string | number>>): Promise<string[]> =>
  (await list(query)).data.map((act) => act['project.updated'].id);

it.each<[Readonly<Record<string, number>>, readonly number[]]>([
  [{ gt: SECOND - 1 }, [2_000, 1_999, 1_001, 1_000]],
  [{ gte: SECOND }, [2_000, 1_999, 1_001, 1_000]],
  [{ gt: SECOND }, [2_000]],
  [{ gte: SECOND - 1, lt: SECOND }, [999, 0]],
  [{ gte: SECOND - 1, lte: SECOND }, [1_999, 1_001, 1_000, 999, 0]],
  [{ gte: SECOND, lte: SECOND }, [1_999, 1_001, 1_000]],
  [{ gt: SECOND, gte: SECOND - 1 }, [2_000]],
  [{ gt: SECOND - 1, gte: SECOND + 1 }, [2_000]],
  [{ gte: SECOND - 1, lt: SECOND, lte: SECOND + 1 }, [999, 0]],
  [{ gte: SECOND - 1, lt: SECOND + 1, lte: SECOND - 1 }, [999, 0]],
  [{ gt: SECOND, lt: SECOND + 1 }, []],
  [{ gte: SECOND, lt: SECOND }, []],
  [{ gt: 99_999_999_999 }, []],
])('acts are selected by the second of their time: %j', async (times, expected) => {
  const query = Object.fromEntries(Object.entries(times).map(([name, value]) => [`effective_at[${name}]`, value]));
  expect(await listObjects(query)).toEqual(expected.map(String));
});

it('times and the position of a page limit the same list', async () => {
  const query = { 'effective_at[gte]': SECOND - 1, 'effective_at[lte]': SECOND, limit: 2 };
  const first = await list(query);
  expect(first).toMatchObject({ has_more: true, data: [{ 'project.updated': { id: '1999' } }, {}] });
  const second = await list({ ...query, after: first.data.at(-1)?.id ?? '' });
  expect(second.data.map((act) => act['project.updated'].id)).toEqual(['1000', '999']);
  expect(await listObjects({ ...query, after: second.data.at(-1)?.id ?? '' })).toEqual(['0']);
  expect(await listObjects({ ...query, before: second.data[0]?.id ?? '' })).toEqual(['1999', '1001']);
  const [newest] = (await list({ limit: 1 })).data;
  expect(await listObjects({ 'effective_at[lt]': SECOND, limit: 1, after: newest?.id ?? '' })).toEqual(['999']);
});

it('the acts between two others are listed by pages, the newest first', async () => {
  const acts = (await list({ 'effective_at[gte]': SECOND - 1, limit: 6 })).data;
  const [after = '', before = ''] = [acts[0]?.id, acts[5]?.id];
  const first = await list({ after, before, limit: 3 });
  expect(first).toMatchObject({ has_more: true, data: acts.slice(1, 4) });
  expect(await list({ after: acts[3]?.id ?? '', before, limit: 3 })).toMatchObject({
    ...{ has_more: false, data: acts.slice(4, 5) },
  });
  expect(await list({ after: before, before: after })).toMatchObject({ has_more: false, data: [] });
});

it('only the acts of the selected times are read', async () => {
  items = 0;
  expect(await listObjects({ 'effective_at[gt]': SECOND - 3_600, limit: 20 })).toHaveLength(TIMES.length);
  expect(items).toBe(TIMES.length);
  items = 0;
  expect(await listObjects({ 'effective_at[lt]': SECOND - 364 * DAY_SECONDS, limit: 20 })).toEqual(['old']);
  expect(items).toBe(1);
});
