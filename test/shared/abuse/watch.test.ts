import { PutItemCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Activity, sumActivity } from '../../../shared/abuse/activity.ts';
import { addActivity, readActivity } from '../../../shared/abuse/activity-table.ts';
import { type AbuseReport, type WatchPorts, watchForAbuse } from '../../../shared/abuse/watch.ts';
import { createHoldTable } from '../../../shared/access/hold-table.ts';
import type { Restrictions } from '../../../shared/access/policy.ts';
import { createPolicyAdministration } from '../../../shared/access/policy-administration.ts';
import { createPolicyTable } from '../../../shared/access/policy-table.ts';
import { ORGANIZATION } from '../../../shared/access/principal.ts';
import type { Entry } from '../../../shared/audit/entry.ts';
import type { Table } from '../../../shared/aws/table.ts';
import { type AccessTable, startAccessTable } from '../access/access-table.ts';
import { type AuditWorld, startAuditWorld } from '../audit/audit-world.ts';

const HOUR_MS = 3_600_000;
const START = Date.parse('2026-11-30T10:00:00Z');

let world: AuditWorld;
let access: AccessTable;
let table: Table;
beforeAll(async () => {
  [world, access] = await Promise.all([startAuditWorld(), startAccessTable()]);
  ({ table } = await world.newLog());
});
afterAll(() => Promise.all([world[Symbol.asyncDispose](), access[Symbol.asyncDispose]()]));

let count = 0;
let sequence = 0;
let tenant: string;
let now: number;
let reports: AbuseReport[];
let ports: WatchPorts;
beforeEach(() => {
  count += 1;
  tenant = `tenant-${count}`;
  now = START;
  reports = [];
  ports = {
    table,
    policies: createPolicyTable(access.client, 'access'),
    holds: createHoldTable({ client: access.client, name: 'access' }, () => now),
    report: async (report) => void reports.push(report),
    now: () => now,
  };
});

const setRules = (abuse: NonNullable<Restrictions['abuse']>) =>
  createPolicyAdministration(access.client, 'access').changeProject(tenant, (project) => ({
    ...project,
    restrictions: { abuse },
  }));

const makeEntry = (fields: Partial<Entry>): Entry => ({
  ...{ id: 'audit_1', time: new Date(now).toISOString(), record: 'call', tenant, keyId: 'a' },
  ...fields,
});
const makeCalls = (calls: number, fields: Partial<Entry> = {}) =>
  Array.from({ length: calls }, () => makeEntry(fields));
const makeRefusals = (refusals: number, action = 'refuse') => makeCalls(refusals, { record: 'guardrail', action });

/** Records entries as one digest of a chain. */
async function record(entries: readonly Entry[], chain = 0): Promise<void> {
  sequence += 1;
  await addActivity(table, { chain, sequence }, sumActivity(entries));
  await watchForAbuse(entries, ports);
}

/** Adds hours in which the project was used, the last of them an hour ago. */
async function addHistory(hours: readonly number[]): Promise<void> {
  for (const [index, calls] of hours.entries()) {
    sequence += 1;
    const hour = START - (hours.length - index) * HOUR_MS;
    const activity: Activity = { tenant, keyId: undefined, hour, calls, refusals: 0, networks: new Set() };
    await addActivity(table, { chain: 0, sequence }, [activity]);
  }
}

const listActs = () => reports.map(({ act }) => act);

describe('the watch for abuse', () => {
  it('a key that is used from too many networks is reported, once an hour', async () => {
    await setRules({ networksPerHour: 3 });
    const callFrom = (network: string) => record([makeEntry({ network })]);
    for (const network of ['192.0.2.0/24', '198.51.100.0/24', '192.0.2.0/24']) await callFrom(network);
    expect(reports).toEqual([]);
    await callFrom('2001:db8:7::/48');
    await callFrom('203.0.113.0/24');
    const act = { type: 'api_key.suspected', objectId: 'a', project: tenant };
    const data = { reason: 'networks', value: 3, threshold: 3 };
    expect(reports).toEqual([{ act: { ...act, details: { data } }, at: now, isHeld: false }]);
    expect(await ports.holds.list(tenant)).toEqual({});
    now += HOUR_MS;
    for (const network of ['192.0.2.0/24', '198.51.100.0/24']) await callFrom(network);
    expect(reports).toHaveLength(1);
    await callFrom('203.0.113.0/24');
    expect(reports).toHaveLength(2);
  });

  it('a policy that cannot be read hides no sign of another tenant, and fails the call', async () => {
    await setRules({ networksPerHour: 1 });
    const broken = `${tenant}-broken`;
    const Item = { pk: { S: `project#${broken}` }, policy: { S: '{' } };
    await access.client.send(new PutItemCommand({ TableName: 'access', Item }));
    const networks = ['192.0.2.0/24', '198.51.100.0/24'];
    const entries = [broken, tenant].flatMap((each) => networks.map((network) => makeEntry({ tenant: each, network })));
    await expect(record(entries)).rejects.toThrow(SyntaxError);
    expect(listActs()).toEqual([expect.objectContaining({ type: 'api_key.suspected', project: tenant })]);
  });

  it('calls that were not authorized add nothing, whatever the network', async () => {
    await setRules({ networksPerHour: 1, timesUsualRate: 3, leastCallsPerHour: 10 });
    await addHistory(Array.from({ length: 30 }, () => 2));
    const codes = ['ip_not_authorized', 'certificate_not_authorized', 'key_held', 'project_archived'];
    for (const errorCode of [...codes, 'insufficient_permissions', 'invalid_api_key'])
      await record(makeCalls(20, { errorCode, network: '192.0.2.0/24' }));
    expect(reports).toEqual([]);
    await record(makeCalls(1, { errorCode: 'model_not_found', network: '192.0.2.0/24' }));
    expect(reports).toHaveLength(1);
  });

  it('a key with many refused requests is held if the policy says so, until its time', async () => {
    await setRules({ refusalsPerHour: 5, hold: ['refusals'], holdSeconds: 600 });
    await record([...makeRefusals(4), ...makeRefusals(10, 'flag'), ...makeCalls(20)]);
    expect(reports).toEqual([]);
    await record(makeRefusals(1));
    const until = START / 1000 + 600;
    expect(await ports.holds.list(tenant)).toEqual({ a: { since: START / 1000, until, reason: 'refusals' } });
    const data = { reason: 'refusals', value: 5, threshold: 5, held_until: until };
    expect(listActs()).toEqual([{ type: 'api_key.held', objectId: 'a', project: tenant, details: { data } }]);
    // What an administrator has released stays so for the rest of the hour.
    await ports.holds.release(tenant, 'a');
    await record(makeRefusals(1));
    expect(await ports.holds.list(tenant)).toEqual({});
  });

  it('a project that is used several times more than in its busiest hour is reported, its busiest key held', async () => {
    await setRules({ timesUsualRate: 3, leastCallsPerHour: 10, hold: ['rate'] });
    await addHistory(Array.from({ length: 30 }, (_, hour) => (hour === 20 ? 10 : 2)));
    await record([...makeCalls(14, { keyId: 'quiet' }), ...makeCalls(15)]);
    expect(reports).toEqual([]);
    await record(makeCalls(1, { keyId: 'quiet' }));
    expect(listActs()).toMatchObject([
      { type: 'api_key.held', objectId: 'quiet', details: { data: { threshold: 30 } } },
    ]);
    expect(Object.keys(await ports.holds.list(tenant))).toEqual(['quiet']);
  });

  it('a project that many keys use far more than usual is reported itself, and none of them is held', async () => {
    await setRules({ timesUsualRate: 3, leastCallsPerHour: 10, hold: ['rate'] });
    await addHistory(Array.from({ length: 30 }, () => 5));
    await record(['a', 'b', 'c'].flatMap((keyId) => makeCalls(6, { keyId })));
    expect(listActs()).toMatchObject([{ type: 'project.suspected', objectId: tenant, project: tenant }]);
    expect(await ports.holds.list(tenant)).toEqual({});
  });

  it('a project has no unusual rate before its second day, below the least calls, or by hours that were reported', async () => {
    await setRules({ timesUsualRate: 2, leastCallsPerHour: 10 });
    await addHistory(Array.from({ length: 23 }, () => 5));
    await record(makeCalls(50));
    expect(reports).toEqual([]);
    now += HOUR_MS;
    await record(makeCalls(9));
    expect(reports).toEqual([]);
    // The busiest hour has 50 calls.
    await record(makeCalls(100 - 9));
    expect(listActs()).toMatchObject([{ details: { data: { reason: 'rate', value: 100, threshold: 100 } } }]);
    now += HOUR_MS;
    await record(makeCalls(100));
    expect(listActs()).toMatchObject([{}, { details: { data: { threshold: 100 } } }]);
  });

  it('a repeated digest counts once, and digests of several chains add up', async () => {
    await setRules({ refusalsPerHour: 6 });
    const entries = makeRefusals(2);
    for (const chain of [0, 1]) {
      sequence += 1;
      for (const _ of [1, 2]) {
        await addActivity(table, { chain, sequence }, sumActivity(entries));
        await watchForAbuse(entries, ports);
      }
    }
    expect(reports).toEqual([]);
    await record(entries, 2);
    expect(reports).toHaveLength(1);
  });

  it('what a crash interrupted is completed later, with the same report and hold', async () => {
    await setRules({ networksPerHour: 1, hold: ['networks'], holdSeconds: 600 });
    const entries = [makeEntry({ network: '192.0.2.0/24' })];
    const crash = async () => Promise.reject(new Error('crash'));
    const working = ports;
    const until = START / 1000 + 600;
    for (const broken of [{ holds: { ...working.holds, place: crash } }, { report: crash }]) {
      ports = { ...working, ...broken };
      await expect(record(entries)).rejects.toThrow('crash');
      now += 60_000;
    }
    expect(reports).toEqual([]);
    ports = working;
    await watchForAbuse(entries, ports);
    await watchForAbuse(entries, ports);
    expect(reports).toMatchObject([{ at: START, isHeld: true, act: { details: { data: { held_until: until } } } }]);
    expect(await ports.holds.list(tenant)).toMatchObject({ a: { since: START / 1000, until } });
  });

  it('lines are looked at until two hours after their hour began', async () => {
    await setRules({ refusalsPerHour: 1 });
    const entries = makeRefusals(1);
    now += 2 * HOUR_MS;
    await record(entries);
    expect(reports).toEqual([]);
    now -= 1;
    await watchForAbuse(entries, ports);
    expect(reports).toHaveLength(1);
  });

  it('a key is not the subject of an hour in which another one was used', async () => {
    await setRules({ timesUsualRate: 1.2, leastCallsPerHour: 10 });
    await addHistory(Array.from({ length: 30 }, () => 1));
    const later = new Date(START + HOUR_MS).toISOString();
    await record([
      ...makeCalls(9, { keyId: 'earlier' }),
      ...['b', 'c', 'd'].flatMap((keyId) => makeCalls(4, { keyId, time: later })),
    ]);
    expect(listActs()).toMatchObject([
      { type: 'project.suspected', objectId: tenant, details: { data: { value: 12 } } },
    ]);
  });

  it('the usual hour is computed once an hour, and only for a project with enough calls and a rule', async () => {
    const readUsual = async () => (await readActivity(table, [{ tenant, keyId: undefined, hour: START }]))[0]?.usual;
    await addHistory(Array.from({ length: 30 }, () => 2));
    await setRules({ timesUsualRate: null, leastCallsPerHour: 5 });
    await record(makeCalls(5));
    expect(await readUsual()).toBeUndefined();
    await setRules({ timesUsualRate: 3, leastCallsPerHour: 7 });
    await record(makeCalls(1));
    expect(await readUsual()).toBeUndefined();
    await setRules({ timesUsualRate: 4, leastCallsPerHour: 7 });
    await record(makeCalls(1));
    expect(await readUsual()).toBe(2);
    expect(reports).toEqual([]);
    // A line of an earlier hour that comes late changes nothing.
    await addHistory([50]);
    await record(makeCalls(1));
    expect(listActs()).toMatchObject([{ details: { data: { value: 8, threshold: 8 } } }]);
  });

  it('a hold begins with the second of its report and ends after whole seconds', async () => {
    await setRules({ refusalsPerHour: 1, hold: ['refusals'], holdSeconds: 600 });
    now += 1;
    await record(makeRefusals(1));
    const [since, until] = [START / 1000, START / 1000 + 601];
    expect(await ports.holds.list(tenant)).toMatchObject({ a: { since, until } });
    expect(reports).toMatchObject([{ at: START + 1 }]);
  });

  it('a sign that the policy does not hold for, or a key that finds no place among the holds, is reported', async () => {
    await setRules({ refusalsPerHour: 1, networksPerHour: 1, hold: ['refusals'] });
    ports = { ...ports, holds: { ...ports.holds, place: async () => false } };
    await record([...makeRefusals(1), makeEntry({ network: '192.0.2.0/24' })]);
    const data = (reason: string) => ({ data: { reason, value: 1, threshold: 1 } });
    expect(reports.map(({ act, isHeld }) => ({ type: act.type, details: act.details, isHeld }))).toEqual([
      { type: 'api_key.suspected', details: data('networks'), isHeld: false },
      { type: 'api_key.suspected', details: data('refusals'), isHeld: false },
    ]);
  });

  it('an hour in which a key was reported for the rate does not become usual', async () => {
    await setRules({ timesUsualRate: 3, leastCallsPerHour: 10 });
    await addHistory(Array.from({ length: 30 }, () => 4));
    await record(makeCalls(12));
    expect(listActs()).toMatchObject([{ type: 'api_key.suspected', objectId: 'a' }]);
    now += HOUR_MS;
    await record(makeCalls(12));
    expect(listActs()).toMatchObject([{}, { details: { data: { threshold: 12 } } }]);
  });

  it('a user, a service account and a sender are reported and held as what they are', async () => {
    await setRules({ refusalsPerHour: 1, hold: ['refusals'] });
    const hex = '0123456789abcdef0123456789ab';
    const callers = { user: `user_${hex}`, service_account: `svc_acct_${hex}`, sender: 'AROAEXAMPLE000000001' };
    for (const [kind, keyId] of Object.entries(callers)) {
      reports = [];
      await record(makeCalls(1, { record: 'guardrail', action: 'refuse', keyId }));
      expect(listActs()).toMatchObject([{ type: `${kind}.held`, objectId: keyId }]);
    }
    expect(Object.keys(await ports.holds.list(tenant)).sort()).toEqual(Object.values(callers).sort());
  });

  it('an admin key is reported and never held', async () => {
    tenant = ORGANIZATION;
    await setRules({ networksPerHour: 2, hold: ['networks'] });
    await record(['192.0.2.0/24', '198.51.100.0/24'].map((network) => makeEntry({ network })));
    expect(listActs()).toMatchObject([{ type: 'api_key.suspected', objectId: 'a' }]);
    expect(listActs()[0]).not.toHaveProperty('project');
    expect(await ports.holds.list(tenant)).toEqual({});
    await setRules({});
  });

  it('a rule that is null is off, and a project’s own rules come before those of the account', async () => {
    const policies = createPolicyAdministration(access.client, 'access');
    await policies.changeAccount(() => ({ abuse: { refusalsPerHour: 2, networksPerHour: 1 } }));
    await setRules({ refusalsPerHour: null });
    await record(makeRefusals(100));
    expect(reports).toEqual([]);
    await record([makeEntry({ network: '192.0.2.0/24' })]);
    expect(listActs()).toMatchObject([{ details: { data: { reason: 'networks' } } }]);
    await policies.changeAccount(() => ({}));
  });

  it('lines that are recorded hours later count, but nothing follows from them', async () => {
    await setRules({ refusalsPerHour: 1, hold: ['refusals'] });
    const entries = makeRefusals(5);
    now += 3 * HOUR_MS;
    await record(entries);
    expect(reports).toEqual([]);
    expect((await readActivity(table, sumActivity(entries))).map(({ refusals }) => refusals)).toEqual([5, 5]);
  });

  it('calls with refused keys add nothing, and a key’s item has at most 200 networks', async () => {
    expect(sumActivity([makeEntry({ tenant: undefined, keyId: undefined, network: '192.0.2.0/24' })])).toEqual([]);
    const from = (start: number) =>
      Array.from({ length: 150 }, (_, index) => makeEntry({ network: `10.${start}.${index}.0/24` }));
    for (const start of [0, 1, 2]) await record(from(start));
    const [key] = await readActivity(table, [{ tenant, keyId: 'a', hour: START }]);
    expect(key?.networks.size).toBe(200);
    expect(key?.calls).toBe(450);
  });
});
