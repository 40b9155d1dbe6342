import { PutItemCommand, QueryCommand, ScanCommand, UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createDynamoDBFleetStore } from '../../../../shared/gpu/registry/dynamodb-fleet.ts';
import type { FleetStore, LeaseRequest } from '../../../../shared/gpu/registry/fleet-store.ts';
import { createMemoryFleetStore } from '../../../../shared/gpu/registry/memory-fleet.ts';
import type { Worker } from '../../../../shared/gpu/registry/worker.ts';
import {
  createLease,
  createLeaseRequest,
  createUnmetDemand,
  createWaiter,
  createWorker,
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

describe.each(Object.keys(implementations))('the fleet store in %s', (name) => {
  async function createStore(...workers: readonly Worker[]): Promise<FleetStore> {
    clock.now = START;
    const create = implementations[name];
    if (create === undefined) throw new Error(name);
    const store = await create();
    for (const { leases: _, ...worker } of workers) await store.register(worker);
    return store;
  }
  const readWorkers = async (store: FleetStore) => (await store.read(FLEET)).workers;
  const readLeases = async (store: FleetStore, id = 'w1') =>
    (await readWorkers(store)).find((worker) => worker.id === id)?.leases;
  const lease = (store: FleetStore, changes: Partial<LeaseRequest> = {}) =>
    store.lease(FLEET, 'w1', createLeaseRequest(changes));

  describe('workers', () => {
    it('workers are returned as registered, in the order of their ids, for one fleet only', async () => {
      const one = createWorker({ id: 'w1', instance: 'i-1', source: 'ecs', models: ['a', 'b/lora'] });
      const two = createWorker({ id: 'w2', state: 'suspect', stateReason: 'new', stateSince: START });
      const store = await createStore(two, one, createWorker({ id: 'w3', fleet: 'other' }));
      expect(await store.read(FLEET)).toEqual({ workers: [one, two], waiters: [], unmet: [] });
      expect(await store.read('unknown')).toEqual({ workers: [], waiters: [], unmet: [] });
    });

    it('a worker keeps its leases and state when it is registered again', async () => {
      const store = await createStore(createWorker({ instance: 'i-1' }));
      await lease(store);
      await store.setState(FLEET, 'w1', 'boot-1', { state: 'suspect', reason: 'refused', at: START });
      const { leases: _, ...again } = createWorker({
        url: 'http://elsewhere/v1',
        slots: 9,
        models: ['b'],
        seenAt: START + 1,
      });
      await store.register(again);
      expect(await readWorkers(store)).toEqual([
        {
          ...again,
          state: 'suspect',
          stateReason: 'refused',
          stateSince: START,
          leases: { 'lease-1': createLease() },
        },
      ]);
    });

    it('a worker with another bootId has no leases and the registered state', async () => {
      const store = await createStore(createWorker());
      await lease(store);
      await store.setState(FLEET, 'w1', 'boot-1', { state: 'suspect', reason: 'refused', at: START });
      const { leases: _, ...again } = createWorker({ bootId: 'boot-2' });
      await store.register(again);
      expect(await readWorkers(store)).toEqual([createWorker({ bootId: 'boot-2' })]);
    });

    it('setState changes only a registered worker with the same bootId', async () => {
      const store = await createStore(createWorker());
      const suspect = { state: 'suspect', reason: 'refused', at: START } as const;
      expect(await store.setState(FLEET, 'w1', 'boot-0', suspect)).toBe(false);
      expect(await store.setState(FLEET, 'w9', 'boot-1', suspect)).toBe(false);
      expect(await readWorkers(store)).toEqual([createWorker()]);
      expect(await store.setState(FLEET, 'w1', 'boot-1', suspect)).toBe(true);
      expect(await readWorkers(store)).toEqual([
        createWorker({ state: 'suspect', stateReason: 'refused', stateSince: START }),
      ]);
    });

    it('setState with `from` changes only a worker in that state', async () => {
      const store = await createStore(createWorker({ state: 'draining', stateReason: 'spot', stateSince: START }));
      const change = { reason: 'refused', at: START + 1 };
      expect(await store.setState(FLEET, 'w1', 'boot-1', { ...change, state: 'suspect', from: 'ready' })).toBe(false);
      expect(await store.setState(FLEET, 'w1', 'boot-1', { ...change, state: 'ready', from: 'draining' })).toBe(true);
      expect(await readWorkers(store)).toEqual([createWorker()]);
    });

    it('a worker can be deregistered twice', async () => {
      const store = await createStore(createWorker());
      await store.deregister(FLEET, 'w1');
      await store.deregister(FLEET, 'w1');
      expect(await readWorkers(store)).toEqual([]);
    });

    it('simultaneous registrations of a worker register it once', async () => {
      const store = await createStore(createWorker({ bootId: 'boot-0' }));
      const { leases: _, ...worker } = createWorker();
      await Promise.all(Array.from({ length: 5 }, () => store.register(worker)));
      expect(await readWorkers(store)).toEqual([createWorker()]);
    });
  });

  describe('leases', () => {
    it('a lease is added, marked, renewed and released', async () => {
      const store = await createStore(createWorker());
      expect(await lease(store)).toBe(true);
      expect(await readLeases(store)).toEqual({ 'lease-1': createLease() });
      await store.markFirstToken(FLEET, 'w1', 'lease-1');
      expect(await readLeases(store)).toEqual({ 'lease-1': createLease({ pendingTokens: 0 }) });
      expect(await store.renew(FLEET, 'w1', 'lease-1', START + 60_000)).toBe(true);
      expect(await readLeases(store)).toEqual({
        'lease-1': createLease({ pendingTokens: 0, expiresAt: START + 60_000 }),
      });
      await store.release(FLEET, 'w1', 'lease-1');
      expect(await readLeases(store)).toEqual({});
    });

    it('a lease is returned with all its fields', async () => {
      const store = await createStore(createWorker());
      const batch = createLease({
        tier: 'batch',
        tenant: 'tenant.with-all_of#it',
        pendingTokens: 131_072,
        weight: 4e5,
      });
      await lease(store, { id: '-_1', lease: batch });
      expect(await readLeases(store)).toEqual({ '-_1': batch });
    });

    it('a lease is refused by a worker that is not ready', async () => {
      const store = await createStore(createWorker({ state: 'draining' }));
      expect(await lease(store)).toBe(false);
    });

    it('a lease is refused for another bootId or an unknown worker', async () => {
      const store = await createStore(createWorker());
      expect(await lease(store, { bootId: 'boot-0' })).toBe(false);
      expect(await store.lease(FLEET, 'w9', createLeaseRequest())).toBe(false);
    });

    it('a lease is refused at the cap', async () => {
      const store = await createStore(createWorker());
      expect(await lease(store, { id: 'a', cap: 2 })).toBe(true);
      expect(await lease(store, { id: 'b', cap: 2 })).toBe(true);
      expect(await lease(store, { id: 'c', cap: 2 })).toBe(false);
      expect(await lease(store, { id: 'c', cap: 3 })).toBe(true);
      expect(Object.keys((await readLeases(store)) ?? {})).toEqual(['a', 'b', 'c']);
    });

    it('simultaneous requests get no more leases than the cap', async () => {
      const store = await createStore(createWorker());
      const requests = Array.from({ length: 10 }, (_, index) => lease(store, { id: `l${index}` }));
      expect((await Promise.all(requests)).filter((granted) => granted)).toHaveLength(4);
    });

    it('a repeated request for the same lease is granted and adds nothing', async () => {
      const store = await createStore(createWorker());
      expect(await lease(store, { cap: 1 })).toBe(true);
      expect(await lease(store, { cap: 1 })).toBe(true);
      expect(await readLeases(store)).toEqual({ 'lease-1': createLease() });
    });

    it('an expired lease is removed by the next lease, but not before it expires', async () => {
      const store = await createStore(createWorker());
      await lease(store, { id: 'old', cap: 1 });
      const now = START + 45_000;
      const request = { id: 'new', cap: 1, lease: createLease({ expiresAt: now + 45_000 }) };
      expect(await lease(store, { ...request, expired: ['old'], now: now - 1 })).toBe(false);
      expect(await lease(store, { ...request, expired: ['old'], now })).toBe(true);
      expect(await readLeases(store)).toEqual({ new: request.lease });
    });

    it('a lease that was renewed or already removed cannot be removed as expired', async () => {
      const store = await createStore(createWorker());
      await lease(store, { id: 'old', cap: 1 });
      await store.renew(FLEET, 'w1', 'old', START + 90_000);
      expect(await lease(store, { id: 'new', cap: 1, expired: ['old'], now: START + 45_000 })).toBe(false);
      expect(await lease(store, { id: 'new', cap: 2, expired: ['removed'], now: START + 45_000 })).toBe(false);
    });

    it('100 expired leases are removed by one lease', async () => {
      const store = await createStore(createWorker({ slots: 100 }));
      const expired = Array.from({ length: 100 }, (_, index) => `00000000-0000-4000-8000-00000000${1000 + index}`);
      await Promise.all(expired.map((id) => lease(store, { id, cap: 100 })));
      expect(await lease(store, { id: 'new', cap: 1, expired, now: START + 45_000 })).toBe(true);
      expect(Object.keys((await readLeases(store)) ?? {})).toEqual(['new']);
    });

    it('renewing, marking and releasing a missing lease changes nothing', async () => {
      const store = await createStore(createWorker());
      expect(await store.renew(FLEET, 'w1', 'gone', START)).toBe(false);
      await store.markFirstToken(FLEET, 'w1', 'gone');
      await store.release(FLEET, 'w1', 'gone');
      expect(await readLeases(store)).toEqual({});
      await store.deregister(FLEET, 'w1');
      expect(await store.renew(FLEET, 'w1', 'gone', START)).toBe(false);
      await store.markFirstToken(FLEET, 'w1', 'gone');
      await store.release(FLEET, 'w1', 'gone');
      expect(await readWorkers(store)).toEqual([]);
    });
  });

  describe('the prefix directory', () => {
    const one = { workerId: 'w1', bootId: 'boot-1', until: START + 1_000 };
    const two = { workerId: 'w2', bootId: 'boot-7', until: START + 2_000 };

    it('holders are returned in the recorded order, for one fleet only', async () => {
      const store = await createStore();
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

    it('an entry is replaced by the latest one', async () => {
      const store = await createStore();
      await store.recordHolders(FLEET, [{ prefix: 'a', holders: [one] }]);
      await store.recordHolders(FLEET, [{ prefix: 'a', holders: [two, one] }]);
      expect(await store.findHolders(FLEET, ['a'])).toEqual(new Map([['a', [two, one]]]));
      await store.recordHolders(FLEET, []);
    });

    it('each holder expires at its own time', async () => {
      const store = await createStore();
      await store.recordHolders(FLEET, [{ prefix: 'a', holders: [one, two] }]);
      clock.now = START + 1_000;
      expect(await store.findHolders(FLEET, ['a'])).toEqual(new Map([['a', [two]]]));
      clock.now = START + 2_000;
      expect(await store.findHolders(FLEET, ['a'])).toEqual(new Map());
    });

    it('25 entries can be recorded and 100 prefixes looked up in one request', async () => {
      const store = await createStore();
      const prefixes = Array.from({ length: 100 }, (_, index) => `prefix-${index}`);
      const entries = prefixes.slice(0, 25).map((prefix) => ({ prefix, holders: [one] }));
      await store.recordHolders(FLEET, entries);
      expect([...(await store.findHolders(FLEET, prefixes)).keys()].sort()).toEqual(prefixes.slice(0, 25).sort());
    });
  });

  it('a waiter is returned until it is removed', async () => {
    const store = await createStore(createWorker());
    await store.putWaiter(FLEET, createWaiter());
    await store.putWaiter(FLEET, createWaiter({ id: 'waiter-2', tier: 'batch', tenant: 'globex' }));
    await store.putWaiter(FLEET, createWaiter({ expiresAt: START + 5_500 }));
    expect(await store.read(FLEET)).toEqual({
      workers: [createWorker()],
      waiters: [
        createWaiter({ expiresAt: START + 5_500 }),
        createWaiter({ id: 'waiter-2', tier: 'batch', tenant: 'globex' }),
      ],
      unmet: [],
    });
    await store.removeWaiter(FLEET, 'waiter-1');
    await store.removeWaiter(FLEET, 'waiter-1');
    expect((await store.read(FLEET)).waiters).toHaveLength(1);
  });

  it('the latest unmet demand of each model is returned, and is no waiter', async () => {
    const store = await createStore();
    const last = createUnmetDemand({ weight: 900, expiresAt: START + 130_000 });
    const other = createUnmetDemand({ model: 'base#x:sql', tier: 'batch' });
    for (const demand of [createUnmetDemand(), last, other]) await store.recordUnmetDemand(FLEET, demand);
    await store.recordUnmetDemand('other', createUnmetDemand());
    expect(await store.read(FLEET)).toEqual({ workers: [], waiters: [], unmet: [last, other] });
  });
});

describe('the fleet store in DynamoDB', () => {
  async function createStore() {
    const tableName = await tables.newTable();
    return { tableName, store: createDynamoDBFleetStore(tables.client, { tableName, now: () => START }) };
  }

  it('200 workers with 32 leases each fit into one page of a query', async () => {
    const { tableName, store } = await createStore();
    const leases = Object.fromEntries(
      Array.from({ length: 32 }, (_, index) => [`lease-id-${1000 + index}`, { L: longestLease() }]),
    );
    for (let index = 0; index < 200; index += 1) {
      const { leases: _, ...worker } = createWorker({ id: `0123456789abcdef0123456789ab-${1000 + index}` });
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

  it('a fleet larger than a page is read completely', async () => {
    const { store } = await createStore();
    const models = Array.from({ length: 400 }, (_, index) => `${'adapter'.repeat(60)}-${index}`);
    for (const id of ['w1', 'w2', 'w3', 'w4', 'w5', 'w6', 'w7', 'w8']) {
      const { leases: _, ...worker } = createWorker({ id, models });
      await store.register(worker);
    }
    const { workers } = await store.read(FLEET);
    expect(workers.map(({ id }) => id)).toEqual(['w1', 'w2', 'w3', 'w4', 'w5', 'w6', 'w7', 'w8']);
    expect(workers[7]?.models).toEqual(models);
  });

  it('items of a newer version are read, with unknown states as draining', async () => {
    const { tableName, store } = await createStore();
    const { leases: _, ...worker } = createWorker();
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
    const lease = createLease({
      tenant: 'a-tenant-of-a-usual-name',
      pendingTokens: 131_072,
      weight: 139_264,
      expiresAt: START,
    });
    expect(await store.read(FLEET)).toEqual({
      workers: [createWorker({ state: 'draining', leases: { newer: lease } })],
      waiters: [],
      unmet: [],
    });
    expect(await store.renew(FLEET, 'w1', 'newer', START + 1)).toBe(true);
  });

  it('directory entries are compatible with the previous version in both directions', async () => {
    const { tableName, store } = await createStore();
    const key = { pk: { S: `prefix#${FLEET}#a` }, sk: { S: 'prefix' } };
    const earlierItem = {
      ...key,
      holders: { L: [{ L: [{ S: 'w1' }, { S: 'boot-1' }] }] },
      until: { N: String(START + 1_000) },
      expiresAt: { N: String(START / 1000 + 1) },
    };
    await tables.client.send(new PutItemCommand({ TableName: tableName, Item: earlierItem }));
    const one = { workerId: 'w1', bootId: 'boot-1', until: START + 1_000 };
    expect(await store.findHolders(FLEET, ['a'])).toEqual(new Map([['a', [one]]]));
    const two = { workerId: 'w2', bootId: 'boot-7', until: START + 2_000 };
    await store.recordHolders(FLEET, [{ prefix: 'a', holders: [two, one] }]);
    const { Items: [item] = [] } = await tables.client.send(new ScanCommand({ TableName: tableName }));
    expect(item?.['until']?.N).toBe(String(START + 2_000));
    const written = item?.['holders']?.L?.map(({ L: [workerId, bootId] = [] }) => [workerId?.S, bootId?.S]);
    expect(written).toEqual([
      ['w2', 'boot-7'],
      ['w1', 'boot-1'],
    ]);
  });

  it('the TTL attribute of waiters, unmet demand and prefixes is rounded up to whole seconds', async () => {
    const { tableName, store } = await createStore();
    await store.recordUnmetDemand('other', createUnmetDemand({ expiresAt: START + 3_500 }));
    await store.putWaiter(FLEET, createWaiter({ expiresAt: START + 1_500 }));
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
