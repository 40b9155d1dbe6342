import { describe, expect, it } from 'vitest';
import { JobLedger } from '../../../shared/limits/job-ledger.ts';
import { cleanRecent, cleanWholeLedger } from '../../../shared/limits/ledger-cleaning.ts';
import { listPages } from '../../../shared/limits/ledger-entry.ts';
import { listQueueCaps } from '../../../shared/limits/queue-caps.ts';
import { createLedger, fillLedger } from './ledger-world.ts';
import { MemoryCounters } from './memory-counters.ts';

describe('the ledger of queued jobs', () => {
  it('counts a thousand jobs with about one write each, and frees the places of those that end', async () => {
    await expect(fillLedger(new MemoryCounters())).resolves.toBeUndefined();
  });

  it('counts a job once, however often it is entered', async () => {
    const { enter, read, clock } = createLedger(new MemoryCounters(), 'repeated');
    for (const jobsQueued of [1, 5, 5]) {
      expect(await enter('resp_1', { jobsQueued })).toBeUndefined();
      clock.now += 90_000;
    }
    expect(await read()).toMatchObject({ 'p.j': 1n, 'k.j.one': 1n });
  });

  it('keeps the place of a job that may still be created, and frees it once that is impossible', async () => {
    const { enter, states, clock } = createLedger(new MemoryCounters(), 'crashed');
    await enter('resp_lost', { jobsQueued: 1 });
    states.delete('resp_lost');
    clock.now += 16 * 60_000;
    expect(await enter('resp_2', { jobsQueued: 1 })).toMatchObject({ cap: { name: 'jobsQueued' } });
    // The same message is delivered again: its function may run for another 15 minutes.
    await enter('resp_lost', { jobsQueued: 1 });
    states.delete('resp_lost');
    clock.now += 10 * 60_000;
    expect(await enter('resp_2', { jobsQueued: 1 })).toBeDefined();
    clock.now += 10 * 60_000;
    expect(await enter('resp_2', { jobsQueued: 1 })).toBeUndefined();
  });

  it('names the limit that is reached, and leaves out those that the job does not count for', async () => {
    const { enter } = createLedger(new MemoryCounters(), 'named');
    expect(await enter('resp_1', { jobBytesQueued: 1_500 })).toBeUndefined();
    expect(await enter('resp_2', { jobBytesQueued: 1_500 })).toMatchObject({
      cap: { name: 'jobBytesQueued', level: 'key' },
      left: 500n,
      requested: 1_000n,
    });
    expect(await enter('resp_2', { gpuWeightWaiting: 699 })).toMatchObject({
      cap: { name: 'gpuWeightWaiting' },
      left: 699n,
      requested: 700n,
    });
    expect(await enter('resp_2', { jobsQueued: 0 })).toMatchObject({ cap: { name: 'jobsQueued', max: 0n } });
  });

  it('keeps jobs that were entered before a limit was lowered, and refuses more', async () => {
    const { enter, states, clock } = createLedger(new MemoryCounters(), 'lowered');
    for (const id of ['resp_1', 'resp_2', 'resp_3']) await enter(id, { jobsQueued: 3 });
    expect(await enter('resp_4', { jobsQueued: 2 })).toBeDefined();
    states.set('resp_1', 'ended');
    clock.now += 1_000;
    expect(await enter('resp_4', { jobsQueued: 2 })).toBeDefined();
    states.set('resp_2', 'ended');
    clock.now += 1_000;
    expect(await enter('resp_4', { jobsQueued: 2 })).toBeUndefined();
  });
});

it('the places of ended jobs of another tenant are free at once if the limit of the account is reached', async () => {
  const ended = new Set<string>();
  const ledger = new JobLedger({
    store: new MemoryCounters(),
    readState: async (_tenant, id) => (ended.has(id) ? 'ended' : 'open'),
    now: () => Date.UTC(2026, 10, 30),
    newId: () => 'page',
  });
  const caps = listQueueCaps({ account: { limits: { jobsQueued: 2 } } });
  const enter = (tenant: string, id: string) =>
    ledger.enter({ tenant, id, keyId: 'one', amounts: { jobs: 1n, bytes: 0n, weight: 0n } }, caps, () => {});
  for (const id of ['resp_1', 'resp_2']) expect(await enter('acme', id)).toBeUndefined();
  ended.add('resp_1');
  expect(await enter('beta', 'resp_3')).toBeUndefined();
  expect(await enter('beta', 'resp_4')).toMatchObject({ cap: { level: 'account' } });
});

it('ended jobs of a page are subtracted once, although two environments look at it at the same time', async () => {
  const store = new MemoryCounters();
  const ended = new Set<string>();
  const createLedgerOf = (environment: string) =>
    new JobLedger({
      store,
      readState: async (_tenant, id) => (ended.has(id) ? 'ended' : 'open'),
      now: () => Date.UTC(2026, 10, 30),
      newId: () => environment,
    });
  const [one, two] = [createLedgerOf('one'), createLedgerOf('two')];
  const caps = listQueueCaps({ project: { limits: { jobsQueued: 70 } } });
  const enter = (ledger: JobLedger, id: string) =>
    ledger.enter({ tenant: 'acme', id, keyId: 'one', amounts: { jobs: 1n, bytes: 0n, weight: 0n } }, caps, () => {});
  for (let index = 0; index < 70; index += 1) expect(await enter(one, `resp_${index}`)).toBeUndefined();
  expect(listPages(await store.read('jobs#acme'))).toHaveLength(1);
  for (let index = 0; index < 10; index += 1) ended.add(`resp_${index}`);
  expect(await Promise.all([enter(one, 'resp_a'), enter(two, 'resp_b')])).toEqual([undefined, undefined]);
  expect(await store.read('jobs#acme')).toMatchObject({ 'p.j': 62n });
});

it('a job whose entry is removed while entries are moved to a page is subtracted once', async () => {
  const store = new MemoryCounters();
  const readLedger = () => store.read('jobs#acme');
  const ended = new Set<string>();
  const ports = {
    store,
    readState: async (_tenant: string, id: string) => (ended.has(id) ? ('ended' as const) : ('open' as const)),
    now: () => Date.UTC(2026, 10, 30),
    newId: () => 'page',
  };
  const write: typeof store.write = async (change) => {
    const result = await store.write(change);
    if (change.pk.startsWith('jobpage#') && ended.size === 0) {
      ended.add('resp_0');
      await cleanRecent(ports, 'acme', await readLedger());
    }
    return result;
  };
  const list = store.list.bind(store);
  const ledger = new JobLedger({ ...ports, store: { write, read: (pk) => store.read(pk), list } });
  const caps = listQueueCaps({ project: { limits: { jobsQueued: 100 } } });
  for (let index = 0; index < 64; index += 1) {
    const job = { tenant: 'acme', id: `resp_${index}`, keyId: 'one', amounts: { jobs: 1n, bytes: 0n, weight: 0n } };
    await ledger.enter(job, caps, () => {});
  }
  expect(ended.size).toBe(1);
  await cleanWholeLedger(ports, 'acme', await readLedger(), Number.POSITIVE_INFINITY);
  expect(await readLedger()).toMatchObject({ 'p.j': 63n });
});

it('each job of a page is subtracted once, and a page is removed with its last job', async () => {
  const store = new MemoryCounters();
  const now = Date.UTC(2026, 10, 30);
  const ended = new Set<string>();
  const ports = {
    store,
    readState: async (_tenant: string, id: string) => (ended.has(id) ? ('ended' as const) : ('open' as const)),
    now: () => now,
    newId: () => 'page',
  };
  const ledger = new JobLedger(ports);
  const caps = listQueueCaps({ project: { limits: { jobsQueued: 100 } } });
  for (let index = 0; index < 64; index += 1) {
    const job = { tenant: 'acme', id: `resp_${index}`, keyId: 'one', amounts: { jobs: 1n, bytes: 0n, weight: 0n } };
    await ledger.enter(job, caps, () => {});
  }
  const [page] = listPages(await store.read('jobs#acme'));
  for (const count of [10, 30, 64]) {
    for (let index = 0; index < count; index += 1) ended.add(`resp_${index}`);
    await cleanWholeLedger(ports, 'acme', await store.read('jobs#acme'), Number.POSITIVE_INFINITY);
    expect(await store.read('jobs#acme')).toMatchObject({ 'p.j': BigInt(64 - count) });
  }
  expect(page).toBeDefined();
  expect(listPages(await store.read('jobs#acme'))).toEqual([]);
  expect(await store.read(`jobpage#acme#${page?.id}`)).toMatchObject({ expiresAt: BigInt(now / 1000) });
});
