import { GetItemCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { makeActBatch } from '../../../shared/abuse/act-batch.ts';
import { type Activity, sumActivity } from '../../../shared/abuse/activity.ts';
import {
  type ActivityItem,
  addActivity,
  beginReport,
  endReport,
  NO_HISTORY,
  noteUsual,
  readActivity,
  readHistory,
} from '../../../shared/abuse/activity-table.ts';
import { computeUsual, findInKey, findUnusualRate } from '../../../shared/abuse/findings.ts';
import { resolveAbuseRules } from '../../../shared/access/abuse-rules.ts';
import type { Entry } from '../../../shared/audit/entry.ts';
import { marshall } from '../../../shared/aws/attributes.ts';
import { type Table, updateItem } from '../../../shared/aws/table.ts';
import { type AuditWorld, startAuditWorld } from '../audit/audit-world.ts';

const HOUR_MS = 3_600_000;
const HOUR = Date.parse('2026-11-30T10:00:00Z');

let world: AuditWorld;
let table: Table;
beforeAll(async () => {
  world = await startAuditWorld();
  ({ table } = await world.newLog());
});
afterAll(() => world[Symbol.asyncDispose]());

let count = 0;
let tenant: string;
beforeEach(() => {
  count += 1;
  tenant = `tenant-${count}`;
});

const makeEntry = (fields: Partial<Entry>): Entry => ({
  ...{ id: 'audit_1', time: '2026-11-30T10:59:59.999Z', record: 'call', tenant, keyId: 'a' },
  ...fields,
});
const makeActivity = (fields: Partial<Activity> = {}): Activity => ({
  ...{ tenant, keyId: undefined, hour: HOUR, calls: 1, refusals: 0, networks: new Set<string>() },
  ...fields,
});
const makeItem = (fields: Partial<ActivityItem> = {}): ActivityItem => ({
  ...makeActivity(),
  ...{ reports: {}, reported: new Set<string>(), usual: undefined },
  ...fields,
});
let sequence = 0;
async function add(...activity: readonly Activity[]): Promise<void> {
  sequence += 1;
  await addActivity(table, { chain: 0, sequence }, activity);
}
const readOne = async (keyId?: string): Promise<ActivityItem | undefined> =>
  (await readActivity(table, [{ tenant, keyId, hour: HOUR }]))[0];

describe('what entries add', () => {
  it('calls and refusals count for the key and the project, and networks for the key', () => {
    const entries = [
      makeEntry({ network: '192.0.2.0/24' }),
      makeEntry({ network: '192.0.2.0/24' }),
      makeEntry({ record: 'guardrail', action: 'refuse', network: '198.51.100.0/24' }),
      makeEntry({ keyId: undefined, network: '203.0.113.0/24' }),
      makeEntry({ time: '2026-11-30T11:00:00.000Z' }),
    ];
    const networks = new Set(['192.0.2.0/24', '198.51.100.0/24']);
    expect(sumActivity(entries)).toEqual([
      makeActivity({ calls: 3, refusals: 1 }),
      makeActivity({ keyId: 'a', calls: 2, refusals: 1, networks }),
      makeActivity({ hour: HOUR + HOUR_MS }),
      makeActivity({ hour: HOUR + HOUR_MS, keyId: 'a' }),
    ]);
  });

  it('other entries, matches that are only flagged and callers without a tenant add nothing', () => {
    const entries = [
      makeEntry({ record: 'act', action: 'refuse' }),
      makeEntry({ record: 'settlement' }),
      makeEntry({ record: 'guardrail', action: 'flag' }),
      makeEntry({ tenant: undefined }),
    ];
    expect(sumActivity(entries)).toEqual([]);
  });
});

describe('the items of activity', () => {
  it.each([
    ['a', 86_400],
    [undefined, 8 * 86_400],
  ])('the item of %s is kept for %i s after its hour', async (keyId, seconds) => {
    await add(makeActivity({ keyId }));
    const pk = `activity#${tenant}${keyId === undefined ? '' : `#${keyId}`}`;
    const Key = { pk: { S: pk }, sk: { S: '2026-11-30T10:00:00.000Z' } };
    const { Item } = await table.client.send(new GetItemCommand({ TableName: table.name, Key }));
    expect(Number(Item?.['expiresAt']?.N)).toBe((HOUR + HOUR_MS) / 1000 + seconds);
  });

  it('any number of subjects is read, and those without activity are missing', async () => {
    const keys = Array.from({ length: 101 }, (_, index) => `key-${index}`);
    await add(...keys.map((keyId, index) => makeActivity({ keyId, calls: index + 1 })));
    const subjects = ['none', ...keys].map((keyId) => ({ tenant, keyId, hour: HOUR }));
    const items = await readActivity(table, subjects);
    expect(items.map(({ keyId }) => keyId).sort()).toEqual([...keys].sort());
    for (const { keyId, calls } of items) expect(calls).toBe(keys.indexOf(keyId ?? '') + 1);
    expect(await readActivity(table, [])).toEqual([]);
  });

  it('an item with more networks than it may get gets no others', async () => {
    const list = (length: number, first: number) =>
      new Set(Array.from({ length }, (_, index) => `10.${first}.${index}.0/24`));
    // Recorders that add at the same time exceed the maximum.
    const change = { change: 'ADD networks :networks', values: marshall({ ':networks': list(250, 0) }) };
    await updateItem(table, marshall({ pk: `activity#${tenant}#a`, sk: new Date(HOUR).toISOString() }), change);
    await add(makeActivity({ keyId: 'a', networks: list(60, 1) }));
    expect(await readOne('a')).toMatchObject({ calls: 1, networks: list(250, 0) });
  });

  it('networks that an item has already leave its last place to others', async () => {
    const known = Array.from({ length: 199 }, (_, index) => `10.0.${index}.0/24`);
    await add(makeActivity({ keyId: 'a', networks: new Set(known) }));
    await add(makeActivity({ keyId: 'a', networks: new Set([...known.slice(0, 5), '10.1.0.0/24']) }));
    expect((await readOne('a'))?.networks).toEqual(new Set([...known, '10.1.0.0/24']));
  });

  it('the history of a project has the hours of the week before, without the hour itself', async () => {
    const hours = [0, 1, 2, 7 * 24, 7 * 24 + 1];
    await add(...hours.map((before) => makeActivity({ hour: HOUR - before * HOUR_MS, calls: before + 1 })));
    await add(makeActivity({ keyId: 'a', hour: HOUR - HOUR_MS }));
    const history = await readHistory(table, { tenant, keyId: 'a', hour: HOUR });
    const hoursBefore = [7 * 24, 2, 1];
    expect(history.map(({ hour }) => (HOUR - hour) / HOUR_MS)).toEqual(hoursBefore);
    const project = { tenant, keyId: undefined };
    expect(history).toMatchObject(hoursBefore.map((before) => ({ ...project, calls: before + 1 })));
  });

  it('the usual hour and a report are those that were noted first', async () => {
    const subject = { tenant, keyId: undefined, hour: HOUR };
    await add(makeActivity());
    expect(await readOne()).toMatchObject({ usual: undefined, reports: {}, reported: new Set() });
    await noteUsual(table, subject, 5);
    await noteUsual(table, subject, 9);
    expect(await beginReport(table, subject, 'rate', 'first')).toBe('first');
    expect(await beginReport(table, subject, 'rate', 'second')).toBe('first');
    expect(await beginReport(table, subject, 'networks', 'other')).toBe('other');
    await endReport(table, subject, 'rate');
    expect(await readOne()).toMatchObject({
      ...{ usual: 5, reports: { rate: 'first', networks: 'other' }, reported: new Set(['rate']) },
      calls: 1,
    });
  });
});

describe('findings', () => {
  const rules = resolveAbuseRules({ timesUsualRate: 2.5, leastCallsPerHour: 10 }, undefined);

  it('the usual hour is the busiest that was not reported, if one that counts is a day old', () => {
    const make = (before: number, calls: number, ...reported: readonly string[]) =>
      makeItem({ hour: HOUR - before * HOUR_MS, calls, reported: new Set(reported) });
    expect(computeUsual([], HOUR)).toBe(NO_HISTORY);
    expect(computeUsual([make(23, 9)], HOUR)).toBe(NO_HISTORY);
    expect(computeUsual([make(24, 3), make(1, 9), make(2, 5)], HOUR)).toBe(9);
    expect(computeUsual([make(24, 3), make(1, 9, 'rate'), make(2, 5, 'refusals')], HOUR)).toBe(5);
    expect(computeUsual([make(24, 3, 'rate'), make(1, 9)], HOUR)).toBe(NO_HISTORY);
  });

  it('a count that reaches its threshold is found, and one of a rule that is off is not', () => {
    const key = makeItem({ keyId: 'a', refusals: 5, networks: new Set(['1', '2', '3']) });
    const find = (own: Parameters<typeof resolveAbuseRules>[0]) =>
      findInKey(key, resolveAbuseRules(own, undefined)).map(({ sign, value, threshold }) => [sign, value, threshold]);
    expect(find({ refusalsPerHour: 5, networksPerHour: 3 })).toEqual([
      ['networks', 3, 3],
      ['refusals', 5, 5],
    ]);
    expect(find({ refusalsPerHour: 6, networksPerHour: 4 })).toEqual([]);
    expect(find({ refusalsPerHour: null, networksPerHour: null })).toEqual([]);
  });

  it('the rate of a project is found at its threshold, which is rounded up', () => {
    const find = (calls: number, usual: number | undefined, changes = {}) =>
      findUnusualRate(makeItem({ calls, usual }), [], { ...rules, ...changes }).map(({ value, threshold }) => [
        value,
        threshold,
      ]);
    expect(find(13, 5)).toEqual([[13, 13]]);
    expect(find(12, 5)).toEqual([]);
    expect(find(10, 1)).toEqual([[10, 10]]);
    expect(find(9, 1)).toEqual([]);
    expect(find(1_000, undefined)).toEqual([]);
    expect(find(1_000, NO_HISTORY)).toEqual([]);
    expect(find(1_000, 5, { timesUsualRate: null })).toEqual([]);
  });

  it('the subject is the key with at least half of the calls, or else the project', () => {
    const project = makeItem({ calls: 21, usual: 1 });
    const [small, large] = [makeItem({ keyId: 'a', calls: 10 }), makeItem({ keyId: 'b', calls: 11 })];
    expect(findUnusualRate(project, [small, large], rules)).toMatchObject([{ subject: large, project, sign: 'rate' }]);
    expect(findUnusualRate(project, [small], rules)).toMatchObject([{ subject: project }]);
    const even = { ...project, calls: 20 };
    expect(findUnusualRate(even, [small], rules)).toMatchObject([{ subject: small }]);
  });
});

it('an act is the same batch whenever it is reported for the same time, and another one for another time', () => {
  const act = { type: 'api_key.held', objectId: 'a', project: 'acme', details: { data: { value: 3 } } };
  const batch = makeActBatch(act, HOUR, '/aws/lambda/record');
  expect(batch).toMatchObject({
    logGroup: '/aws/lambda/record',
    logStream: 'abuse',
    id: expect.stringMatching(/^.{64}$/),
  });
  expect(batch.lines.map((line) => JSON.parse(line))).toEqual([
    {
      ...{ time: '2026-11-30T10:00:00.000Z', record: 'act', act: 'api_key.held', objectId: 'a', project: 'acme' },
      details: '{"data":{"value":3}}',
    },
  ]);
  expect(makeActBatch(act, HOUR, '/aws/lambda/record')).toEqual(batch);
  expect(makeActBatch(act, HOUR + 1, '/aws/lambda/record').id).not.toBe(batch.id);
});
