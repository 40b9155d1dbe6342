import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Level, listCaps } from '../../../shared/limits/caps.ts';
import type { CounterStore, Counters, CounterWrite } from '../../../shared/limits/counters.ts';
import { createDynamoDBCounters } from '../../../shared/limits/dynamodb-counters.ts';
import { JobLedger } from '../../../shared/limits/job-ledger.ts';
import { type Lease, Leases, takeFrom } from '../../../shared/limits/leases.ts';
import type { JobState } from '../../../shared/limits/ledger-cleaning.ts';
import { type Call, Limiter } from '../../../shared/limits/limiter.ts';
import { getChildCounters, getPool, type Pool } from '../../../shared/limits/pools.ts';
import { listQueueCaps } from '../../../shared/limits/queue-caps.ts';
import { type LimitSweepPorts, sweepLimits } from '../../../shared/limits/sweep-limits.ts';
import { startLimitsTable } from './limits-table.ts';
import { MemoryCounters, recordRequests } from './memory-counters.ts';

const START = Date.UTC(2026, 10, 30, 12);
const PROJECT = 'project#acme#now';
const ACCOUNT = 'account#now';

let store: MemoryCounters;
let now: number;
let written: CounterWrite[];
let read: string[];
let errors: unknown[];
let counting: CounterStore;
let leases: Leases;
beforeEach(() => {
  store = new MemoryCounters();
  now = START;
  errors = [];
  ({ counting, written, read } = recordRequests(() => store));
  leases = new Leases(counting, () => now);
});

/** Returns the pool of a limit of 100 requests in flight. */
function poolOf(level: Level, keyId: string, tenant = 'acme'): Pool {
  const cap = { level, metric: 'answers', span: 'now', max: 100n, name: 'requestsInFlight' } as const;
  return getPool(cap, { tenant, keyId }, 'org/a.b', START);
}
const ofProject = (keyId: string) => poolOf('project', keyId);
const getLeaf = (pool: Pool): string => pool.nodes[0]?.pk ?? '';

async function lease(pool: Pool, need: bigint, by = leases): Promise<Lease | undefined> {
  const received = (await store.read(getLeaf(pool)))[getChildCounters(pool.id).received] ?? 0n;
  return by.lease(pool, need, received, { report: () => {}, isPressed: false });
}

/** Takes places of a pool for a key, as a call does. Returns whether there were as many. */
async function take(pool: Pool, amount: bigint, by = leases): Promise<boolean> {
  const { left } = getChildCounters(pool.id);
  const counters = await store.read(getLeaf(pool));
  const lacking = amount - (counters[left] ?? 0n);
  const arrival = lacking > 0n ? await lease(pool, lacking, by) : undefined;
  if (lacking > 0n && arrival === undefined) return false;
  const write = { ...takeFrom(pool.id, counters, amount, arrival), pk: getLeaf(pool) };
  expect((await store.write(write)).isWritten).toBe(true);
  return true;
}

async function give(pool: Pool, amount: bigint): Promise<void> {
  await store.write({ pk: getLeaf(pool), add: { [getChildCounters(pool.id).left]: amount } });
}

async function sweep(
  by: CounterStore = counting,
  until = Number.POSITIVE_INFINITY,
  changes: Partial<LimitSweepPorts> = {},
): Promise<void> {
  const ports = { store: by, now: () => now, readState: async (): Promise<JobState> => 'ended' };
  const onError = (_what: string, thrown: unknown) => void errors.push(thrown);
  const options = { pause: async () => {}, idleMinutes: 0 };
  await sweepLimits({ ...ports, ...options, logger: { summarize: () => {} }, onError, ...changes }, until);
}

/** Returns the counters of an item by their letters and children, without the pool: `G.one`. */
async function show(pk: string): Promise<Record<string, bigint>> {
  const counters = Object.entries(await store.read(pk));
  return Object.fromEntries(
    counters.map(([name, value]) => [name.replace(/^(\w)\.\w\.f\.now(\.org\/a\.b)?/, '$1'), value]),
  );
}

/** Creates a store that does something before its first request that `isAwaited` is true for. */
function interrupt(isAwaited: (request: CounterWrite | string) => boolean, before: () => Promise<unknown>) {
  let isDone = false;
  const pass = async (request: CounterWrite | string): Promise<void> => {
    if (isDone || !isAwaited(request)) return;
    isDone = true;
    await before();
  };
  const interrupted: CounterStore = {
    write: async (write) => {
      await pass(write);
      return counting.write(write);
    },
    read: async (pk) => {
      await pass(pk);
      return counting.read(pk);
    },
    list: (prefixes) => store.list(prefixes),
  };
  return interrupted;
}
const isWriteOf =
  (pk: string) =>
  (request: CounterWrite | string): boolean =>
    typeof request !== 'string' && request.pk === pk;

describe('the sweep', () => {
  it.each([
    ['project', PROJECT],
    ['model', 'model#acme#now#org/a.b'],
  ] as const)(
    'takes back what an idle key has of a limit of the %s, and its root forgets the key',
    async (level, root) => {
      const pool = poolOf(level, 'one');
      await take(pool, 1n);
      await give(pool, 1n);
      expect(await show(root)).toEqual({ T: 25n, 'G.one': 25n });
      await sweep();
      expect(await show(root)).toEqual({ T: 0n, E: 1n });
      expect(await show('key#acme#one')).toEqual({ L: 0n, R: 25n, Q: 25n, F: 75n });
      expect(errors).toEqual([]);
    },
  );

  it('writes nothing for keys that were forgotten, or that use a part of what they have', async () => {
    await take(ofProject('one'), 1n);
    await give(ofProject('one'), 1n);
    await take(ofProject('two'), 1n);
    await sweep();
    expect(await show(PROJECT)).toMatchObject({ 'G.two': 18n, T: 18n, E: 1n });
    written.length = 0;
    await sweep();
    expect(written).toEqual([]);
    expect(await show('key#acme#two')).toMatchObject({ L: 17n, R: 18n });
  });

  it('leaves a key alone that has called in the last 15 minutes', async () => {
    const limits = { requestsInFlight: 100 };
    const caps = listCaps({ project: { limits } }, 'm', 'answers');
    const amounts = { requests: 1n, inputTokens: 0n, outputTokens: 0n, spend: 0n };
    const call: Call = { holder: { tenant: 'acme', keyId: 'one' }, model: 'm', kind: 'answers', caps, amounts };
    const reservation = await new Limiter(counting, () => now).reserve(call);
    if (!('settle' in reservation)) throw new Error('refused');
    await reservation.settle(amounts);
    now += 14 * 60_000;
    await sweep(counting, undefined, { idleMinutes: 15 });
    expect(await show(PROJECT)).toMatchObject({ 'G.one': 25n });
    now += 2 * 60_000;
    await sweep(counting, undefined, { idleMinutes: 15 });
    expect(await show(PROJECT)).toEqual({ T: 0n, E: 1n });
  });

  it('pauses after each write that forgets, so that keys that lease meanwhile are not refused', async () => {
    for (let index = 0; index < 60; index += 1) {
      await take(ofProject(`key${index}`), 1n);
      await give(ofProject(`key${index}`), 1n);
    }
    const pauses: number[] = [];
    const pause = async (ms: number) => void pauses.push(ms);
    await sweep(counting, undefined, { pause });
    const { E: forgets } = await show(PROJECT);
    expect(pauses).toEqual(Array.from({ length: Number(forgets) }, () => 100));
    expect(pauses.length).toBeGreaterThan(1);
  });

  it('forgets the keys that it has read if its time does not suffice for all', async () => {
    for (const keyId of ['one', 'two']) {
      await take(ofProject(keyId), 1n);
      await give(ofProject(keyId), 1n);
    }
    const list: CounterStore['list'] = async function* (...parts) {
      for await (const item of store.list(...parts)) if (item.pk !== 'key#acme#two') yield item;
      // Time is over before the last item is read.
      now += 7;
      yield { pk: 'key#acme#two', counters: {} };
    };
    await sweep({ ...counting, list }, now + 10);
    expect(await show(PROJECT)).toMatchObject({ 'G.two': 18n, E: 1n });
    expect(await show(PROJECT)).not.toHaveProperty('G.one');
  });

  it('takes back what was granted to a key whose caller died before it arrived', async () => {
    await lease(ofProject('new'), 1n);
    expect(await store.read('key#acme#new')).toEqual({});
    await sweep();
    expect(await show(PROJECT)).toEqual({ T: 0n, E: 1n });
    expect(await show('key#acme#new')).toEqual({ L: 0n, R: 25n, Q: 25n, F: 0n });
    // A caller that was only late doesn't receive it a second time.
    const late = { ...takeFrom(ofProject('new').id, {}, 1n, { granted: 25n, beyond: 75n }), pk: 'key#acme#new' };
    expect((await store.write(late)).isWritten).toBe(false);
  });

  it('goes on where an earlier one died, and does not give back twice', async () => {
    await take(ofProject('one'), 1n);
    await give(ofProject('one'), 1n);
    const dying = (pk: string): CounterStore => ({
      ...counting,
      write: async (write) => {
        const result = await store.write(write);
        if (write.pk === pk) throw new Error('response lost');
        return result;
      },
    });
    await sweep(dying('key#acme#one'));
    expect(await show(PROJECT)).toEqual({ T: 25n, 'G.one': 25n });
    await sweep(dying(PROJECT));
    expect(await show(PROJECT)).toEqual({ T: 0n, E: 1n });
    await sweep();
    expect(await show(PROJECT)).toEqual({ T: 0n, E: 1n });
    expect(errors).toHaveLength(2);
  });

  it('forgets a key whose portions were taken back for another one, without a write to the key', async () => {
    await take(ofProject('one'), 1n);
    await give(ofProject('one'), 1n);
    expect(await take(ofProject('two'), 100n)).toBe(true);
    expect(await show(PROJECT)).toMatchObject({ 'G.one': 25n, 'B.one': 25n });
    written.length = 0;
    await sweep();
    expect(written.map(({ pk }) => pk)).toEqual([PROJECT]);
    expect(await show(PROJECT)).toEqual({ T: 100n, 'G.two': 100n, E: 1n });
  });

  it('gets back from the account what a project and its keys do not use, in one run', async () => {
    const [idle, busy] = [poolOf('account', 'one'), poolOf('account', 'two', 'beta')];
    await take(idle, 1n);
    await take(busy, 1n);
    await give(idle, 1n);
    await sweep();
    expect(await show(ACCOUNT)).toEqual({ T: 18n, 'G.beta': 18n, E: 1n });
    expect(await show(PROJECT)).toEqual({ L: 0n, R: 25n, Q: 25n, F: 75n, E: 1n });
    // A project whose keys use something keeps what it has.
    expect(await show('project#beta#now')).toMatchObject({ 'G.two': 4n, L: 14n, R: 18n });
    await give(busy, 1n);
    await sweep();
    expect(await show(ACCOUNT)).toEqual({ T: 0n, E: 2n });
  });

  it('forgets a project, but not its key, if only the key has something of the limit of the project', async () => {
    await take(poolOf('account', 'one'), 1n);
    await take(ofProject('one'), 1n);
    await give(poolOf('account', 'one'), 1n);
    await sweep();
    expect(await show(ACCOUNT)).toEqual({ T: 0n, E: 1n });
    expect(await store.read(PROJECT)).toMatchObject({ 'G.p.f.now.one': 25n, 'T.p.f.now': 25n, 'L.a.f.now': 0n });
  });

  it('goes on with other keys if one could not be written', async () => {
    for (const key of ['one', 'two']) {
      await take(ofProject(key), 1n);
      await give(ofProject(key), 1n);
    }
    const failing: CounterStore = {
      ...counting,
      write: (write) => (write.pk === 'key#acme#one' ? Promise.reject(new Error('throttled')) : store.write(write)),
    };
    await sweep(failing);
    expect(await show(PROJECT)).toEqual({ T: 25n, 'G.one': 25n, E: 1n });
    expect(errors).toHaveLength(1);
  });

  it('looks at no further keys after its time is up', async () => {
    for (let index = 0; index < 20; index += 1) {
      await take(ofProject(`key-${index}`), 1n);
      await give(ofProject(`key-${index}`), 1n);
    }
    const slow: CounterStore = {
      ...counting,
      write: (write) => {
        now += 1;
        return store.write(write);
      },
    };
    await sweep(slow, now + 1);
    expect(Object.keys(await show(PROJECT)).filter((name) => name.startsWith('G.'))).toHaveLength(4);
  });
});

describe('a key that was forgotten', () => {
  beforeEach(async () => {
    await take(ofProject('one'), 1n);
    await give(ofProject('one'), 1n);
    await sweep();
    written.length = 0;
    read.length = 0;
  });

  it('is adopted with what it has received before, and gives back only what it gets then', async () => {
    expect(await take(ofProject('one'), 1n)).toBe(true);
    expect(await show(PROJECT)).toEqual({ T: 25n, E: 1n, 'G.one': 50n, 'B.one': 25n });
    expect(await show('key#acme#one')).toMatchObject({ L: 24n, R: 50n, Q: 25n });
    await give(ofProject('one'), 1n);
    expect(await take(ofProject('two'), 100n)).toBe(true);
    expect(await show(PROJECT)).toMatchObject({ T: 100n, 'B.one': 50n, 'G.two': 100n });
    expect(await take(ofProject('one'), 1n)).toBe(false);
  });

  it('is adopted by an environment that remembers what it was granted before', async () => {
    // The environment has not seen that the key was forgotten.
    expect(await take(ofProject('one'), 1n)).toBe(true);
    expect(written.map(({ pk }) => pk)).toEqual([PROJECT, PROJECT]);
    expect(read).toEqual(['key#acme#one']);
    expect(await show(PROJECT)).toMatchObject({ T: 25n, 'G.one': 50n, 'B.one': 25n });
  });

  it('is adopted by one write of an environment that remembers nothing', async () => {
    expect(await take(ofProject('one'), 1n, new Leases(counting, () => now))).toBe(true);
    expect(written.map(({ pk }) => pk)).toEqual([PROJECT]);
    expect(read).toEqual([PROJECT, 'key#acme#one']);
  });

  it('keeps a grant that has not arrived', async () => {
    const pool = ofProject('one');
    expect(await lease(pool, 1n)).toMatchObject({ granted: 50n });
    expect(await lease(pool, 1n)).toMatchObject({ granted: 50n });
    expect(await show(PROJECT)).toMatchObject({ T: 25n });
    expect(await take(pool, 25n)).toBe(true);
    expect(await show('key#acme#one')).toMatchObject({ L: 0n, R: 50n, Q: 25n });
  });

  it('is not adopted twice', async () => {
    const racing = interrupt(isWriteOf(PROJECT), () => take(ofProject('one'), 1n, new Leases(counting, () => now)));
    expect(await lease(ofProject('one'), 1n, new Leases(racing, () => now))).toBeDefined();
    const { T, 'G.one': granted, 'B.one': recovered } = await show(PROJECT);
    expect(T).toBe((granted ?? 0n) - (recovered ?? 0n));
    expect(recovered).toBe(25n);
  });

  it('is not adopted with what it had received before it was adopted and forgotten once more', async () => {
    const again = async () => {
      await take(ofProject('one'), 1n, new Leases(counting, () => now));
      await give(ofProject('one'), 1n);
      await sweep();
      expect(await show(PROJECT)).toEqual({ T: 0n, E: 2n });
    };
    const late = new Leases(interrupt(isWriteOf(PROJECT), again), () => now);
    expect(await lease(ofProject('one'), 1n, late)).toMatchObject({ granted: 75n });
    expect(await show(PROJECT)).toEqual({ T: 25n, E: 2n, 'G.one': 75n, 'B.one': 50n });
  });
});

describe('a key that calls while the sweep runs', () => {
  it('is not forgotten if it takes a place before what it has is taken back', async () => {
    await take(ofProject('one'), 1n);
    await give(ofProject('one'), 1n);
    await sweep(interrupt(isWriteOf('key#acme#one'), () => take(ofProject('one'), 1n)));
    expect(await show(PROJECT)).toEqual({ T: 25n, 'G.one': 25n });
    expect(await show('key#acme#one')).toMatchObject({ L: 24n, R: 25n });
  });

  it('is not forgotten if it leases a portion after what it had was taken back, but other keys are', async () => {
    for (const key of ['one', 'two']) {
      await take(ofProject(key), 1n);
      await give(ofProject(key), 1n);
    }
    await sweep(interrupt(isWriteOf(PROJECT), () => take(ofProject('one'), 1n)));
    const { 'G.one': granted = 0n, ...counters } = await show(PROJECT);
    expect(granted).toBeGreaterThan(25n);
    expect(counters).toEqual({ T: granted, E: 1n });
    expect(await show('key#acme#one')).toMatchObject({ R: granted, Q: 25n, L: granted - 26n });
  });

  it('is not forgotten if what it was granted arrives just before it would be taken back', async () => {
    await lease(ofProject('one'), 1n);
    await sweep(interrupt(isWriteOf('key#acme#one'), () => take(ofProject('one'), 1n)));
    expect(await show(PROJECT)).toEqual({ T: 25n, 'G.one': 25n });
    expect(await show('key#acme#one')).toEqual({ L: 24n, R: 25n, F: 75n });
  });

  it('gets nothing if it leased and gave back after the sweep has seen its root', async () => {
    await take(ofProject('one'), 1n);
    const between = async () => {
      await take(ofProject('one'), 30n);
      await give(ofProject('one'), 31n);
      await take(ofProject('two'), 100n);
    };
    const seen = await store.read(PROJECT);
    await sweep({
      ...counting,
      async *list() {
        yield { pk: PROJECT, counters: seen };
        await between();
        yield { pk: 'key#acme#one', counters: await store.read('key#acme#one') };
      },
    });
    expect(await show('key#acme#one')).toMatchObject({ L: 0n, R: 43n, Q: 43n });
    expect(await show(PROJECT)).toMatchObject({ T: 100n, 'G.one': 43n, 'B.one': 43n });
  });

  it('does not give back twice what a caller takes back meanwhile', async () => {
    await take(ofProject('one'), 1n);
    await give(ofProject('one'), 1n);
    await take(ofProject('two'), 75n);
    // The caller has read the root, which still lists the key.
    const late = interrupt((request) => request === 'key#acme#one', sweep);
    await take(ofProject('two'), 1n, new Leases(late, () => now));
    const counters = await show(PROJECT);
    expect(Object.keys(counters).sort()).toEqual(['E', 'G.two', 'T']);
    expect(counters['T']).toBe(counters['G.two']);
    expect(written.filter(({ set = {} }) => 'B.p.f.now.one' in set)).toHaveLength(1);
  });

  it('is forgotten with what a caller has meanwhile recovered from it', async () => {
    await take(ofProject('one'), 1n);
    await give(ofProject('one'), 1n);
    await sweep(interrupt(isWriteOf(PROJECT), () => take(ofProject('two'), 100n)));
    expect(await show(PROJECT)).toEqual({ T: 100n, 'G.two': 100n, E: 1n });
  });
});

describe('what grows', () => {
  const limits = { requestsInFlight: 50, streamsInFlight: 50 };
  const policy = { account: { limits }, project: { limits: { ...limits, models: { m: limits } } } };
  const makeCall = (tenant: string, keyId: string, kind: 'answers' | 'streams'): Call => ({
    ...{ holder: { tenant, keyId }, model: 'm', kind, caps: listCaps(policy, 'm', kind) },
    amounts: { requests: 1n, inputTokens: 1n, outputTokens: 1n, spend: 0n },
  });
  const callAll = async (by: CounterStore, tenants: readonly string[], keys: readonly string[]): Promise<void> => {
    const limiter = new Limiter(by, () => now);
    for (const tenant of tenants)
      for (const key of keys)
        for (const kind of ['answers', 'streams'] as const) {
          const reservation = await limiter.reserve(makeCall(tenant, key, kind));
          if (!('settle' in reservation)) throw new Error(`${tenant} ${key} was refused`);
          await reservation.settle({ requests: 1n, inputTokens: 1n, outputTokens: 1n, spend: 0n });
        }
  };
  const name = (count: number, from = 0) => Array.from({ length: count }, (_, index) => `name-${from + index}`);
  const listParents = async (by: CounterStore): Promise<Record<string, Counters>> => {
    const items: Record<string, Counters> = {};
    for await (const { pk, counters } of by.list(['project#', 'model#', 'account#'])) items[pk] = counters;
    return items;
  };

  it('the items of pools do not grow with the tenants and keys that have ever called', async () => {
    const sizes: number[] = [];
    for (let round = 0; round < 10; round += 1) {
      await callAll(counting, [...name(20, round * 20), 'acme'], ['one']);
      await callAll(counting, ['acme'], name(20, round * 20));
      now += 15 * 60_000;
      const parents = Object.values(await listParents(store));
      sizes.push(Math.max(...parents.map((counters) => Object.keys(counters).length)));
      await sweep();
    }
    // The first round has not forgotten anything yet.
    expect(new Set(sizes.slice(1)).size).toBe(1);
    for (const [pk, counters] of Object.entries(await listParents(store)))
      expect(
        Object.keys(counters).filter((each) => /^[GB]\./.test(each)),
        pk,
      ).toEqual([]);
    written.length = 0;
    await sweep();
    expect(written).toEqual([]);
  });

  describe('in DynamoDB', () => {
    let table: Awaited<ReturnType<typeof startLimitsTable>>;
    beforeAll(async () => {
      table = await startLimitsTable();
    });
    afterAll(() => table.close());

    it('the sweep empties items with more tenants and keys than one write can', async () => {
      const real = createDynamoDBCounters(table.client, table.name);
      await callAll(real, name(20), ['one']);
      await callAll(real, ['acme'], name(20));
      await real.write({ pk: 'project#acme#m1', set: { 'G.p.r.m1.one': 1n } });
      await sweep(real);
      expect(errors).toEqual([]);
      const parents = await listParents(real);
      expect(Object.keys(parents)).toHaveLength(44);
      for (const [pk, counters] of Object.entries(parents)) {
        const listed = Object.keys(counters).filter((each) => /^[GB]\./.test(each));
        expect(listed, pk).toEqual(pk === 'project#acme#m1' ? ['G.p.r.m1.one'] : []);
      }
      expect(parents['account#now']).toMatchObject({ 'T.a.f.now': 0n, 'T.a.s.now': 0n });
      await callAll(real, ['acme'], ['name-0']);
    });
  });

  it('the item of the limit on queued jobs does not grow with the tenants that have ever sent jobs', async () => {
    const states = new Map<string, JobState>();
    const ledger = new JobLedger({
      ...{ store: counting, now: () => now, newId: () => 'page' },
      readState: async (_tenant, id) => states.get(id) ?? 'absent',
    });
    const caps = listQueueCaps({ account: { limits: { jobsQueued: 100, jobBytesQueued: 100 } } });
    const enter = (tenant: string, id: string) => {
      states.set(id, 'open');
      const job = { tenant, id, keyId: 'one', amounts: { jobs: 1n, bytes: 1n, weight: 0n } };
      return ledger.enter(job, caps, (_what, thrown) => void errors.push(thrown));
    };
    const sweepJobs = async () => {
      const ports = { now: () => now, readState: async (_: string, id: string) => states.get(id) ?? 'absent' };
      const onError = (_what: string, thrown: unknown) => void errors.push(thrown);
      await sweepLimits(
        { ...ports, pause: async () => {}, store: counting, logger: { summarize: () => {} }, onError },
        Number.POSITIVE_INFINITY,
      );
    };
    for (let round = 0; round < 3; round += 1) {
      for (const tenant of ['acme', ...name(10, round * 10)])
        expect(await enter(tenant, `resp_${tenant}_${round}`)).toBeUndefined();
      for (const id of states.keys()) if (!id.startsWith('resp_acme')) states.set(id, 'ended');
      // The first removes the entries of ended jobs, the second what their tenants have left.
      for (let run = 0; run < 2; run += 1) await sweepJobs();
      const granted = Object.keys(await store.read('account#jobs')).filter((each) => each.startsWith('G.'));
      expect(granted.sort()).toEqual(['G.q.b.acme', 'G.q.j.acme']);
    }
    expect(await store.read('jobs#acme')).toMatchObject({ 'p.j': 3n });
    for (const id of states.keys()) states.set(id, 'ended');
    for (let run = 0; run < 2; run += 1) await sweepJobs();
    expect(await store.read('account#jobs')).toEqual({ 'T.q.j': 0n, 'T.q.b': 0n, E: expect.any(BigInt) });
    expect(errors).toEqual([]);
  });
});
