import { expect, it } from 'vitest';
import { createPace, type PaceOptions } from '../../../shared/jobs/pace.ts';
import type { PaceTable } from '../../../shared/jobs/pace-table.ts';
import { createMemoryPaceTable } from './memory-pace-table.ts';

const START = 1_800_000_000_000;

/** Environments that share a table. */
function aFleet(changes: Partial<PaceOptions> = {}) {
  const clock = { now: START };
  const requests: string[] = [];
  const table = new Proxy(changes.table ?? createMemoryPaceTable(), {
    get(target, name) {
      const method: unknown = Reflect.get(target, name);
      if (typeof method !== 'function') return method;
      return (...parameters: unknown[]) => {
        requests.push(String(name));
        return Reflect.apply(method, target, parameters);
      };
    },
  });
  const start = () => createPace({ now: () => clock.now, random: () => 0, onError: () => {}, ...changes, table });
  return { clock, requests, start };
}

/** Returns how many of so many concurrent calls are admitted. */
async function countAdmitted(pace: ReturnType<typeof createPace>, calls = 10): Promise<number> {
  const waits = await Promise.all(Array.from({ length: calls }, () => pace.admit('model')));
  return waits.filter((until) => until === undefined).length;
}

it('a model that is not throttled costs one read, however often it is asked', async () => {
  const { clock, requests, start } = aFleet();
  const pace = start();
  for (let call = 0; call < 100; call += 1) {
    expect(await countAdmitted(pace)).toBe(10);
    pace.accepted('model');
    clock.now += 1_000;
  }
  expect(requests).toEqual(['read']);
});

it('all environments together may call a throttled model twice as often as it accepted, and once more', async () => {
  const { clock, start } = aFleet();
  const [one, two] = [start(), start()];
  await one.admit('model');
  one.throttled('model', undefined);
  clock.now += 1_000;
  expect((await countAdmitted(one)) + (await countAdmitted(two))).toBe(1);
  one.accepted('model');
  await Promise.resolve();
  clock.now += 1_000;
  expect((await countAdmitted(one, 2)) + (await countAdmitted(two))).toBe(3);
  // Nothing was accepted in this window.
  clock.now += 1_000;
  expect(await countAdmitted(two)).toBe(1);
});

it('a slow table delays calls to a throttled model, and neither loses permits nor keeps calls from growing', async () => {
  const memory = createMemoryPaceTable();
  const slowly = async <T>(result: Promise<T>): Promise<T> => {
    clock.now += 3_000;
    return result;
  };
  const table: PaceTable = {
    ...memory,
    take: (...parameters) => slowly(memory.take(...parameters)),
    open: (...parameters) => slowly(memory.open(...parameters)),
  };
  const { clock, start } = aFleet({ table });
  const pace = start();
  pace.throttled('model', undefined);
  clock.now += 1_000;
  expect(await countAdmitted(pace, 1)).toBe(1);
  pace.accepted('model');
  await new Promise(setImmediate);
  clock.now += 3_000;
  const takes = await Promise.all([pace.admit('model'), pace.admit('model'), pace.admit('model')]);
  expect(takes).toEqual([undefined, undefined, undefined]);
  expect(await memory.read('model')).toMatchObject({ left: 0 });
});

it('a model is asked freely again when it was not throttled for a minute', async () => {
  const { clock, start } = aFleet();
  const [one, two] = [start(), start()];
  one.throttled('model', undefined);
  clock.now += 59_000;
  expect(await countAdmitted(two)).toBe(1);
  two.throttled('model', undefined);
  clock.now += 59_000;
  expect(await countAdmitted(one)).toBe(1);
  clock.now += 1_000;
  expect(await countAdmitted(one)).toBe(10);
});

it('an environment that was throttled lately looks whether others are throttled again', async () => {
  const { clock, start } = aFleet();
  const [one, two] = [start(), start()];
  one.throttled('model', undefined);
  for (const { at, admitted } of [
    { at: 61_000, admitted: 10 },
    { at: 66_000, admitted: 1 },
  ]) {
    clock.now = START + at;
    expect(await countAdmitted(one)).toBe(admitted);
    two.throttled('model', undefined);
  }
});

it('a model rests in all environments for as long as it asked', async () => {
  const { clock, requests, start } = aFleet();
  const [one, two] = [start(), start()];
  one.throttled('model', 30_000);
  clock.now += 29_999;
  expect(await one.admit('model')).toBe(START + 30_000);
  const before = requests.length;
  expect(await two.admit('model')).toBe(START + 30_000);
  expect(await two.admit('model')).toBe(START + 30_000);
  expect(requests.length - before).toBe(1);
  clock.now += 1;
  expect(await countAdmitted(two)).toBe(1);
});

it('a rest does not take from a model what it had accepted before', async () => {
  const { clock, start } = aFleet();
  const pace = start();
  pace.throttled('model', undefined);
  pace.accepted('model');
  pace.accepted('model');
  await new Promise(setImmediate);
  pace.throttled('model', 5_000);
  clock.now += 5_500;
  expect(await countAdmitted(pace)).toBe(5);
});

it('refused calls get a later window, and are spread the more widely the more there are', async () => {
  const { start } = aFleet({ random: () => 0.999 });
  const pace = start();
  pace.throttled('model', undefined);
  const waits = await Promise.all(Array.from({ length: 100 }, () => pace.admit('model')));
  const spreads = waits.map((until) => (until ?? START + 1_000) - START - 1_000);
  expect(Math.min(...spreads)).toBeGreaterThanOrEqual(0);
  expect(Math.min(...spreads)).toBeLessThan(3_000);
  expect(Math.max(...spreads)).toBeGreaterThan(10_000);
  expect(Math.max(...spreads)).toBeLessThan(15_000);
});

it('a permit that is given back is used by the next call', async () => {
  const { clock, start } = aFleet();
  const pace = start();
  pace.throttled('model', undefined);
  clock.now += 1_000;
  expect(await countAdmitted(pace)).toBe(1);
  pace.giveBack('model');
  expect(await countAdmitted(pace)).toBe(1);
});

it('without its table an environment limits itself, and blocks nothing', async () => {
  const fail = () => Promise.reject(new Error('not available'));
  const table: PaceTable = { read: fail, take: fail, accept: fail, open: fail, recordThrottled: fail };
  const { clock, start } = aFleet({ table });
  const pace = start();
  expect(await countAdmitted(pace)).toBe(10);
  pace.throttled('model', undefined);
  clock.now += 1_000;
  expect(await countAdmitted(pace)).toBe(1);
  pace.accepted('model');
  clock.now += 1_000;
  expect(await countAdmitted(pace)).toBe(3);
});

it('a permit that is given back long after its window admits no further call', async () => {
  const { clock, start } = aFleet();
  const pace = start();
  pace.throttled('model', undefined);
  clock.now += 1_000;
  expect(await countAdmitted(pace, 1)).toBe(1);
  clock.now += 2_000;
  expect(await countAdmitted(pace, 1)).toBe(1);
  clock.now += 5_000;
  pace.giveBack('model');
  expect(await countAdmitted(pace, 5)).toBe(1);
});

it('a rest ends after 450 s, however long the upstream asks for, and a shorter one does not end it', async () => {
  const { clock, start } = aFleet();
  const pace = start();
  pace.throttled('model', 86_400_000);
  pace.throttled('model', 1_000);
  expect(await pace.admit('model')).toBe(START + 450_000);
  clock.now += 449_000;
  pace.throttled('model', undefined);
  expect(await pace.admit('model')).toBe(START + 450_000);
});

it('a table that has failed is not asked again for 5 s', async () => {
  const away = { ...createMemoryPaceTable(), take: () => Promise.reject(new Error('away')) };
  const { clock, requests, start } = aFleet({ table: away });
  const pace = start();
  pace.throttled('model', undefined);
  for (let second = 0; second < 5; second += 1) {
    clock.now += 900;
    await pace.admit('model');
  }
  expect(requests.filter((name) => name === 'take')).toHaveLength(1);
});

it('every accepted call of an environment that takes no permits counts for the others', async () => {
  const { clock, start } = aFleet();
  const [one, two] = [start(), start()];
  one.throttled('model', undefined);
  for (let window = 0; window < 3; window += 1) {
    clock.now += 1_000;
    one.accepted('model');
    one.accepted('model');
    await new Promise(setImmediate);
  }
  clock.now += 1_000;
  expect(await countAdmitted(two)).toBe(5);
});

it('accepted calls are recorded a few times a second, however many there are', async () => {
  const { clock, requests, start } = aFleet();
  const pace = start();
  pace.throttled('model', undefined);
  await new Promise(setImmediate);
  requests.length = 0;
  for (let call = 0; call < 100; call += 1) {
    pace.accepted('model');
    await new Promise(setImmediate);
    clock.now += 1;
  }
  expect(requests.length).toBeLessThan(20);
});

it('an environment whose table fails says so, and asks it again only after a pause', async () => {
  const errors: string[] = [];
  const table = { ...createMemoryPaceTable(), take: () => Promise.reject(new Error('not available')) };
  const { clock, requests, start } = aFleet({ table, onError: (what) => void errors.push(what) });
  const pace = start();
  pace.throttled('model', undefined);
  clock.now += 1_000;
  await countAdmitted(pace);
  expect(errors).toEqual(['pace of a model not shared']);
  const before = requests.length;
  clock.now += 1_000;
  await countAdmitted(pace);
  expect(requests.length).toBe(before);
});

it('an environment that cannot record accepted calls says so', async () => {
  const errors: string[] = [];
  const table = { ...createMemoryPaceTable(), accept: () => Promise.reject(new Error('not available')) };
  const { start } = aFleet({ table, onError: (what) => void errors.push(what) });
  const pace = start();
  pace.throttled('model', undefined);
  pace.accepted('model');
  await new Promise(setImmediate);
  expect(errors).toEqual(['pace of a model not shared']);
});

it('a model without permits left is not asked for any in the rest of a window', async () => {
  const { clock, requests, start } = aFleet();
  const pace = start();
  pace.throttled('model', undefined);
  clock.now += 1_000;
  expect(await countAdmitted(pace)).toBe(1);
  expect(await countAdmitted(pace)).toBe(0);
  const before = requests.length;
  expect(await countAdmitted(pace)).toBe(0);
  expect(requests.length).toBe(before);
});

it('a throttled call that could not be recorded is recorded with the next one', async () => {
  const errors: string[] = [];
  const memory = createMemoryPaceTable();
  let isAway = true;
  const table: PaceTable = {
    ...memory,
    recordThrottled: async (...args) => {
      if (isAway) throw new Error('not available');
      return memory.recordThrottled(...args);
    },
  };
  const { clock, start } = aFleet({ table, onError: (what) => void errors.push(what) });
  const [one, two] = [start(), start()];
  one.throttled('model', undefined);
  await new Promise(setImmediate);
  expect(errors).toEqual(['pace of a model not shared']);
  isAway = false;
  clock.now += 1;
  one.throttled('model', undefined);
  await new Promise(setImmediate);
  clock.now += 1_000;
  expect(await countAdmitted(two)).toBe(1);
});

it('a model is still asked if its state cannot be read, and the failure is reported', async () => {
  const errors: string[] = [];
  const table = { ...createMemoryPaceTable(), read: () => Promise.reject(new Error('not available')) };
  const { start } = aFleet({ table, onError: (what) => void errors.push(what) });
  expect(await countAdmitted(start())).toBe(10);
  expect(errors).toEqual(['pace of a model not shared']);
});
