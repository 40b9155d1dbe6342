import { PutItemCommand, QueryCommand, ScanCommand, UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createDynamoDBFleetStore } from '../../../../shared/gpu/registry/dynamodb-fleet.ts';
import type { FleetStore, LeaseRequest } from '../../../../shared/gpu/registry/fleet-store.ts';
import { createMemoryFleetStore } from '../../../../shared/gpu/registry/memory-fleet.ts';
import type { Worker } from '../../../../shared/gpu/registry/worker.ts';
import {
  aLease,
  aLeaseRequest,
  anUnmet,
  aWaiter,
  aWorker,
  FLEET,
  type FleetTables,
  START,
  startFleetTables,
} from '../fleets.ts';

let tables: FleetTables;
beforeAll(async () => {
  tables = await startFleetTables();
});
afterAll(() => tables[Symbol.asyncDispose]());

const clock = { now: START };

const implementations: Record<string, () => Promise<FleetStore>> = {
  memory: async () => createMemoryFleetStore(() => clock.now),
  DynamoDB: async () =>
    createDynamoDBFleetStore(tables.client, { tableName: await tables.newTable(), now: () => clock.now }),
};

describe.each(Object.keys(implementations))('fleets in %s', (name) => {
  async function aStore(...workers: readonly Worker[]): Promise<FleetStore> {
    clock.now = START;
    const make = implementations[name];
    if (make === undefined) throw new Error(name);
    const store = await make();
    for (const { leases: _, ...worker } of workers) await store.register(worker);
    return store;
  }
  const workersOf = async (store: FleetStore) => (await store.read(FLEET)).workers;
  const leasesOf = async (store: FleetStore, id = 'w1') =>
    (await workersOf(store)).find((worker) => worker.id === id)?.leases;
  const lease = (store: FleetStore, changes: Partial<LeaseRequest> = {}) =>
    store.lease(FLEET, 'w1', aLeaseRequest(changes));

  describe('workers', () => {
    test('are read as they were registered, in the order of their ids, each fleet by itself', async () => {
      const one = aWorker({ id: 'w1', instance: 'i-1', source: 'ecs', models: ['a', 'b/lora'] });
      const two = aWorker({ id: 'w2', state: 'suspect', stateReason: 'new', stateSince: START });
      const store = await aStore(two, one, aWorker({ id: 'w3', fleet: 'other' }));
      expect(await store.read(FLEET)).toEqual({ workers: [one, two], waiters: [], unmet: [] });
      expect(await store.read('nobody')).toEqual({ workers: [], waiters: [], unmet: [] });
    });

    test('keep leases and state when they are registered again', async () => {
      const store = await aStore(aWorker({ instance: 'i-1' }));
      await lease(store);
      await store.setState(FLEET, 'w1', 'boot-1', { state: 'suspect', reason: 'refused', at: START });
      const { leases: _, ...again } = aWorker({
        url: 'http://elsewhere/v1',
        slots: 9,
        models: ['b'],
        seenAt: START + 1,
      });
      await store.register(again);
      expect(await workersOf(store)).toEqual([
        {
          ...again,
          state: 'suspect',
          stateReason: 'refused',
          stateSince: START,
          leases: { 'lease-1': aLease() },
        },
      ]);
    });

    test('begin anew under another bootId', async () => {
      const store = await aStore(aWorker());
      await lease(store);
      await store.setState(FLEET, 'w1', 'boot-1', { state: 'suspect', reason: 'refused', at: START });
      const { leases: _, ...again } = aWorker({ bootId: 'boot-2' });
      await store.register(again);
      expect(await workersOf(store)).toEqual([aWorker({ bootId: 'boot-2' })]);
    });

    test('change state as long as it is the same start of them', async () => {
      const store = await aStore(aWorker());
      const suspect = { state: 'suspect', reason: 'refused', at: START } as const;
      expect(await store.setState(FLEET, 'w1', 'boot-0', suspect)).toBe(false);
      expect(await store.setState(FLEET, 'w9', 'boot-1', suspect)).toBe(false);
      expect(await workersOf(store)).toEqual([aWorker()]);
      expect(await store.setState(FLEET, 'w1', 'boot-1', suspect)).toBe(true);
      expect(await workersOf(store)).toEqual([
        aWorker({ state: 'suspect', stateReason: 'refused', stateSince: START }),
      ]);
    });

    test('change state from a certain one only, if that is asked', async () => {
      const store = await aStore(aWorker({ state: 'draining', stateReason: 'spot', stateSince: START }));
      const change = { reason: 'refused', at: START + 1 };
      expect(await store.setState(FLEET, 'w1', 'boot-1', { ...change, state: 'suspect', from: 'ready' })).toBe(false);
      expect(await store.setState(FLEET, 'w1', 'boot-1', { ...change, state: 'ready', from: 'draining' })).toBe(true);
      expect(await workersOf(store)).toEqual([aWorker()]);
    });

    test('are forgotten, and make nothing of it', async () => {
      const store = await aStore(aWorker());
      await store.deregister(FLEET, 'w1');
      await store.deregister(FLEET, 'w1');
      expect(await workersOf(store)).toEqual([]);
    });

    test('are registered once by many at the same time', async () => {
      const store = await aStore(aWorker({ bootId: 'boot-0' }));
      const { leases: _, ...worker } = aWorker();
      await Promise.all(Array.from({ length: 5 }, () => store.register(worker)));
      expect(await workersOf(store)).toEqual([aWorker()]);
    });
  });

  describe('a slot', () => {
    test('is taken, begun, renewed and given back', async () => {
      const store = await aStore(aWorker());
      expect(await lease(store)).toBe(true);
      expect(await leasesOf(store)).toEqual({ 'lease-1': aLease() });
      await store.markFirstToken(FLEET, 'w1', 'lease-1');
      expect(await leasesOf(store)).toEqual({ 'lease-1': aLease({ pendingTokens: 0 }) });
      expect(await store.renew(FLEET, 'w1', 'lease-1', START + 60_000)).toBe(true);
      expect(await leasesOf(store)).toEqual({ 'lease-1': aLease({ pendingTokens: 0, expiresAt: START + 60_000 }) });
      await store.release(FLEET, 'w1', 'lease-1');
      expect(await leasesOf(store)).toEqual({});
    });

    test('keeps what was said of it', async () => {
      const store = await aStore(aWorker());
      const batch = aLease({ tier: 'batch', tenant: 'tenant.with-all_of#it', pendingTokens: 131_072, weight: 4e5 });
      await lease(store, { id: '-_1', lease: batch });
      expect(await leasesOf(store)).toEqual({ '-_1': batch });
    });

    test('is taken of a ready worker only', async () => {
      const store = await aStore(aWorker({ state: 'draining' }));
      expect(await lease(store)).toBe(false);
    });

    test('is taken of the start that was meant only', async () => {
      const store = await aStore(aWorker());
      expect(await lease(store, { bootId: 'boot-0' })).toBe(false);
      expect(await store.lease(FLEET, 'w9', aLeaseRequest())).toBe(false);
    });

    test('is refused at the cap', async () => {
      const store = await aStore(aWorker());
      expect(await lease(store, { id: 'a', cap: 2 })).toBe(true);
      expect(await lease(store, { id: 'b', cap: 2 })).toBe(true);
      expect(await lease(store, { id: 'c', cap: 2 })).toBe(false);
      expect(await lease(store, { id: 'c', cap: 3 })).toBe(true);
      expect(Object.keys((await leasesOf(store)) ?? {})).toEqual(['a', 'b', 'c']);
    });

    test('is granted to so many of those who ask at once', async () => {
      const store = await aStore(aWorker());
      const asked = Array.from({ length: 10 }, (_, index) => lease(store, { id: `l${index}` }));
      expect((await Promise.all(asked)).filter((granted) => granted)).toHaveLength(4);
    });

    test('is granted once to one who asks twice', async () => {
      const store = await aStore(aWorker());
      expect(await lease(store, { cap: 1 })).toBe(true);
      expect(await lease(store, { cap: 1 })).toBe(true);
      expect(await leasesOf(store)).toEqual({ 'lease-1': aLease() });
    });

    test('comes free when another takes what has expired', async () => {
      const store = await aStore(aWorker());
      await lease(store, { id: 'old', cap: 1 });
      const now = START + 45_000;
      const ask = { id: 'new', cap: 1, lease: aLease({ expiresAt: now + 45_000 }) };
      expect(await lease(store, { ...ask, expired: ['old'], now: now - 1 })).toBe(false);
      expect(await lease(store, { ...ask, expired: ['old'], now })).toBe(true);
      expect(await leasesOf(store)).toEqual({ new: ask.lease });
    });

    test('is not taken for expired by who did not see it renewed, nor counted off twice', async () => {
      const store = await aStore(aWorker());
      await lease(store, { id: 'old', cap: 1 });
      await store.renew(FLEET, 'w1', 'old', START + 90_000);
      expect(await lease(store, { id: 'new', cap: 1, expired: ['old'], now: START + 45_000 })).toBe(false);
      expect(await lease(store, { id: 'new', cap: 2, expired: ['removed'], now: START + 45_000 })).toBe(false);
    });

    test('comes free of a hundred leaked leases at once', async () => {
      const store = await aStore(aWorker({ slots: 100 }));
      const expired = Array.from({ length: 100 }, (_, index) => `00000000-0000-4000-8000-00000000${1000 + index}`);
      await Promise.all(expired.map((id) => lease(store, { id, cap: 100 })));
      expect(await lease(store, { id: 'new', cap: 1, expired, now: START + 45_000 })).toBe(true);
      expect(Object.keys((await leasesOf(store)) ?? {})).toEqual(['new']);
    });

    test('once gone is not renewed, begun or given back', async () => {
      const store = await aStore(aWorker());
      expect(await store.renew(FLEET, 'w1', 'gone', START)).toBe(false);
      await store.markFirstToken(FLEET, 'w1', 'gone');
      await store.release(FLEET, 'w1', 'gone');
      expect(await leasesOf(store)).toEqual({});
      await store.deregister(FLEET, 'w1');
      expect(await store.renew(FLEET, 'w1', 'gone', START)).toBe(false);
      await store.markFirstToken(FLEET, 'w1', 'gone');
      await store.release(FLEET, 'w1', 'gone');
      expect(await workersOf(store)).toEqual([]);
    });
  });

  describe('the directory', () => {
    const one = { workerId: 'w1', bootId: 'boot-1', until: START + 1_000 };
    const two = { workerId: 'w2', bootId: 'boot-7', until: START + 2_000 };

    test('tells who holds a prefix, in the order given, each fleet by itself', async () => {
      const store = await aStore();
      await store.recordHolders(FLEET, [
        { prefix: 'a', holders: [two, one] },
        { prefix: 'b', holders: [one] },
      ]);
      expect(await store.findHolders(FLEET, ['a', 'b', 'c', 'a'])).toEqual(
        new Map([
          ['a', [two, one]],
          ['b', [one]],
        ]),
      );
      expect(await store.findHolders('other', ['a'])).toEqual(new Map());
      expect(await store.findHolders(FLEET, [])).toEqual(new Map());
    });

    test('takes the latest word', async () => {
      const store = await aStore();
      await store.recordHolders(FLEET, [{ prefix: 'a', holders: [one] }]);
      await store.recordHolders(FLEET, [{ prefix: 'a', holders: [two, one] }]);
      expect(await store.findHolders(FLEET, ['a'])).toEqual(new Map([['a', [two, one]]]));
      await store.recordHolders(FLEET, []);
    });

    test('forgets each holder in its time', async () => {
      const store = await aStore();
      await store.recordHolders(FLEET, [{ prefix: 'a', holders: [one, two] }]);
      clock.now = START + 1_000;
      expect(await store.findHolders(FLEET, ['a'])).toEqual(new Map([['a', [two]]]));
      clock.now = START + 2_000;
      expect(await store.findHolders(FLEET, ['a'])).toEqual(new Map());
    });

    test('takes 25 prefixes and is asked for 100 at once', async () => {
      const store = await aStore();
      const prefixes = Array.from({ length: 100 }, (_, index) => `prefix-${index}`);
      const entries = prefixes.slice(0, 25).map((prefix) => ({ prefix, holders: [one] }));
      await store.recordHolders(FLEET, entries);
      expect([...(await store.findHolders(FLEET, prefixes)).keys()].sort()).toEqual(prefixes.slice(0, 25).sort());
    });
  });

  test('those who wait are seen until they wait no more', async () => {
    const store = await aStore(aWorker());
    await store.putWaiter(FLEET, aWaiter());
    await store.putWaiter(FLEET, aWaiter({ id: 'waiter-2', tier: 'batch', tenant: 'globex' }));
    await store.putWaiter(FLEET, aWaiter({ expiresAt: START + 5_500 }));
    expect(await store.read(FLEET)).toEqual({
      workers: [aWorker()],
      waiters: [aWaiter({ expiresAt: START + 5_500 }), aWaiter({ id: 'waiter-2', tier: 'batch', tenant: 'globex' })],
      unmet: [],
    });
    await store.removeWaiter(FLEET, 'waiter-1');
    await store.removeWaiter(FLEET, 'waiter-1');
    expect((await store.read(FLEET)).waiters).toHaveLength(1);
  });

  test('the last request of each model that no worker was ready for is seen, and nobody waits', async () => {
    const store = await aStore();
    const last = anUnmet({ weight: 900, expiresAt: START + 130_000 });
    const other = anUnmet({ model: 'base#x:sql', tier: 'batch' });
    for (const demand of [anUnmet(), last, other]) await store.recordUnmetDemand(FLEET, demand);
    await store.recordUnmetDemand('other', anUnmet());
    expect(await store.read(FLEET)).toEqual({ workers: [], waiters: [], unmet: [last, other] });
  });
});

describe('a fleet in DynamoDB', () => {
  async function aStore() {
    const tableName = await tables.newTable();
    return { tableName, store: createDynamoDBFleetStore(tables.client, { tableName, now: () => START }) };
  }

  test('of 200 workers with 32 leases each is read in one page', async () => {
    const { tableName, store } = await aStore();
    const leases = Object.fromEntries(
      Array.from({ length: 32 }, (_, index) => [`lease-id-${1000 + index}`, { L: longestLease() }]),
    );
    for (let index = 0; index < 200; index += 1) {
      const { leases: _, ...worker } = aWorker({ id: `0123456789abcdef0123456789ab-${1000 + index}` });
      await store.register(worker);
      await tables.client.send(
        new UpdateItemCommand({
          TableName: tableName,
          Key: { pk: { S: `fleet#${FLEET}` }, sk: { S: `worker#${worker.id}` } },
          UpdateExpression: 'SET leases = :leases',
          ExpressionAttributeValues: { ':leases': { M: leases } },
        }),
      );
    }
    const page = await tables.client.send(
      new QueryCommand({
        TableName: tableName,
        KeyConditionExpression: 'pk = :pk',
        ExpressionAttributeValues: { ':pk': { S: `fleet#${FLEET}` } },
        ReturnConsumedCapacity: 'TOTAL',
        ConsistentRead: true,
      }),
    );
    expect(page.LastEvaluatedKey).toBeUndefined();
    expect(page.ConsumedCapacity?.CapacityUnits).toBeLessThan(200);
    const { workers } = await store.read(FLEET);
    expect(workers).toHaveLength(200);
    expect(Object.keys(workers[199]?.leases ?? {})).toHaveLength(32);
  });

  const longestLease = () => [{ S: 'i 139264 a-tenant-of-a-usual-name' }, { S: '131072' }, { N: String(START) }];

  test('larger than a page is read whole', async () => {
    const { store } = await aStore();
    const models = Array.from({ length: 400 }, (_, index) => `${'adapter'.repeat(60)}-${index}`);
    for (const id of ['w1', 'w2', 'w3', 'w4', 'w5', 'w6', 'w7', 'w8']) {
      const { leases: _, ...worker } = aWorker({ id, models });
      await store.register(worker);
    }
    const { workers } = await store.read(FLEET);
    expect(workers.map(({ id }) => id)).toEqual(['w1', 'w2', 'w3', 'w4', 'w5', 'w6', 'w7', 'w8']);
    expect(workers[7]?.models).toEqual(models);
  });

  test('is read beside what a newer version has written', async () => {
    const { tableName, store } = await aStore();
    const { leases: _, ...worker } = aWorker();
    await store.register(worker);
    await tables.client.send(
      new UpdateItemCommand({
        TableName: tableName,
        Key: { pk: { S: `fleet#${FLEET}` }, sk: { S: 'worker#w1' } },
        UpdateExpression: 'SET leases.newer = :lease, #state = :state, #zone = :zone',
        ExpressionAttributeNames: { '#state': 'state', '#zone': 'zone' },
        ExpressionAttributeValues: {
          ':lease': { L: [...longestLease(), { S: 'more' }] },
          ':state': { S: 'hibernating' },
          ':zone': { S: 'a' },
        },
      }),
    );
    await tables.client.send(
      new PutItemCommand({ TableName: tableName, Item: { pk: { S: `fleet#${FLEET}` }, sk: { S: 'zone#a' } } }),
    );
    const lease = aLease({
      tenant: 'a-tenant-of-a-usual-name',
      pendingTokens: 131_072,
      weight: 139_264,
      expiresAt: START,
    });
    expect(await store.read(FLEET)).toEqual({
      workers: [aWorker({ state: 'draining', leases: { newer: lease } })],
      waiters: [],
      unmet: [],
    });
    expect(await store.renew(FLEET, 'w1', 'newer', START + 1)).toBe(true);
  });

  test('tells holders that the version before has written, and writes such as it can read', async () => {
    const { tableName, store } = await aStore();
    const key = { pk: { S: `prefix#${FLEET}#a` }, sk: { S: 'prefix' } };
    const before = {
      ...key,
      holders: { L: [{ L: [{ S: 'w1' }, { S: 'boot-1' }] }] },
      until: { N: String(START + 1_000) },
      expiresAt: { N: String(START / 1000 + 1) },
    };
    await tables.client.send(new PutItemCommand({ TableName: tableName, Item: before }));
    const one = { workerId: 'w1', bootId: 'boot-1', until: START + 1_000 };
    expect(await store.findHolders(FLEET, ['a'])).toEqual(new Map([['a', [one]]]));
    const two = { workerId: 'w2', bootId: 'boot-7', until: START + 2_000 };
    await store.recordHolders(FLEET, [{ prefix: 'a', holders: [two, one] }]);
    const { Items: [item] = [] } = await tables.client.send(new ScanCommand({ TableName: tableName }));
    expect(item?.['until']?.N).toBe(String(START + 2_000));
    const named = item?.['holders']?.L?.map(({ L: [workerId, bootId] = [] }) => [workerId?.S, bootId?.S]);
    expect(named).toEqual([
      ['w2', 'boot-7'],
      ['w1', 'boot-1'],
    ]);
  });

  test('lets the table remove waiters, unmet demand and prefixes by whole seconds, never early', async () => {
    const { tableName, store } = await aStore();
    await store.recordUnmetDemand('other', anUnmet({ expiresAt: START + 3_500 }));
    await store.putWaiter(FLEET, aWaiter({ expiresAt: START + 1_500 }));
    const holders = [2_500, 2_000].map((ms) => ({ workerId: `w${ms}`, bootId: 'boot-1', until: START + ms }));
    await store.recordHolders(FLEET, [{ prefix: 'a', holders }]);
    const { Items = [] } = await tables.client.send(new ScanCommand({ TableName: tableName }));
    const ttl = Object.fromEntries(Items.map(({ pk, expiresAt }) => [pk?.S, Number(expiresAt?.N)]));
    expect(ttl).toEqual({
      [`fleet#${FLEET}`]: START / 1000 + 2,
      [`prefix#${FLEET}#a`]: START / 1000 + 3,
      'fleet#other': START / 1000 + 4,
    });
  });
});
