import { GetItemCommand, PutItemCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createExpiringKeys } from '../../../shared/access/expiring-keys.ts';
import { getDay, getWarningDay, listWarnedDays } from '../../../shared/access/expiry-warning.ts';
import { createKeyTable } from '../../../shared/access/key-table.ts';
import { createKeyItem, getKeyPartition, type KeyRecord } from '../../../shared/access/keys.ts';
import { createPolicyAdministration } from '../../../shared/access/policy-administration.ts';
import { createPolicyTable, getProjectPartition } from '../../../shared/access/policy-table.ts';
import { ORGANIZATION } from '../../../shared/access/principal.ts';
import { reportExpiry } from '../../../shared/audit/expiring-key.ts';
import { isExpirySweepDue, sweepExpiringKeys } from '../../../shared/audit/sweep-expiring-keys.ts';
import { marshall } from '../../../shared/aws/attributes.ts';
import type { Table } from '../../../shared/aws/table.ts';
import { type AccessTable, startAccessTable } from '../access/access-table.ts';
import { type AuditWorld, startAuditWorld } from '../audit/audit-world.ts';
import { recordTelemetry } from '../core/recorded-telemetry.ts';

const DAY_SECONDS = 86_400;
const NOW = Date.parse('2027-01-31T12:00:00Z');
const makeRecord = (expiresAt: number | undefined, more: Partial<KeyRecord> = {}): KeyRecord => ({
  ...{ tenant: 'acme', keyId: 'web', scopes: ['generate'] },
  ...(expiresAt !== undefined && { expiresAt }),
  ...more,
});
/** Returns epoch seconds that are so many seconds after `NOW`. */
const inSeconds = (seconds: number) => NOW / 1000 + seconds;

describe('when a key is reported', () => {
  it.each([
    ['a key without an end', undefined, undefined, undefined],
    ['a key that expires in more than seven days', 7 * DAY_SECONDS + 1, undefined, undefined],
    ['a key that expires in seven days', 7 * DAY_SECONDS, undefined, '2027-01-31'],
    ['a key that was reported yesterday', 60, '2027-01-30', '2027-01-31'],
    ['a key that was reported today', 60, '2027-01-31', undefined],
  ])('%s', (_case, seconds, warnedOn, day) => {
    const record = makeRecord(seconds && inSeconds(seconds), warnedOn === undefined ? {} : { warnedOn });
    expect(getWarningDay(record, NOW)).toBe(day);
  });

  it('the days are today and the seven after it', () => {
    const days = Array.from({ length: 8 }, (_, index) => getDay(NOW + index * DAY_SECONDS * 1000));
    expect(listWarnedDays(NOW)).toEqual(days);
    expect(days[0]).toBe('2027-01-31');
    expect(days[7]).toBe('2027-02-07');
  });

  it('keys are looked for once an hour', () => {
    const minutes = Array.from({ length: 120 }, (_, minute) => minute);
    expect(minutes.filter((minute) => isExpirySweepDue(NOW + minute * 60_000))).toEqual([7, 67]);
  });
});

describe('the sweep of keys that expire', () => {
  let access: AccessTable;
  let world: AuditWorld;
  let table: Table;
  let list: ReturnType<typeof createExpiringKeys>;
  beforeAll(async () => {
    [access, world] = await Promise.all([startAccessTable(), startAuditWorld()]);
  });
  afterAll(() => Promise.all([access[Symbol.asyncDispose](), world[Symbol.asyncDispose]()]));
  beforeEach(async () => {
    ({ table } = await world.newLog());
    list = createExpiringKeys(table);
  });

  const add = async (key: string, record: KeyRecord, listedAt = record.expiresAt ?? null) => {
    await access.client.send(new PutItemCommand({ TableName: access.name, Item: createKeyItem(key, record) }));
    await list.add({ partition: getKeyPartition(key), expiresAt: listedAt });
  };

  /** Sweeps. Returns the ids of the keys that were reported, and all lines. */
  async function sweep({ until = Number.POSITIVE_INFINITY, keys = createKeyTable(access.client, access.name) } = {}) {
    const telemetry = recordTelemetry();
    const policies = createPolicyTable(access.client, access.name);
    const ports = { expiring: list, keys, policies, telemetry, now: () => NOW };
    await sweepExpiringKeys(ports, until);
    const { lines } = telemetry;
    return { lines, ids: lines.filter(({ record }) => record === 'act').map(({ objectId }) => objectId) };
  }

  it('reports a key once, with its project and its end, and the key of an administrator without a project', async () => {
    await add('sk-web', makeRecord(inSeconds(60)));
    await add(
      'sk-admin',
      makeRecord(inSeconds(DAY_SECONDS), { tenant: ORGANIZATION, keyId: 'ops', scopes: ['admin.keys.read'] }),
    );
    const { lines } = await sweep();
    const acts = lines.filter(({ record }) => record === 'act');
    expect(acts).toMatchObject([
      { act: 'api_key.expiring', objectId: 'web', project: 'acme', details: `{"expires_at":${inSeconds(60)}}` },
      { act: 'api_key.expiring', objectId: 'ops', details: `{"expires_at":${inSeconds(DAY_SECONDS)}}` },
    ]);
    expect(acts[1]?.['project']).toBeUndefined();
    expect(lines.filter(({ KeysExpiring }) => KeysExpiring === 1)).toHaveLength(2);
    expect((await sweep()).lines).toEqual([]);
  });

  it('leaves out keys that have no end any more, or another one than they are listed for', async () => {
    await add('sk-later', makeRecord(inSeconds(2 * DAY_SECONDS), { keyId: 'later' }), inSeconds(DAY_SECONDS));
    await add('sk-never', makeRecord(undefined, { keyId: 'never' }), inSeconds(DAY_SECONDS));
    await add('sk-listed', makeRecord(undefined, { keyId: 'unlisted' }));
    expect((await sweep()).ids).toEqual([]);
    await list.add({ partition: getKeyPartition('sk-later'), expiresAt: inSeconds(2 * DAY_SECONDS) });
    await list.remove({ partition: getKeyPartition('sk-later'), expiresAt: null });
    expect((await sweep()).ids).toEqual(['later']);
    await list.remove({ partition: getKeyPartition('sk-never'), expiresAt: inSeconds(DAY_SECONDS) });
    const left: string[] = [];
    for await (const partition of list.list(getDay((NOW / 1000 + DAY_SECONDS) * 1000))) left.push(partition);
    expect(left).toEqual([getKeyPartition('sk-later')]);
  });

  it('leaves out keys of archived projects', async () => {
    const administration = createPolicyAdministration(access.client, access.name);
    await administration.changeProject('closed', (project) => ({ ...project, status: 'archived' }));
    await add('sk-closed', makeRecord(inSeconds(60), { tenant: 'closed', keyId: 'closed' }));
    await add('sk-open', makeRecord(inSeconds(60), { keyId: 'open' }));
    expect((await sweep()).ids).toEqual(['open']);
  });

  it('reports the keys of a project whose item is invalid, with a warning', async () => {
    const Item = marshall({ pk: getProjectPartition('broken'), status: 'unknown' });
    await access.client.send(new PutItemCommand({ TableName: access.name, Item }));
    await add('sk-broken', makeRecord(inSeconds(60), { tenant: 'broken', keyId: 'broken' }));
    const { lines, ids } = await sweep();
    expect(ids).toEqual(['broken']);
    const warning = { level: 'warn', message: 'project of an expiring key not read', tenant: 'broken' };
    expect(lines).toContainEqual(expect.objectContaining({ ...warning, error: expect.any(String) }));
  });

  it('reads a list from which DynamoDB deletes keys that have ended', async () => {
    const { client, name } = table;
    await list.add({ partition: 'key#hash', expiresAt: inSeconds(60) });
    const Key = marshall({ pk: 'expiring#2027-01-31', sk: 'key#hash' });
    const { Item } = await client.send(new GetItemCommand({ TableName: name, Key }));
    expect(Item?.['expiresAt']).toEqual({ N: String(inSeconds(60)) });
  });

  it('ends after the hundred keys at which its time is up', async () => {
    for (let index = 0; index < 101; index += 1)
      await add(`sk-${index}`, makeRecord(inSeconds(60), { keyId: `k${index}` }));
    await add('sk-next', makeRecord(inSeconds(DAY_SECONDS), { keyId: 'next' }));
    const first = await sweep({ until: NOW });
    expect(first.ids).toHaveLength(100);
    expect((await sweep({ until: NOW })).ids).toHaveLength(0);
    const { ids } = await sweep();
    expect(ids).toHaveLength(2);
    expect(ids).toContain('next');
  });

  it('ends after a day at which its time is up', async () => {
    await add('sk-first', makeRecord(inSeconds(60), { keyId: 'first' }));
    await add('sk-second', makeRecord(inSeconds(DAY_SECONDS), { keyId: 'second' }));
    expect((await sweep({ until: NOW })).ids).toEqual(['first']);
    expect((await sweep({ until: NOW + 1 })).ids).toEqual(['second']);
  });

  it('a day that was not recorded is logged as a warning, and the key is reported later', async () => {
    const keys = createKeyTable(access.client, access.name);
    const record = makeRecord(inSeconds(60), { keyId: 'unlucky' });
    await add('sk-unlucky', record);
    const failing = { ...keys, recordWarning: () => Promise.reject(new Error('throttled')) };
    const { lines, ids } = await sweep({ keys: failing });
    expect(ids).toEqual([]);
    expect(lines).toEqual([expect.objectContaining({ level: 'warn', message: 'expiry warning not recorded' })]);
    expect((await sweep()).ids).toEqual(['unlucky']);
  });

  it('a key that does not expire soon is not written', async () => {
    const telemetry = recordTelemetry();
    const keys = { recordWarning: () => Promise.reject(new Error('written')) };
    const record = makeRecord(inSeconds(8 * DAY_SECONDS));
    await reportExpiry(getKeyPartition('sk-any'), record, { keys, now: () => NOW }, telemetry);
    expect(telemetry.lines).toEqual([]);
  });
});
