import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { runCommand } from '../../../../shared/gpu/upkeep/commands.ts';
import { drainInstance, reconcileTask } from '../../../../shared/gpu/upkeep/ecs-events.ts';
import { takeOutOfService } from '../../../../shared/gpu/upkeep/reconcile-worker.ts';
import { aWaiter, FLEET, type FleetTables, START, startFleetTables } from '../fleets.ts';
import { aTask, type StandInEcs, startStandInEcs } from './stand-in-ecs.ts';
import { type StandInEngine, startStandInEngine } from './stand-in-engine.ts';
import { aDefinition, ecsDefinition, told, UpkeepWorld } from './upkeep-world.ts';

let tables: FleetTables;
let ecs: StandInEcs;
let engine: StandInEngine;
beforeEach(async () => {
  [tables, ecs, engine] = await Promise.all([startFleetTables(), startStandInEcs(), startStandInEngine()]);
});
afterEach(async () => {
  await Promise.all([tables, ecs, engine].map((each) => each[Symbol.asyncDispose]()));
});

const portOf = ({ url }: StandInEngine) => Number(new URL(url).port);
const openListed = (changes = {}) =>
  UpkeepWorld.open(tables, ecs, aDefinition({ workers: [{ id: 'w1', url: engine.url }], ...changes }));
const openEcs = () => UpkeepWorld.open(tables, ecs, ecsDefinition(portOf(engine)));

describe('a listed machine', () => {
  test('is registered once it generates', async () => {
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
    expect(engine.asked).toContain('POST /v1/chat/completions');
  });

  test('that is well is asked for its models only, and keeps its leases', async () => {
    const world = await openListed();
    await world.reconcile();
    await world.lease('mine');
    engine.asked.length = 0;
    world.clock += 10_000;
    await world.reconcile();
    expect(engine.asked.toSorted()).toEqual(['GET /metrics', 'GET /v1/models']);
    expect(await world.worker()).toMatchObject({ seenAt: START + 10_000, leases: { mine: {} } });
  });

  test('that does not answer gets no work, and is ready again as soon as a probe finds it well', async () => {
    const world = await openListed();
    await world.reconcile();
    await engine.stop();
    world.meanwhile = async () => {
      if (world.clock === START + 15_000) await engine.restart();
    };
    await world.minute();
    expect(world.changes.map(({ change }) => change)).toEqual(['registered', 'suspect', 'ready']);
    expect(await world.worker()).toMatchObject({ state: 'ready', seenAt: START + 15_000 });
    expect(await world.lease('mine')).toBe(true);
  });

  test('that lists its models and generates nothing stays out', async () => {
    const world = await openListed();
    await world.reconcile();
    await world.ports.store.setState(FLEET, 'w1', '1.8e+09', { state: 'suspect', reason: 'stalled', at: START });
    engine.state.generates = false;
    const probing = world.reconcile();
    await expect.poll(() => engine.asked.filter((path) => path.startsWith('POST')).length).toBe(2);
    await engine.stop();
    await probing;
    expect(await world.worker()).toMatchObject({ state: 'suspect', stateReason: 'stalled' });
  });

  test('that has started anew at the same address has another boot id, and no leases', async () => {
    const world = await openListed();
    await world.reconcile();
    await world.lease('mine');
    await engine.restart({ start: '1.80001e+09' });
    await world.reconcile();
    expect(await world.worker()).toMatchObject({ bootId: '1.80001e+09', state: 'ready', leases: {} });
    expect(await world.ports.store.renew(FLEET, 'w1', 'mine', world.clock + 45_000)).toBe(false);
  });

  test('that has started anew and does not generate yet gets no work', async () => {
    const world = await openListed();
    await world.reconcile();
    await engine.restart({ start: '1.80001e+09', generates: false });
    const asked = engine.asked.length;
    const looking = world.reconcile();
    await expect.poll(() => engine.asked.slice(asked)).toContain('POST /v1/chat/completions');
    await engine.stop();
    await looking;
    expect(await world.worker()).toMatchObject({ state: 'suspect', bootId: '1.8e+09' });
    await engine.restart({ generates: true });
    await world.reconcile();
    expect(await world.worker()).toMatchObject({ state: 'ready', bootId: '1.80001e+09' });
  });

  test('that fails one look is looked at once more before it is out', async () => {
    const world = await openListed();
    await world.reconcile();
    engine.state.failures = 1;
    await world.reconcile();
    expect((await world.worker())?.state).toBe('ready');
    engine.state.failures = 2;
    await world.reconcile();
    expect(await world.worker()).toMatchObject({ state: 'suspect', stateReason: 'status 500' });
  });

  test('whose engine does not tell its start is taken for another one after it was out of service', async () => {
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

  test('that cannot be asked for its start when it is back keeps the one it told, and its leases', async () => {
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

  test('that is on the list no more is forgotten', async () => {
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

  test('is asked at its own address only, wherever it sends whoever asks', async () => {
    await using elsewhere = await startStandInEngine();
    engine.state.redirect = `${elsewhere.url}/models`;
    const world = await openListed();
    await world.reconcile();
    expect(await world.workers()).toEqual([]);
    expect(elsewhere.asked).toEqual([]);
    expect(new Set(engine.asked)).toEqual(new Set(['GET /v1/models']));
  });
});

describe('a drained worker', () => {
  test('gets no work and keeps what it has, until it is undrained', async () => {
    const world = await openListed();
    await world.reconcile();
    await world.lease('mine');
    const [shown] = await runCommand({ type: 'drain', fleet: FLEET, worker: 'w1' }, world.ports);
    expect(shown).toMatchObject({ worker: 'w1', state: 'draining', reason: 'operator', leases: 1 });
    await world.reconcile();
    expect(await world.lease('other')).toBe(false);
    expect(await world.worker()).toMatchObject({ state: 'draining', leases: { mine: {} } });
    const [back] = await runCommand({ type: 'undrain', fleet: FLEET, worker: 'w1' }, world.ports);
    expect(back).toMatchObject({ state: 'ready', leases: 1 });
  });

  test('may be restarted meanwhile, and is registered anew when it is undrained', async () => {
    const world = await openListed();
    await world.reconcile();
    await runCommand({ type: 'drain', fleet: FLEET, worker: 'w1' }, world.ports);
    await engine.restart({ start: '1.80001e+09' });
    await world.reconcile();
    expect(await world.worker()).toMatchObject({ state: 'draining', bootId: '1.8e+09' });
    await runCommand({ type: 'undrain', fleet: FLEET, worker: 'w1' }, world.ports);
    expect(await world.worker()).toMatchObject({ state: 'ready', bootId: '1.80001e+09' });
  });

  test('stays drained though a probe that began before finds it down', async () => {
    const world = await openListed();
    await world.reconcile();
    const before = (await world.worker()) ?? expect.fail();
    await runCommand({ type: 'drain', fleet: FLEET, worker: 'w1' }, world.ports);
    await takeOutOfService(before, 'suspect', 'ECONNREFUSED', world.ports);
    expect(await world.worker()).toMatchObject({ state: 'draining', stateReason: 'operator' });
  });

  test('that is not well stays out when it is undrained', async () => {
    const world = await openListed();
    await world.reconcile();
    await runCommand({ type: 'drain', fleet: FLEET, worker: 'w1' }, world.ports);
    await engine.stop();
    const [shown] = await runCommand({ type: 'undrain', fleet: FLEET, worker: 'w1' }, world.ports);
    expect(shown).toMatchObject({ state: 'suspect', reason: 'undrained' });
  });

  test.each([
    ['fleet', { type: 'drain', fleet: 'none', worker: 'w1' } as const],
    ['worker', { type: 'drain', fleet: FLEET, worker: 'none' } as const],
  ])('has to exist: an unknown %s is refused', async (_, command) => {
    const world = await openListed();
    await expect(runCommand(command, world.ports)).rejects.toMatchObject({ code: 'not_found' });
  });
});

describe('a task of ECS', () => {
  const put = (changes = {}) => {
    const task = aTask('t1', changes);
    ecs.tasks.set(task.taskArn, task);
    ecs.instances.set(task.containerInstanceArn, 'i-0abc');
    return told(task);
  };

  test('is registered when it runs and works, with its address and its instance', async () => {
    const world = await openEcs();
    expect(await reconcileTask(put(), world.ports)).toBe('ready');
    expect(await world.worker()).toMatchObject({ id: 't1', url: engine.url, source: 'ecs', instance: 'i-0abc' });
  });

  test('that loads its weights is no worker yet, and becomes one within seconds of being done', async () => {
    engine.state.models = [];
    const world = await openEcs();
    put({ startedAt: START / 1_000 });
    world.meanwhile = async () => {
      if (world.clock === START + 30_000) engine.state.models = ['Qwen/Qwen3-8B'];
    };
    await world.reconcile().then(([report]) => expect(report).toMatchObject({ starting: 1, view: { workers: [] } }));
    await world.minute();
    expect(await world.worker()).toMatchObject({ state: 'ready', seenAt: START + 30_000 });
  });

  test('drains when it is to stop, and is forgotten when it has stopped', async () => {
    const world = await openEcs();
    await reconcileTask(put(), world.ports);
    await world.lease('mine');
    await reconcileTask(put({ desiredStatus: 'STOPPED', version: 5 }), world.ports);
    expect(await world.worker()).toMatchObject({ state: 'draining', stateReason: 'stopping', leases: { mine: {} } });
    await reconcileTask(put({ desiredStatus: 'STOPPED', lastStatus: 'DEACTIVATING', version: 6 }), world.ports);
    expect((await world.worker())?.state).toBe('draining');
    await reconcileTask(put({ desiredStatus: 'STOPPED', lastStatus: 'STOPPED', version: 7 }), world.ports);
    expect(await world.workers()).toEqual([]);
  });

  test('is what its latest version says, in whatever order and however often events come', async () => {
    const versions = [
      { lastStatus: 'PENDING', version: 2 },
      { version: 4 },
      { desiredStatus: 'STOPPED', version: 5 },
      { desiredStatus: 'STOPPED', lastStatus: 'STOPPED', version: 7 },
    ];
    const events = versions.map((changes) => told(aTask('t1', changes)));
    const orders = [
      [3, 2, 1, 0],
      [1, 3, 2, 1],
      [0, 3, 0, 1],
      [2, 1, 3, 2],
    ];
    for (const order of orders) {
      const world = await openEcs();
      // ECS's API is never behind the latest event by much; once it is behind, the event counts.
      put(versions[3]);
      for (const index of order) await reconcileTask(events[index] ?? expect.fail(), world.ports);
      expect(await world.workers(), order.join()).toEqual([]);
    }
    const world = await openEcs();
    put(versions[1]);
    await reconcileTask(events[1] ?? expect.fail(), world.ports);
    await reconcileTask(events[2] ?? expect.fail(), world.ports);
    await reconcileTask(events[1] ?? expect.fail(), world.ports);
    expect((await world.worker())?.state).toBe('draining');
  });

  test('that is to stop drains though the key of the engines cannot be had', async () => {
    const definition = ecsDefinition(portOf(engine), { apiKey: 'ssm:/key' });
    const world = await UpkeepWorld.open(tables, ecs, definition);
    const [heard, unheard, stays] = [aTask('t1'), aTask('t2'), aTask('t3')];
    for (const task of [heard, unheard, stays]) ecs.tasks.set(task.taskArn, task);
    await world.reconcile();
    world.keyIsOut = true;
    for (const task of [heard, unheard]) Object.assign(task, { desiredStatus: 'STOPPED', version: 5 });
    expect(await reconcileTask(told(heard), world.ports)).toBe('draining');
    expect((await world.workers()).map(({ state }) => state)).toEqual(['draining', 'ready', 'ready']);
    await world.reconcile();
    expect((await world.workers()).map(({ state }) => state)).toEqual(['draining', 'draining', 'ready']);
    expect(world.errors).toEqual(['could not reconcile the fleet']);
  });

  test('that ECS finds unhealthy gets no work', async () => {
    const world = await openEcs();
    await reconcileTask(put(), world.ports);
    await reconcileTask(put({ healthStatus: 'UNHEALTHY', version: 5 }), world.ports);
    expect(await world.worker()).toMatchObject({ state: 'suspect', stateReason: 'unhealthy' });
    await reconcileTask(put({ healthStatus: 'HEALTHY', version: 6 }), world.ports);
    expect((await world.worker())?.state).toBe('ready');
  });

  test('whose container was started anew has another boot id', async () => {
    const world = await openEcs();
    await reconcileTask(put(), world.ports);
    const before = await world.worker();
    await world.lease('mine');
    put({ containers: [{ name: 'engine', runtimeId: 't1-2', lastStatus: 'RUNNING' }], version: 5 });
    await world.reconcile();
    const after = await world.worker();
    expect(after).toMatchObject({ id: 't1', state: 'ready', leases: {} });
    expect(after?.bootId).not.toBe(before?.bootId);
  });

  test('of another service is nothing to the fleet', async () => {
    const world = await openEcs();
    expect(await reconcileTask(put({ group: 'service:other' }), world.ports)).toBeUndefined();
    expect(await reconcileTask(put({ clusterArn: `${put().clusterArn}-other` }), world.ports)).toBeUndefined();
    expect(await world.workers()).toEqual([]);
    expect(engine.asked).toEqual([]);
  });

  test('drains when EC2 takes its instance back', async () => {
    const world = await openEcs();
    await reconcileTask(put(), world.ports);
    expect(await drainInstance('i-0other', world.ports)).toBe(0);
    expect((await world.worker())?.state).toBe('ready');
    expect(await drainInstance('i-0abc', world.ports)).toBe(1);
    expect(await world.worker()).toMatchObject({ state: 'draining', stateReason: 'spot interruption' });
    await world.reconcile();
    expect((await world.worker())?.state).toBe('draining');
  });
});

describe('the reconciliation', () => {
  test('finds every task, page after page, and forgets the ones that are gone, without an event', async () => {
    const world = await openEcs();
    const tasks = Array.from({ length: 8 }, (_, index) => aTask(`t${index}`));
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

  test('forgets no task while ECS does not answer, and looks at listed machines all the same', async () => {
    const world = await UpkeepWorld.open(
      tables,
      ecs,
      ecsDefinition(portOf(engine), { workers: [{ id: 'w1', url: engine.url }] }),
    );
    const task = aTask('t1');
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

  test('removes leases and waiters that nobody comes back for', async () => {
    const world = await openListed();
    await world.reconcile();
    await world.lease('dead');
    await world.ports.store.putWaiter(FLEET, aWaiter({ id: 'dead' }));
    world.clock += 100_000;
    await world.lease('alive');
    await world.ports.store.putWaiter(FLEET, aWaiter({ id: 'alive', expiresAt: world.clock + 3_000 }));
    await world.reconcile();
    world.clock += 10_000;
    await world.reconcile();
    const { workers, waiters } = await world.ports.store.read(FLEET);
    expect(Object.keys(workers[0]?.leases ?? {})).toEqual(['alive']);
    expect(waiters.map(({ id }) => id)).toEqual(['alive']);
  });

  test('goes on for a minute while a fleet is at work, and ends at once when it does nothing', async () => {
    const world = await openListed();
    await world.reconcile();
    let slept = 0;
    world.meanwhile = async () => {
      slept += 1;
    };
    await world.minute();
    expect(slept).toBe(0);
    await world.lease('mine');
    await world.minute();
    expect(slept).toBe(9);
    // Those in service are asked once a minute all the same.
    expect(engine.asked.filter((path) => path === 'GET /v1/models')).toHaveLength(3);
  });
});
