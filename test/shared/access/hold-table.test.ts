import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createHoldTable, type HoldTable } from '../../../shared/access/hold-table.ts';
import { findHold } from '../../../shared/access/holds.ts';
import { createPolicyAdministration } from '../../../shared/access/policy-administration.ts';
import { createPolicyTable } from '../../../shared/access/policy-table.ts';
import { type AccessTable, startAccessTable } from './access-table.ts';

let access: AccessTable;
let holds: HoldTable;
let count = 0;
let tenant: string;
/** Epoch seconds. */
let now: number;

beforeAll(async () => {
  access = await startAccessTable();
  holds = createHoldTable({ client: access.client, name: 'access' }, () => now * 1000);
});
afterAll(() => access[Symbol.asyncDispose]());
beforeEach(() => {
  count += 1;
  tenant = `held-${count}`;
  now = 1_000_000;
});

/** Returns when the authorizer's lookup of the project says that a hold ends. */
async function findEnd(keyId: string): Promise<number | undefined> {
  const { holds: json } = await createPolicyTable(access.client, 'access').find(tenant);
  return findHold(json, keyId, now * 1000)?.until;
}

describe('the holds of a project', () => {
  it('a key is held until its time, and other keys of the project are not', async () => {
    await holds.place(tenant, 'a', { since: now, until: now + 60, reason: 'manual' });
    expect(await findEnd('a')).toBe(now + 60);
    expect(await findEnd('b')).toBeUndefined();
    expect(await findEnd('toString')).toBeUndefined();
    now += 60;
    expect(await findEnd('a')).toBeUndefined();
    expect(await holds.list(tenant)).toEqual({});
  });

  it('a release ends one hold, and says which', async () => {
    const hold = { since: now, until: now + 60, reason: 'networks' };
    for (const key of ['a', 'b']) await holds.place(tenant, key, hold);
    expect(await holds.release(tenant, 'a')).toEqual(hold);
    expect(await holds.release(tenant, 'a')).toBeUndefined();
    expect(await holds.list(tenant)).toEqual({ b: hold });
    await holds.release(tenant, 'b');
    expect(await findEnd('b')).toBeUndefined();
  });

  it('a hold of the service never shortens another, and an administrator may set any', async () => {
    const place = (until: number, reason: string) =>
      holds.place(tenant, 'a', { since: now, until: now + until, reason });
    await place(60, 'manual');
    await place(30, 'rate');
    expect(await findEnd('a')).toBe(now + 60);
    await place(90, 'rate');
    expect(await findEnd('a')).toBe(now + 90);
    await place(10, 'manual');
    expect(await findEnd('a')).toBe(now + 10);
  });

  it('no hold is lost when several are placed at once, or when the policy changes', async () => {
    const policies = createPolicyAdministration(access.client, 'access');
    const hold = { since: now, until: now + 60, reason: 'manual' };
    const models = { mode: 'deny' as const, models: ['a'] };
    await Promise.all([
      ...['a', 'b', 'c'].map((key) => holds.place(tenant, key, hold)),
      policies.changeProject(tenant, (project) => ({ ...project, restrictions: { models } })),
    ]);
    await policies.changeProject(tenant, (project) => ({ ...project, status: 'archived' }));
    expect(await holds.list(tenant)).toEqual({ a: hold, b: hold, c: hold });
    expect(await policies.readProject(tenant)).toEqual({ status: 'archived', restrictions: { models } });
  });

  it('at most 100 keys are held at once; ended holds make room', async () => {
    const place = (key: string) => holds.place(tenant, key, { since: now, until: now + 60, reason: 'manual' });
    for (let key = 0; key < 100; key += 1) await place(`key-${key}`);
    expect(await place('another')).toBe(false);
    expect(await place('key-1')).toBe(true);
    now += 60;
    expect(await place('another')).toBe(true);
    expect(Object.keys(await holds.list(tenant))).toEqual(['another']);
  });
});
