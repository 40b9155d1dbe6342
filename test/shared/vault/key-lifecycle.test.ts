import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { TenantKeyTable } from '../../../shared/vault/key-table.ts';
import { replayTombstones, scanTombstones } from '../../../shared/vault/tombstones.ts';
import { waitUntil } from '../../wait.ts';
import { catchCode, type Services, startEnvironment, startServices } from './environments.ts';
import { forge, NAME } from './records.ts';

const MINUTE = 60_000;
const DAY = 86_400_000;
const text = (words: string) => Buffer.from(words, 'utf8');
const THROTTLED = { status: 400, type: 'ThrottlingException' };

let services: Services;
let table: Awaited<ReturnType<Services['newTable']>>;

beforeAll(async () => {
  services = await startServices();
});
afterAll(() => services[Symbol.asyncDispose]());
beforeEach(async () => {
  services.faults.dynamodb = services.faults.kms = () => undefined;
  services.clock.now = Date.parse('2026-11-01T00:00:00Z');
  table = await services.newTable();
  services.kmsOperations.length = 0;
});

const start = (options: Parameters<typeof startEnvironment>[2] = {}) => startEnvironment(services, table, options);
/** Deletes a tenant as an operator does: only in the table. */
const erase = (tenant = NAME.tenant) => table.markErased({ tenant, deletedAt: services.clock.now });
const versions = async (tenant = NAME.tenant) => {
  const history = await table.read(tenant);
  return history?.state === 'active' ? [...history.versions.keys()].sort((a, b) => a - b) : history?.state;
};

describe('rotation', () => {
  it('a key is rotated after 90 days: new records use the new key, and old records still open', async () => {
    const environment = start();
    const old = await environment.seal(NAME, text('old'));
    services.clock.now += 90 * DAY - 6 * MINUTE;
    await environment.seal(NAME, text('still'));
    expect(await versions()).toEqual([1]);
    services.clock.now += 6 * MINUTE;
    const young = await environment.seal(NAME, text('young'));
    expect(await versions()).toEqual([1, 2]);
    expect([old[4], young[4]]).toEqual([1, 2]);
    for (const reader of [environment, start({ mayCreate: false })]) {
      expect(await reader.open(NAME, old)).toEqual(text('old'));
      expect(await reader.open(NAME, young)).toEqual(text('young'));
    }
  });

  it('a key is rotated once, however many environments rotate it at the same time', async () => {
    await start().seal(NAME, text('old'));
    services.clock.now += 91 * DAY;
    const environments = Array.from({ length: 12 }, () => start());
    const sealed = await Promise.all(environments.map((each) => each.seal(NAME, text('young'))));
    expect(await versions()).toEqual([1, 2]);
    for (const record of sealed) {
      expect(record[4]).toBe(2);
      expect(await start().open(NAME, record)).toEqual(text('young'));
    }
  });

  it('an environment with the old key cached opens a record of the new key', async () => {
    const behind = start({ mayCreate: false });
    await start().seal(NAME, text('old'));
    services.clock.now += 91 * DAY;
    await behind.seal(NAME, text('old'));
    const young = await start().seal(NAME, text('young'));
    expect(young[4]).toBe(2);
    expect(await behind.open(NAME, young)).toEqual(text('young'));
  });

  it('a rotation is postponed while KMS or the table is unavailable, and records are still sealed', async () => {
    await start().seal(NAME, text('old'));
    services.clock.now += 91 * DAY;
    services.faults.kms = (operation) => (operation === 'GenerateDataKey' ? THROTTLED : undefined);
    expect((await start().seal(NAME, text('x')))[4]).toBe(1);
    services.faults.kms = () => undefined;
    services.faults.dynamodb = (operation) => (operation === 'UpdateItem' ? THROTTLED : undefined);
    expect((await start().seal(NAME, text('x')))[4]).toBe(1);
    services.faults.dynamodb = () => undefined;
    expect((await start().seal(NAME, text('x')))[4]).toBe(2);
  });

  it('a function without key-creation rights does not rotate a key', async () => {
    await start().seal(NAME, text('old'));
    services.clock.now += 365 * DAY;
    expect((await start({ mayCreate: false }).seal(NAME, text('x')))[4]).toBe(1);
    expect(await versions()).toEqual([1]);
  });
});

describe('a delayed read of the keys table', () => {
  /** A table whose reads see its state at the time of the request, and return when the test releases them. */
  function delayReads() {
    const pending: (() => void)[] = [];
    const delayed: TenantKeyTable = {
      ...table,
      async read(tenant) {
        const history = await table.read(tenant);
        await new Promise<void>((resolve) => pending.push(resolve));
        return history;
      },
    };
    return {
      delayed,
      /** Resolves when this number of reads have seen the table. */
      waitForReads: (count: number) => waitUntil('the reads are pending', () => pending.length === count),
      release: (read: number) => pending[read - 1]?.(),
    };
  }

  it("a delayed read doesn't hide the key version of a record that was sealed in the meantime", async () => {
    const { delayed, waitForReads, release } = delayReads();
    const old = await start().seal(NAME, text('old'));
    const reader = startEnvironment(services, delayed, { mayCreate: false });
    const openingOld = reader.open(NAME, old);
    await waitForReads(1);
    services.clock.now += 91 * DAY;
    const young = await start().seal(NAME, text('young'));
    expect(young[4]).toBe(2);
    const openingYoung = reader.open(NAME, young);
    release(1);
    await waitForReads(2);
    release(2);
    expect(await Promise.all([openingOld, openingYoung])).toEqual([text('old'), text('young')]);
  });

  it("a delayed read doesn't hide the key that another environment created first", async () => {
    const { delayed, waitForReads, release } = delayReads();
    const loser = startEnvironment(services, {
      ...delayed,
      async addVersion(tenant, version, key) {
        // Another request of this environment reads before the winner has written.
        const foreign = forge({ tenantKey: randomBytes(32), keyVersion: 1, segments: [text('x')] });
        void loser.open(NAME, foreign).catch(() => {});
        await waitForReads(2);
        await start().seal(NAME, text('first'));
        return table.addVersion(tenant, version, key);
      },
    });
    const sealing = loser.seal(NAME, text('second'));
    await waitForReads(1);
    release(1);
    await waitForReads(3);
    release(3);
    expect(await start().open(NAME, await sealing)).toEqual(text('second'));
  });
});

describe('a deleted tenant', () => {
  it('a deleted tenant loses its keys, gets no new one, and none of its records opens', async () => {
    const sealed = await start().seal(NAME, text('x'));
    await erase();
    for (const each of [start(), start({ mayCreate: false })]) {
      expect(await catchCode(each.open(NAME, sealed))).toBe('tenant_deleted');
      expect(await catchCode(each.seal(NAME, text('x')))).toBe('tenant_deleted');
    }
    expect(await versions()).toBe('deleted');
  });

  it('deleting a tenant again keeps its tombstone and the time in it', async () => {
    await erase();
    const deletedAt = services.clock.now;
    services.clock.now += DAY;
    await erase();
    expect(await table.read(NAME.tenant)).toEqual({ state: 'deleted', deletedAt });
    expect(await catchCode(start().seal(NAME, text('x')))).toBe('tenant_deleted');
  });

  it("a deleted tenant's cached key works for five minutes at most", async () => {
    const environment = start();
    const sealed = await environment.seal(NAME, text('x'));
    services.clock.now += MINUTE;
    await erase();
    services.clock.now += 4 * MINUTE - 1;
    expect(await environment.open(NAME, sealed)).toEqual(text('x'));
    services.clock.now += 1;
    expect(await catchCode(environment.open(NAME, sealed))).toBe('tenant_deleted');
  });

  it('the five minutes begin before the keys table is read, however long KMS takes', async () => {
    const record = await start().seal(NAME, text('x'));
    const reader = start();
    services.faults.kms = () => {
      services.clock.now += 4 * MINUTE;
      return undefined;
    };
    await reader.open(NAME, record);
    await erase();
    services.clock.now += MINUTE;
    expect(await catchCode(reader.open(NAME, record))).toBe('tenant_deleted');
  });

  it('an environment that reads a tombstone wipes all cached key versions of the tenant', async () => {
    const environment = start();
    const old = await environment.seal(NAME, text('old'));
    services.clock.now += 91 * DAY;
    const young = await environment.seal(NAME, text('young'));
    services.clock.now += 4 * MINUTE;
    await environment.open(NAME, old);
    await erase();
    services.clock.now += MINUTE;
    expect(await catchCode(environment.open(NAME, young))).toBe('tenant_deleted');
    expect(await catchCode(environment.open(NAME, old))).toBe('tenant_deleted');
  });

  it("deleting a tenant doesn't affect other tenants", async () => {
    const environment = start();
    const neighbour = { ...NAME, tenant: 'acme2' };
    const sealed = await environment.seal(neighbour, text('x'));
    await environment.seal(NAME, text('x'));
    await erase();
    expect(await start().open(neighbour, sealed)).toEqual(text('x'));
  });

  it('replaying tombstones deletes the tenant again in a restored keys table', async () => {
    const environment = start();
    const neighbour = { ...NAME, tenant: 'acme2' };
    const [sealed, other] = [await environment.seal(NAME, text('x')), await environment.seal(neighbour, text('y'))];
    const restored = await services.newTable();
    for (const tenant of [NAME.tenant, neighbour.tenant]) {
      const history = await table.read(tenant);
      const key = history?.state === 'active' ? history.versions.get(1) : undefined;
      if (key !== undefined) await restored.addVersion(tenant, 1, key);
    }
    await erase();
    await erase('never seen before');
    expect(await startEnvironment(services, restored).open(NAME, sealed)).toEqual(text('x'));

    const { dynamodb } = services;
    for (const _ of ['once', 'again']) {
      expect(await replayTombstones(scanTombstones(dynamodb, table.name), restored)).toBe(2);
    }
    const after = startEnvironment(services, restored);
    expect(await catchCode(after.open(NAME, sealed))).toBe('tenant_deleted');
    expect(await catchCode(after.seal({ ...NAME, tenant: 'never seen before' }, text('x')))).toBe('tenant_deleted');
    expect(await after.open(neighbour, other)).toEqual(text('y'));
  });
});

describe('a copy of the records without the keys table', () => {
  it('a copy of the records opens nothing without the keys table, whatever new keys are created', async () => {
    const sealed = await start().seal(NAME, text('x'));
    const elsewhere = await services.newTable();
    const thief = startEnvironment(services, elsewhere);
    expect(await catchCode(thief.open(NAME, sealed))).toBe('vault_unavailable');
    await thief.seal(NAME, text('a different key'));
    expect(await catchCode(thief.open(NAME, sealed))).toBe('record_unreadable');
  });
});
