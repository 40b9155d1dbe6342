import { describe, expect, it } from 'vitest';
import type { Limits } from '../../../shared/access/limit-policy.ts';
import type { Counters } from '../../../shared/limits/counters.ts';
import { cleanRecent, cleanWholeLedger } from '../../../shared/limits/ledger-cleaning.ts';
import {
  encodeEntry,
  getEntryName,
  getPoolId,
  getSumName,
  listEntries,
  listPages,
} from '../../../shared/limits/ledger-entry.ts';
import { getChildCounters, getTotalName } from '../../../shared/limits/pools.ts';
import { QUEUE_METRICS } from '../../../shared/limits/queue-caps.ts';
import { createTenants } from './ledger-world.ts';
import { MemoryCounters } from './memory-counters.ts';

const ofProject = (limits: Limits) => ({ project: { limits } });
const ofKey = (limits: Limits) => ({ key: { limits } });
const ofAccount = (limits: Limits) => ({ account: { limits } });
const listKeySums = (counters: Counters) => Object.keys(counters).filter((name) => name.startsWith('k.'));

describe('what a job counts for', () => {
  it('a job without limits is not entered', async () => {
    const { enter, written } = createTenants();
    expect(await enter({}, 'resp_1')).toBeUndefined();
    expect(await enter(ofProject({ gpuWeightWaiting: 0 }), 'resp_2')).toBeUndefined();
    expect(written).toEqual([]);
  });

  it('a job that takes nothing of a limit passes, however far the limit is exceeded', async () => {
    const { enter } = createTenants();
    await enter(ofProject({ gpuWeightWaiting: 700 }), 'resp_1', { weight: 700n });
    const lowered = ofProject({ gpuWeightWaiting: 10, jobsQueued: 5 });
    expect(await enter(lowered, 'resp_2', { weight: 0n })).toBeUndefined();
    expect(await enter(lowered, 'resp_3', { weight: 1n })).toEqual({
      ...{ level: 'project', name: 'gpuWeightWaiting', left: 0n },
    });
  });

  it('keys have sums of their own if a limit is theirs, and only then', async () => {
    const { enter, read } = createTenants();
    await enter(ofProject({ jobsQueued: 9 }), 'resp_1', { keyId: 'one' });
    await enter(ofAccount({ jobsQueued: 9 }), 'resp_2', { keyId: 'one' });
    expect(Object.keys(await read()).filter((name) => name.startsWith('k.'))).toEqual([]);
    await enter(ofProject({ jobsQueued: 9 }), 'resp_3', { keyId: undefined });
    const both = { ...ofProject({ jobsQueued: 9 }), ...ofKey({ jobsQueued: 2 }) };
    for (const id of ['resp_4', 'resp_5']) expect(await enter(both, id)).toBeUndefined();
    expect(await enter(both, 'resp_6')).toEqual({ level: 'key', name: 'jobsQueued', left: 0n });
    expect(await enter(both, 'resp_6', { keyId: 'two' })).toBeUndefined();
    expect(await read()).toMatchObject({ 'p.j': 6n, 'k.j.one': 2n, 'k.j.two': 1n });
  });

  it('a key is refused by the limit of its project, although its own would let it pass', async () => {
    const { enter } = createTenants();
    const policy = { ...ofProject({ jobsQueued: 3 }), ...ofKey({ jobsQueued: 3 }) };
    for (const id of ['resp_1', 'resp_2', 'resp_3']) await enter(policy, id, { keyId: 'two' });
    const lower = { ...ofProject({ jobsQueued: 3 }), ...ofKey({ jobsQueued: 2 }) };
    expect(await enter(lower, 'resp_4')).toEqual({ level: 'project', name: 'jobsQueued', left: 0n });
  });

  it('a limit of the account does not replace a lower one of the project', async () => {
    const { enter } = createTenants();
    const policy = { ...ofProject({ jobsQueued: 1 }), ...ofAccount({ jobsQueued: 100 }) };
    expect(await enter(policy, 'resp_1')).toBeUndefined();
    expect(await enter(policy, 'resp_2')).toEqual({ level: 'project', name: 'jobsQueued', left: 0n });
  });

  it('a job that was entered in the same minute counts once, and its entry is not written again', async () => {
    const { enter, read, written } = createTenants();
    const policy = ofProject({ jobsQueued: 5 });
    await enter(policy, 'resp_1');
    await enter(policy, 'resp_1');
    expect(written).toHaveLength(2);
    expect(await read()).toMatchObject({ 'p.j': 1n });
  });

  it('a job whose entry is removed while it is renewed is entered again', async () => {
    const store = new MemoryCounters();
    const world = createTenants({
      read: (pk) => store.read(pk),
      list: (prefixes) => store.list(prefixes),
      write: async (write) => {
        if (isRacing && Object.keys(write.equal ?? {}).some((name) => write.equal?.[name] !== undefined)) {
          isRacing = false;
          await cleanRecent({ ...world.ports, store }, 'acme', await store.read('jobs#acme'));
        }
        return store.write(write);
      },
    });
    let isRacing = false;
    const policy = ofProject({ jobsQueued: 5 });
    await world.enter(policy, 'resp_1');
    world.states.delete('resp_1');
    world.clock.now += 30 * 60_000;
    isRacing = true;
    expect(await world.enter(policy, 'resp_1')).toBeUndefined();
    expect(isRacing).toBe(false);
    expect(await world.read()).toMatchObject({ 'p.j': 1n });
  });

  it('a job is refused after 16 tries if others keep changing the item', async () => {
    let writes = 0;
    const refusing = { ...new MemoryCounters(), read: async () => ({}), async *list() {} };
    const { enter } = createTenants({
      ...refusing,
      write: async () => {
        writes += 1;
        return { isWritten: false, counters: {} };
      },
    });
    const policy = { ...ofProject({ jobsQueued: 5 }), ...ofKey({ jobBytesQueued: 5 }) };
    expect(await enter(policy, 'resp_1', { bytes: 1n })).toEqual({ level: 'key', name: 'jobBytesQueued', left: 0n });
    expect(writes).toBe(16);
  });
});

describe('the search for ended jobs', () => {
  it('is not repeated within a second after one that found none', async () => {
    const { enter, states, clock, looked } = createTenants();
    const policy = ofProject({ jobsQueued: 1 });
    await enter(policy, 'resp_1');
    expect(await enter(policy, 'resp_2')).toBeDefined();
    expect(looked).toEqual(['acme/resp_1']);
    states.set('resp_1', 'ended');
    clock.now += 999;
    expect(await enter(policy, 'resp_2')).toBeDefined();
    expect(looked).toHaveLength(1);
    clock.now += 1;
    expect(await enter(policy, 'resp_2')).toBeUndefined();
    expect(looked).toHaveLength(2);
  });

  it('happens once for a job, and again at once for the next one if it has found some', async () => {
    const { enter, states, looked } = createTenants();
    for (const id of ['resp_1', 'resp_2', 'resp_3']) await enter(ofProject({ jobsQueued: 3 }), id);
    const policy = ofProject({ jobsQueued: 1 });
    states.set('resp_1', 'ended');
    expect(await enter(policy, 'resp_4')).toEqual({ level: 'project', name: 'jobsQueued', left: 0n });
    expect(looked).toHaveLength(3);
    for (const id of ['resp_2', 'resp_3']) states.set(id, 'ended');
    expect(await enter(policy, 'resp_4')).toBeUndefined();
  });

  it('looks at other tenants only if the limit of the account is reached, and at four of them', async () => {
    const { enter, looked } = createTenants();
    const policy = ofAccount({ jobsQueued: 6 });
    const others = ['b', 'c', 'd', 'e', 'f'];
    for (const tenant of ['acme', ...others]) await enter(policy, `resp_${tenant}`, { tenant });
    expect(await enter({ ...policy, ...ofProject({ jobsQueued: 1 }) }, 'resp_more')).toBeDefined();
    expect(looked).toEqual(['acme/resp_acme']);
    looked.length = 0;
    expect(await enter(policy, 'resp_g', { tenant: 'g' })).toEqual({ level: 'account', name: 'jobsQueued', left: 0n });
    expect(looked).toHaveLength(4);
    looked.length = 0;
    expect(await enter(policy, 'resp_b2', { tenant: 'b' })).toBeDefined();
    expect(looked.filter((name) => name === 'b/resp_b')).toHaveLength(1);
    expect(looked).toHaveLength(5);
  });

  it('keeps open jobs however old they are, and absent ones for 17 minutes', async () => {
    const { enter, states, clock } = createTenants();
    const policy = ofProject({ jobsQueued: 2 });
    for (const id of ['resp_open', 'resp_absent']) await enter(policy, id);
    states.delete('resp_absent');
    clock.now += 17 * 60_000;
    expect(await enter(policy, 'resp_3')).toBeDefined();
    clock.now += 60_000;
    expect(await enter(policy, 'resp_3')).toBeUndefined();
    clock.now += 86_400_000;
    expect(await enter(policy, 'resp_4')).toBeDefined();
  });

  it('removes the sums of keys whose last jobs have ended, and those alone', async () => {
    const { enter, states, ports, read } = createTenants();
    const policy = ofKey({ jobsQueued: 100 });
    await enter(policy, 'resp_two', { keyId: 'two' });
    for (let index = 0; index < 5; index += 1) await enter(policy, `resp_${index}`);
    for (const id of ['resp_two', 'resp_0']) states.set(id, 'ended');
    await cleanRecent(ports, 'acme', await read());
    expect(await read()).toMatchObject({ 'p.j': 4n, 'k.j.one': 4n });
    expect(await read()).not.toHaveProperty(['k.j.two']);
  });

  it('removes no more entries and sums than one write of DynamoDB can, and all sums in further writes', async () => {
    const store = new MemoryCounters();
    const { ports, states, read } = createTenants(store);
    const set: Record<string, bigint> = { 'p.j': 100n };
    for (let index = 0; index < 100; index += 1) {
      const amounts = { jobs: 1n, bytes: 1n, weight: 1n };
      const entry = { id: `resp_${index}`, keyId: `of${index}`, minute: 0, leased: QUEUE_METRICS, amounts };
      set[getEntryName(entry)] = encodeEntry(entry);
      for (const metric of QUEUE_METRICS) set[getSumName(metric, entry.keyId)] = 1n;
      for (const metric of QUEUE_METRICS) set[getSumName(metric, `key${index}`)] = 0n;
      states.set(entry.id, 'ended');
    }
    store.items.set('jobs#acme', set);
    const after = await cleanRecent(ports, 'acme', await read());
    expect(after).toEqual(await read());
    expect(await read()).toMatchObject({ 'p.j': 36n });
    expect(listEntries(await read())).toHaveLength(36);
    expect(listKeySums(await read())).toHaveLength(36 * 3);
  });

  it('removes the sums of keys without jobs although no further job has ended', async () => {
    const store = new MemoryCounters();
    const { enter, ports, read } = createTenants(store);
    const policy = { ...ofProject({ jobsQueued: 1 }), ...ofKey({ jobsQueued: 9 }) };
    await enter(policy, 'resp_1');
    const leave = () => store.write({ pk: 'jobs#acme', set: { 'k.j.two': 0n, 'k.b.two': 0n } });
    await leave();
    expect(await enter(policy, 'resp_2')).toBeDefined();
    expect(listKeySums(await read())).toEqual(['k.j.one']);
    await leave();
    await cleanWholeLedger(ports, 'acme', await read(), Number.POSITIVE_INFINITY);
    expect(listKeySums(await read())).toEqual(['k.j.one']);
  });

  it('removes the sums of keys whose last jobs are those of a page', async () => {
    const { enter, states, ports, read } = createTenants();
    const policy = ofKey({ jobsQueued: 9 });
    for (let index = 0; index < 64; index += 1) await enter(policy, `resp_${index}`, { keyId: `key${index}` });
    expect(listPages(await read())).toHaveLength(1);
    for (let index = 0; index < 63; index += 1) states.set(`resp_${index}`, 'ended');
    await cleanWholeLedger(ports, 'acme', await read(), Number.POSITIVE_INFINITY);
    expect(listKeySums(await read())).toEqual(['k.j.key63']);
  });

  it('keeps the sum of a key that enters a job while it is removed', async () => {
    const store = new MemoryCounters();
    let isRacing = true;
    const world = createTenants({
      read: (pk) => store.read(pk),
      list: (prefixes) => store.list(prefixes),
      write: async (write) => {
        if (isRacing && write.remove?.includes('k.j.one')) {
          isRacing = false;
          await world.enter(policy, 'resp_2');
        }
        return store.write(write);
      },
    });
    const policy = ofKey({ jobsQueued: 9 });
    await world.enter(policy, 'resp_1');
    world.states.set('resp_1', 'ended');
    await cleanRecent(world.ports, 'acme', await world.read());
    expect(isRacing).toBe(false);
    expect(await world.read()).toMatchObject({ 'p.j': 1n, 'k.j.one': 1n });
  });

  it('subtracts an entry once, although two environments have found it', async () => {
    const { enter, states, ports, read } = createTenants();
    for (const id of ['resp_1', 'resp_2']) await enter(ofProject({ jobsQueued: 9 }), id);
    states.set('resp_1', 'ended');
    const before = await read();
    await cleanRecent(ports, 'acme', before);
    await cleanRecent(ports, 'acme', before);
    expect(await read()).toMatchObject({ 'p.j': 1n });
  });

  it('of the sweep ends when its time is up', async () => {
    const { enter, states, clock, ports, read, looked } = createTenants();
    for (let index = 0; index < 64; index += 1) await enter(ofProject({ jobsQueued: 100 }), `resp_${index}`);
    await enter(ofProject({ jobsQueued: 100 }), 'resp_64');
    expect(listPages(await read())).toHaveLength(1);
    for (const id of states.keys()) states.set(id, 'ended');
    looked.length = 0;
    await cleanWholeLedger(ports, 'acme', await read(), clock.now);
    expect(looked).toEqual([]);
    const late = { ...ports, now: () => clock.now + (looked.length === 0 ? 0 : 1) };
    await cleanWholeLedger(late, 'acme', await read(), clock.now + 1);
    expect(looked).toEqual(['acme/resp_64']);
    await cleanWholeLedger(ports, 'acme', await read(), clock.now + 1);
    expect(await read()).toMatchObject({ 'p.j': 0n });
  });
});

describe('the places of the account', () => {
  it('are given back by ended jobs of a project without limits of its own, all of them and no more', async () => {
    const { enter, states, ports, read, clock } = createTenants();
    const limits = { jobsQueued: 4, jobBytesQueued: 1_000 };
    const fill = async (tenant: string, size: bigint) => {
      let count = 0;
      for (let index = 0; index < 6; index += 1) {
        clock.now += 2_000;
        const id = `resp_${tenant}${index}_${size}`;
        if ((await enter(ofAccount(limits), id, { tenant, bytes: size })) === undefined) count += 1;
      }
      return count;
    };
    expect(await fill('acme', 250n)).toBe(4);
    for (const id of states.keys()) states.set(id, 'ended');
    await cleanWholeLedger(ports, 'acme', await read(), Number.POSITIVE_INFINITY);
    expect(await read()).toMatchObject({ 'p.j': 0n, 'p.b': 0n });
    expect(await fill('beta', 500n)).toBe(2);
    for (const id of states.keys()) states.set(id, 'ended');
    expect(await fill('acme', 100n)).toBe(4);
  });

  it('are not given back by jobs that only a limit of their project counts', async () => {
    const { enter, states, ports, read } = createTenants();
    await enter(ofProject({ jobsQueued: 5 }), 'resp_1');
    states.set('resp_1', 'ended');
    await cleanRecent(ports, 'acme', await read());
    expect(Object.keys(await read())).toEqual(['p.j']);
  });

  it('may be used to the last one: a job asks only for what its tenant lacks', async () => {
    const { enter } = createTenants();
    const policy = ofAccount({ jobBytesQueued: 100 });
    // A quarter of what is left is leased with it.
    expect(await enter(policy, 'resp_1', { bytes: 10n })).toBeUndefined();
    const refusal = { level: 'account', name: 'jobBytesQueued', left: 15n };
    expect(await enter(policy, 'resp_2', { bytes: 91n })).toEqual(refusal);
    expect(await enter(policy, 'resp_2', { bytes: 90n })).toBeUndefined();
    expect(await enter(policy, 'resp_3', { bytes: 1n })).toEqual({
      ...{ level: 'account', name: 'jobBytesQueued', left: 0n },
    });
  });
});

describe('environments of a tenant that use the account’s limit at the same time', () => {
  it('receive each portion once', async () => {
    const store = new MemoryCounters();
    const { enter, createLedger, read } = createTenants(store);
    const ledgers = [createLedger(), createLedger(), createLedger()];
    const policy = ofAccount({ jobsQueued: 50 });
    const ids = Array.from({ length: 30 }, (_, index) => `resp_${index}`);
    await Promise.all(ids.map((id, index) => enter(policy, id, {}, ledgers[index % 3])));
    const { 'p.j': jobs = 0n, [getChildCounters(getPoolId('jobs')).left]: left = 0n, ...counters } = await read();
    expect(jobs).toBe(30n);
    expect(left + jobs).toBe(counters[getChildCounters(getPoolId('jobs')).received]);
    expect(left + jobs).toBe((await store.read('account#jobs'))[getTotalName(getPoolId('jobs'))]);
  });

  it('ask others for unused places again only after some were found, or a second', async () => {
    const { enter, states, reads } = createTenants();
    const policy = ofAccount({ jobsQueued: 2 });
    await enter(policy, 'resp_1', { tenant: 'beta' });
    await enter(policy, 'resp_2', { tenant: 'gamma' });
    const countReads = async (id: string) => {
      reads.length = 0;
      const refusal = await enter(policy, id);
      return { isRefused: refusal !== undefined, others: reads.filter((pk) => /beta|gamma/.test(pk)).length };
    };
    expect(await countReads('resp_3')).toMatchObject({ isRefused: true });
    expect(await countReads('resp_4')).toEqual({ isRefused: true, others: 0 });
    states.set('resp_1', 'ended');
    expect(await countReads('resp_5')).toEqual({ isRefused: true, others: 0 });
  });
});

describe('pages', () => {
  const policy = ofProject({ jobsQueued: 1_000 });
  const pad = (index: number) => String(index).padStart(3, '0');

  it('the oldest 64 entries are moved, to a page that DynamoDB keeps for 400 days', async () => {
    const { enter, clock, read, readPage } = createTenants();
    const start = clock.now / 1000;
    // Their names are in the other order.
    for (let index = 70; index > 7; index -= 1) {
      await enter(policy, `resp_${pad(index)}`);
      clock.now += 60_000;
    }
    expect(listPages(await read())).toEqual([]);
    await enter(policy, 'resp_007');
    const [page] = listPages(await read());
    expect(page?.bits).toBe(2n ** 64n - 1n);
    expect(listEntries(await read())).toEqual([]);
    const stored = await readPage(page?.id ?? '');
    expect(listEntries(stored)).toHaveLength(64);
    expect(stored).toMatchObject({ expiresAt: BigInt(start + 63 * 60 + 400 * 86_400) });
  });

  it('entries that could not be moved wait for eight more, and the newest of them stay', async () => {
    const store = new MemoryCounters();
    let isFailing = true;
    let moves = 0;
    const world = createTenants({
      read: (pk) => store.read(pk),
      list: (prefixes) => store.list(prefixes),
      write: async (write) => {
        if (write.pk.startsWith('jobpage#')) moves += 1;
        if (write.pk.startsWith('jobpage#') && isFailing) throw new Error('no table');
        return store.write(write);
      },
    });
    const { enter, errors, clock, read } = world;
    for (let index = 80; index > 9; index -= 1) {
      expect(await enter(policy, `resp_${pad(index)}`)).toBeUndefined();
      clock.now += 60_000;
    }
    expect(moves).toBe(1);
    expect(errors).toEqual([['entries not moved', new Error('no table')]]);
    isFailing = false;
    await enter(policy, 'resp_009');
    expect(moves).toBe(2);
    expect(listEntries(await read()).map(({ entry }) => entry.id)).toEqual(
      Array.from({ length: 8 }, (_, index) => `resp_${pad(9 + index)}`),
    );
  });

  it.each([
    [31, 0],
    [32, 1],
  ])('of a full item with %i open jobs, %i page is made', async (open, pages) => {
    const { enter, states, read } = createTenants();
    for (let index = 0; index < 63; index += 1) await enter(policy, `resp_${index}`);
    for (let index = 0; index < 64 - open; index += 1) states.set(`resp_${index}`, 'ended');
    await enter(policy, 'resp_63');
    states.set('resp_63', 'open');
    expect(listPages(await read())).toHaveLength(pages);
  });

  it('a page keeps its expiry while a job of it still counts', async () => {
    const { enter, states, ports, read, readPage } = createTenants();
    for (let index = 0; index < 64; index += 1) await enter(policy, `resp_${index}`);
    const [page] = listPages(await read());
    const before = await readPage(page?.id ?? '');
    states.set('resp_1', 'ended');
    await cleanWholeLedger(ports, 'acme', await read(), Number.POSITIVE_INFINITY);
    expect(await readPage(page?.id ?? '')).toEqual(before);
    expect(await read()).toMatchObject({ 'p.j': 63n });
  });

  it('each search looks at the next four pages in turn, and at each page once', async () => {
    const { enter, clock, looked } = createTenants();
    const fill = async (pages: number, from: number) => {
      for (let index = 0; index < 64 * pages; index += 1) await enter(policy, `resp_${from + index}`);
    };
    const search = async () => {
      looked.length = 0;
      clock.now += 1_000;
      expect(await enter(ofProject({ jobsQueued: 1 }), 'resp_more')).toBeDefined();
      const ids = looked.map((name) => Number(name.split('_')[1]));
      return [...new Set(ids.map((id) => Math.floor(id / 64)))].concat(ids.length);
    };
    await fill(2, 0);
    for (let searches = 0; searches < 3; searches += 1)
      expect((await search()).sort((a, b) => a - b)).toEqual([0, 1, 128]);
    await fill(4, 128);
    expect(await search()).toEqual([2, 3, 4, 5, 256]);
    expect(await search()).toEqual([0, 1, 2, 3, 256]);
    expect(await search()).toEqual([4, 5, 0, 1, 256]);
  });
});
