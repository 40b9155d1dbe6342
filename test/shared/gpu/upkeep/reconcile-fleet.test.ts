import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { runCommand } from '../../../../shared/gpu/upkeep/commands.ts';
import { drainInstance, reconcileTask } from '../../../../shared/gpu/upkeep/ecs-events.ts';
import { takeOutOfService } from '../../../../shared/gpu/upkeep/reconcile-worker.ts';
import { waitUntil } from '../../../wait.ts';
import { createWaiter, FLEET, type FleetTables, START, startFleetTables } from '../fleets.ts';
import { createTask, type StandInEcs, startStandInEcs } from './stand-in-ecs.ts';
import { type StandInEngine, startStandInEngine } from './stand-in-engine.ts';
import { createEcsDefinition, createFleetDefinition, toEventTask, UpkeepWorld } from './upkeep-world.ts';

let tables: FleetTables;
let ecs: StandInEcs;
let engine: StandInEngine;
beforeEach(async () => {
  [tables, ecs, engine] = await Promise.all([startFleetTables(), startStandInEcs(), startStandInEngine()]);
});
afterEach(async () => {
  await Promise.all([tables, ecs, engine].map((each) => each[Symbol.asyncDispose]()));
});

const getPort = ({ url }: StandInEngine) => Number(new URL(url).port);
const openListed = (changes = {}) =>
  UpkeepWorld.open(tables, ecs, createFleetDefinition({ workers: [{ id: 'w1', url: engine.url }], ...changes }));
const openEcs = () => UpkeepWorld.open(tables, ecs, createEcsDefinition(getPort(engine)));

describe('listed machines', () => {
  it('a listed machine is registered once it generates a token', async () => {
    const world = await openListed();
    await world.reconcile();
    expect(await world.workers()).toEqual([
      {
        fleet: FLEET,
        id: 'w1',
        url: engine.url,
        bootId: '1.8e+09',
        state: 'ready',
        slots: 4,
        models: ['Qwen/Qwen3-8B'],
        source: 'static',
        seenAt: START,
        leases: {},
      },
    ]);
    expect(engine.requests).toContain('POST /v1/chat/completions');
  });

  it('a ready worker is probed without generating a token, and keeps its leases', async () => {
    const world = await openListed();
    await world.reconcile();
    await world.lease('mine');
    engine.requests.length = 0;
    world.clock += 10_000;
    await world.reconcile();
    expect(engine.requests.toSorted()).toEqual(['GET /metrics', 'GET /v1/models']);
    expect(await world.worker()).toMatchObject({ seenAt: START + 10_000, leases: { mine: {} } });
  });

  it('a worker that does not answer is suspect and becomes ready as soon as a probe succeeds', async () => {
    const world = await openListed();
    await world.reconcile();
    await engine.stop();
    world.onSleep = async () => {
      if (world.clock === START + 15_000) await engine.restart();
    };
    await world.runMinute();
    expect(world.changes.map(({ change }) => change)).toEqual(['registered', 'suspect', 'ready']);
    expect(await world.worker()).toMatchObject({ state: 'ready', seenAt: START + 15_000 });
    expect(await world.lease('mine')).toBe(true);
  });

  it('a suspect worker that lists its models but generates no token stays suspect', async () => {
    const world = await openListed();
    await world.reconcile();
    await world.ports.store.setState(FLEET, 'w1', '1.8e+09', { state: 'suspect', reason: 'stalled', at: START });
    engine.state.generates = false;
    const reconciling = world.reconcile();
    await waitUntil(
      'the engine receives two probes',
      () => engine.requests.filter((path) => path.startsWith('POST')).length === 2,
    );
    await engine.stop();
    await reconciling;
    expect(await world.worker()).toMatchObject({ state: 'suspect', stateReason: 'stalled' });
  });

  it('a worker that restarted at the same address has another boot id and no leases', async () => {
    const world = await openListed();
    await world.reconcile();
    await world.lease('mine');
    await engine.restart({ start: '1.80001e+09' });
    await world.reconcile();
    expect(await world.worker()).toMatchObject({ bootId: '1.80001e+09', state: 'ready', leases: {} });
    expect(await world.ports.store.renew(FLEET, 'w1', 'mine', world.clock + 45_000)).toBe(false);
  });

  it('a restarted worker gets no work until it generates a token', async () => {
    const world = await openListed();
    await world.reconcile();
    await engine.restart({ start: '1.80001e+09', generates: false });
    const earlier = engine.requests.length;
    const reconciling = world.reconcile();
    await waitUntil('the engine receives a probe', () =>
      engine.requests.slice(earlier).includes('POST /v1/chat/completions'),
    );
    await engine.stop();
    await reconciling;
    expect(await world.worker()).toMatchObject({ state: 'suspect', bootId: '1.8e+09' });
    await engine.restart({ generates: true });
    await world.reconcile();
    expect(await world.worker()).toMatchObject({ state: 'ready', bootId: '1.80001e+09' });
  });

  it('a ready worker becomes suspect only if two probes in a row fail', async () => {
    const world = await openListed();
    await world.reconcile();
    engine.state.failures = 1;
    await world.reconcile();
    expect((await world.worker())?.state).toBe('ready');
    engine.state.failures = 2;
    await world.reconcile();
    expect(await world.worker()).toMatchObject({ state: 'suspect', stateReason: 'status 500' });
  });

  it('a worker whose engine reports no start time gets another boot id after it was out of service', async () => {
    engine.state.start = '';
    const world = await openListed();
    await world.reconcile();
    const first = await world.worker();
    world.clock += 60_000;
    await world.reconcile();
    expect((await world.worker())?.bootId).toBe(first?.bootId);
    await engine.stop();
    await world.reconcile();
    await engine.restart();
    world.clock += 60_000;
    await world.reconcile();
    const { bootId, state } = (await world.worker()) ?? {};
    expect(state).toBe('ready');
    expect(bootId).not.toBe(first?.bootId);
  });

  it('a worker keeps its boot id and leases if one probe cannot read its start time', async () => {
    const world = await openListed();
    await world.reconcile();
    await world.lease('mine');
    await world.ports.store.setState(FLEET, 'w1', '1.8e+09', { state: 'suspect', reason: 'stalled', at: START });
    for (const failsAt of ['GET /metrics', undefined]) {
      engine.state.failsAt = failsAt;
      await world.reconcile();
      expect(await world.worker()).toMatchObject({ bootId: '1.8e+09', state: 'ready', leases: { mine: {} } });
    }
  });

  it('a worker that is no longer listed is deregistered', async () => {
    const world = await openListed();
    await world.reconcile();
    await world.ports.store.register({
      ...((await world.worker()) ?? expect.fail()),
      id: 'w2',
      url: engine.url,
    });
    await world.reconcile();
    expect((await world.workers()).map(({ id }) => id)).toEqual(['w1']);
  });

  it('a worker that redirects probes is not registered, and the redirect is not followed', async () => {
    await using elsewhere = await startStandInEngine();
    engine.state.redirect = `${elsewhere.url}/models`;
    const world = await openListed();
    await world.reconcile();
    expect(await world.workers()).toEqual([]);
    expect(elsewhere.requests).toEqual([]);
    expect(new Set(engine.requests)).toEqual(new Set(['GET /v1/models']));
  });
});

describe('draining a worker', () => {
  it('a drained worker gets no work and keeps its leases until it is undrained', async () => {
    const world = await openListed();
    await world.reconcile();
    await world.lease('mine');
    const [summary] = await runCommand({ type: 'drain', fleet: FLEET, worker: 'w1' }, world.ports);
    expect(summary).toMatchObject({ worker: 'w1', state: 'draining', reason: 'operator', leases: 1 });
    await world.reconcile();
    expect(await world.lease('other')).toBe(false);
    expect(await world.worker()).toMatchObject({ state: 'draining', leases: { mine: {} } });
    const [undrained] = await runCommand({ type: 'undrain', fleet: FLEET, worker: 'w1' }, world.ports);
    expect(undrained).toMatchObject({ state: 'ready', leases: 1 });
  });

  it('a worker that restarts while drained is registered again when it is undrained', async () => {
    const world = await openListed();
    await world.reconcile();
    await runCommand({ type: 'drain', fleet: FLEET, worker: 'w1' }, world.ports);
    await engine.restart({ start: '1.80001e+09' });
    await world.reconcile();
    expect(await world.worker()).toMatchObject({ state: 'draining', bootId: '1.8e+09' });
    await runCommand({ type: 'undrain', fleet: FLEET, worker: 'w1' }, world.ports);
    expect(await world.worker()).toMatchObject({ state: 'ready', bootId: '1.80001e+09' });
  });

  it('a worker stays drained if a probe that began before the drain fails', async () => {
    const world = await openListed();
    await world.reconcile();
    const before = (await world.worker()) ?? expect.fail();
    await runCommand({ type: 'drain', fleet: FLEET, worker: 'w1' }, world.ports);
    await takeOutOfService(before, 'suspect', 'ECONNREFUSED', world.ports);
    expect(await world.worker()).toMatchObject({ state: 'draining', stateReason: 'operator' });
  });

  it('an unhealthy worker becomes suspect when it is undrained', async () => {
    const world = await openListed();
    await world.reconcile();
    await runCommand({ type: 'drain', fleet: FLEET, worker: 'w1' }, world.ports);
    await engine.stop();
    const [summary] = await runCommand({ type: 'undrain', fleet: FLEET, worker: 'w1' }, world.ports);
    expect(summary).toMatchObject({ state: 'suspect', reason: 'undrained' });
  });

  it.each([
    ['fleet', { type: 'drain', fleet: 'none', worker: 'w1' } as const],
    ['worker', { type: 'drain', fleet: FLEET, worker: 'none' } as const],
  ])('a command for an unknown %s is rejected', async (_, command) => {
    const world = await openListed();
    await expect(runCommand(command, world.ports)).rejects.toMatchObject({ code: 'not_found' });
  });
});

describe('ECS tasks', () => {
  const putTask = (changes = {}) => {
    const task = createTask('t1', changes);
    ecs.tasks.set(task.taskArn, task);
    ecs.instances.set(task.containerInstanceArn, 'i-0abc');
    return toEventTask(task);
  };

  it('a running task is registered with its address and its instance', async () => {
    const world = await openEcs();
    expect(await reconcileTask(putTask(), world.ports)).toBe('ready');
    expect(await world.worker()).toMatchObject({ id: 't1', url: engine.url, source: 'ecs', instance: 'i-0abc' });
  });

  it('a task is registered within seconds after it has loaded its weights', async () => {
    engine.state.models = [];
    const world = await openEcs();
    putTask({ startedAt: START / 1_000 });
    world.onSleep = async () => {
      if (world.clock === START + 30_000) engine.state.models = ['Qwen/Qwen3-8B'];
    };
    await world.reconcile().then(([report]) => expect(report).toMatchObject({ starting: 1, view: { workers: [] } }));
    await world.runMinute();
    expect(await world.worker()).toMatchObject({ state: 'ready', seenAt: START + 30_000 });
  });

  it('a task drains when it is about to stop and is deregistered when it has stopped', async () => {
    const world = await openEcs();
    await reconcileTask(putTask(), world.ports);
    await world.lease('mine');
    await reconcileTask(putTask({ desiredStatus: 'STOPPED', version: 5 }), world.ports);
    expect(await world.worker()).toMatchObject({ state: 'draining', stateReason: 'stopping', leases: { mine: {} } });
    await reconcileTask(putTask({ desiredStatus: 'STOPPED', lastStatus: 'DEACTIVATING', version: 6 }), world.ports);
    expect((await world.worker())?.state).toBe('draining');
    await reconcileTask(putTask({ desiredStatus: 'STOPPED', lastStatus: 'STOPPED', version: 7 }), world.ports);
    expect(await world.workers()).toEqual([]);
  });

  it('the latest version of a task counts, whatever the order and number of its events', async () => {
    const versions = [
      { lastStatus: 'PENDING', version: 2 },
      { version: 4 },
      { desiredStatus: 'STOPPED', version: 5 },
      { desiredStatus: 'STOPPED', lastStatus: 'STOPPED', version: 7 },
    ];
    const events = versions.map((changes) => toEventTask(createTask('t1', changes)));
    const orders = [
      [3, 2, 1, 0],
      [1, 3, 2, 1],
      [0, 3, 0, 1],
      [2, 1, 3, 2],
    ];
    for (const order of orders) {
      const world = await openEcs();
      // ECS's API may lag behind an event. Then the event counts.
      putTask(versions[3]);
      for (const index of order) await reconcileTask(events[index] ?? expect.fail(), world.ports);
      expect(await world.workers(), order.join()).toEqual([]);
    }
    const world = await openEcs();
    putTask(versions[1]);
    await reconcileTask(events[1] ?? expect.fail(), world.ports);
    await reconcileTask(events[2] ?? expect.fail(), world.ports);
    await reconcileTask(events[1] ?? expect.fail(), world.ports);
    expect((await world.worker())?.state).toBe('draining');
  });

  it('a task that is about to stop drains even if the engines’ key is missing', async () => {
    const definition = createEcsDefinition(getPort(engine), { apiKey: 'ssm:/key' });
    const world = await UpkeepWorld.open(tables, ecs, definition);
    const [withEvent, withoutEvent, running] = [createTask('t1'), createTask('t2'), createTask('t3')];
    for (const task of [withEvent, withoutEvent, running]) ecs.tasks.set(task.taskArn, task);
    await world.reconcile();
    world.isKeyMissing = true;
    for (const task of [withEvent, withoutEvent]) Object.assign(task, { desiredStatus: 'STOPPED', version: 5 });
    expect(await reconcileTask(toEventTask(withEvent), world.ports)).toBe('draining');
    expect((await world.workers()).map(({ state }) => state)).toEqual(['draining', 'ready', 'ready']);
    await world.reconcile();
    expect((await world.workers()).map(({ state }) => state)).toEqual(['draining', 'draining', 'ready']);
    expect(world.errors).toEqual(['could not reconcile the fleet']);
  });

  it('a task that ECS reports as unhealthy is suspect until it is healthy', async () => {
    const world = await openEcs();
    await reconcileTask(putTask(), world.ports);
    await reconcileTask(putTask({ healthStatus: 'UNHEALTHY', version: 5 }), world.ports);
    expect(await world.worker()).toMatchObject({ state: 'suspect', stateReason: 'unhealthy' });
    await reconcileTask(putTask({ healthStatus: 'HEALTHY', version: 6 }), world.ports);
    expect((await world.worker())?.state).toBe('ready');
  });

  it('a task whose container was restarted has another boot id and no leases', async () => {
    const world = await openEcs();
    await reconcileTask(putTask(), world.ports);
    const before = await world.worker();
    await world.lease('mine');
    putTask({ containers: [{ name: 'engine', runtimeId: 't1-2', lastStatus: 'RUNNING' }], version: 5 });
    await world.reconcile();
    const after = await world.worker();
    expect(after).toMatchObject({ id: 't1', state: 'ready', leases: {} });
    expect(after?.bootId).not.toBe(before?.bootId);
  });

  it('a task of another service or cluster is ignored', async () => {
    const world = await openEcs();
    expect(await reconcileTask(putTask({ group: 'service:other' }), world.ports)).toBeUndefined();
    expect(await reconcileTask(putTask({ clusterArn: `${putTask().clusterArn}-other` }), world.ports)).toBeUndefined();
    expect(await world.workers()).toEqual([]);
    expect(engine.requests).toEqual([]);
  });

  it('a worker drains when EC2 reclaims its instance', async () => {
    const world = await openEcs();
    await reconcileTask(putTask(), world.ports);
    expect(await drainInstance('i-0other', world.ports)).toBe(0);
    expect((await world.worker())?.state).toBe('ready');
    expect(await drainInstance('i-0abc', world.ports)).toBe(1);
    expect(await world.worker()).toMatchObject({ state: 'draining', stateReason: 'spot interruption' });
    await world.reconcile();
    expect((await world.worker())?.state).toBe('draining');
  });
});

describe('reconcileFleets', () => {
  it('all pages of tasks are reconciled, and missing tasks are deregistered without an event', async () => {
    const world = await openEcs();
    const tasks = Array.from({ length: 8 }, (_, index) => createTask(`t${index}`));
    for (const task of tasks) ecs.tasks.set(task.taskArn, task);
    await world.reconcile();
    expect(await world.workers()).toHaveLength(8);
    ecs.tasks.delete(tasks[0]?.taskArn ?? '');
    Object.assign(tasks[1] ?? {}, { desiredStatus: 'STOPPED', lastStatus: 'STOPPED', version: 7 });
    Object.assign(tasks[2] ?? {}, { desiredStatus: 'STOPPED', version: 5 });
    await world.reconcile();
    const states = (await world.workers()).map(({ id, state }) => [id, state]);
    expect(states).toEqual([['t2', 'draining'], ...[3, 4, 5, 6, 7].map((index) => [`t${index}`, 'ready'])]);
  });

  it('no task is deregistered while ECS does not answer, and listed machines are still probed', async () => {
    const world = await UpkeepWorld.open(
      tables,
      ecs,
      createEcsDefinition(getPort(engine), { workers: [{ id: 'w1', url: engine.url }] }),
    );
    const task = createTask('t1');
    ecs.tasks.set(task.taskArn, task);
    await world.reconcile();
    ecs.broken = true;
    await engine.restart({ start: '1.80001e+09' });
    await world.reconcile();
    expect((await world.workers()).map(({ id, bootId }) => [id, bootId.length > 0])).toEqual([
      ['t1', true],
      ['w1', true],
    ]);
    expect((await world.workers())[1]?.bootId).toBe('1.80001e+09');
    expect(world.errors).toEqual(["could not list the fleet's tasks"]);
  });

  it('expired leases and waiters are removed', async () => {
    const world = await openListed();
    await world.reconcile();
    await world.lease('dead');
    await world.ports.store.putWaiter(FLEET, createWaiter({ id: 'dead' }));
    world.clock += 100_000;
    await world.lease('alive');
    await world.ports.store.putWaiter(FLEET, createWaiter({ id: 'alive', expiresAt: world.clock + 3_000 }));
    await world.reconcile();
    world.clock += 10_000;
    await world.reconcile();
    const { workers, waiters } = await world.ports.store.read(FLEET);
    expect(Object.keys(workers[0]?.leases ?? {})).toEqual(['alive']);
    expect(waiters.map(({ id }) => id)).toEqual(['alive']);
  });

  it('workers out of service are probed again only while the fleet has work', async () => {
    const world = await openListed();
    await world.reconcile();
    let pauses = 0;
    world.onSleep = async () => {
      pauses += 1;
    };
    await world.runMinute();
    expect(pauses).toBe(0);
    await world.lease('mine');
    await world.runMinute();
    expect(pauses).toBe(9);
    // A worker in service is still probed only once a minute.
    expect(engine.requests.filter((path) => path === 'GET /v1/models')).toHaveLength(3);
  });
});
