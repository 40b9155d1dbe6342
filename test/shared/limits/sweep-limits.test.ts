import { describe, expect, it } from 'vitest';
import { listCaps } from '../../../shared/limits/caps.ts';
import type { CounterStore } from '../../../shared/limits/counters.ts';
import { JobLedger } from '../../../shared/limits/job-ledger.ts';
import type { JobState } from '../../../shared/limits/ledger-cleaning.ts';
import { Limiter } from '../../../shared/limits/limiter.ts';
import { listQueueCaps } from '../../../shared/limits/queue-caps.ts';
import { isLimitSweepDue, sweepLimits } from '../../../shared/limits/sweep-limits.ts';
import { MemoryCounters } from './memory-counters.ts';

const START = Date.UTC(2026, 10, 30, 12);
const TENANTS = ['acme', 'beta', 'gamma'];

/** Creates a table in which each tenant has a call whose function died, and a job that has ended. */
async function createSwept() {
  const clock = { now: START };
  const now = () => clock.now;
  const store = new MemoryCounters();
  const limiter = new Limiter(store, now);
  const readState = async (): Promise<JobState> => 'ended';
  const ledger = new JobLedger({ store, now, newId: () => 'page', readState });
  const amounts = { requests: 1n, inputTokens: 1n, outputTokens: 1n, spend: 0n };
  const caps = listCaps({ key: { limits: { requestsInFlight: 1 } } }, 'm', 'answers');
  const queueCaps = listQueueCaps({ project: { limits: { jobsQueued: 1 } } });
  for (const tenant of TENANTS) {
    await limiter.reserve({ holder: { tenant, keyId: 'one' }, model: 'm', kind: 'answers', caps, amounts });
    const job = { tenant, id: 'resp_1', keyId: 'one', amounts: { jobs: 1n, bytes: 1n, weight: 0n } };
    await ledger.enter(job, queueCaps, () => {});
  }
  clock.now += 30 * 60_000;
  const errors: string[] = [];
  const sweep = (
    changes: Partial<CounterStore> & { readState?: (tenant: string) => Promise<JobState> } = {},
    until = Infinity,
  ) => {
    const { readState: read = readState, ...methods } = changes;
    const bound: CounterStore = {
      write: store.write.bind(store),
      read: store.read.bind(store),
      list: store.list.bind(store),
      ...methods,
    };
    const ports = { store: bound, now, readState: read, pause: async () => {}, logger: { summarize: () => {} } };
    return sweepLimits({ ...ports, onError: (what) => void errors.push(what) }, until);
  };
  const countLeft = async () => {
    let calls = 0n;
    let jobs = 0n;
    for (const tenant of TENANTS) {
      calls += (await store.read(`key#${tenant}#one`))['k.f.now'] ?? 0n;
      jobs += (await store.read(`jobs#${tenant}`))['p.j'] ?? 0n;
    }
    return { calls: Number(calls), jobs: Number(jobs) };
  };
  return { clock, store, errors, sweep, countLeft };
}

describe('the sweep of limits', () => {
  it('settles the calls of dead functions and removes the entries of ended jobs', async () => {
    const { sweep, countLeft, errors } = await createSwept();
    expect(await countLeft()).toEqual({ calls: 3, jobs: 3 });
    expect(await sweep()).toBe(true);
    expect(await countLeft()).toEqual({ calls: 0, jobs: 0 });
    expect(errors).toEqual([]);
  });

  it('goes on with other keys and tenants if one of them fails', async () => {
    const { store, sweep, countLeft, errors } = await createSwept();
    await sweep({
      write: (write) => (write.pk === 'key#acme#one' ? Promise.reject(new Error('throttled')) : store.write(write)),
      readState: async (tenant) => {
        if (tenant === 'beta') throw new Error('no table');
        return 'ended';
      },
    });
    expect(await countLeft()).toEqual({ calls: 1, jobs: 1 });
    expect(errors.sort()).toEqual(['calls of a key not settled', 'ended jobs of a tenant still counted']);
  });

  it('ends when its time is up, and leaves the rest to the next one', async () => {
    const { clock, sweep, countLeft } = await createSwept();
    const until = clock.now + 2;
    const slow = async (): Promise<JobState> => {
      clock.now += 1;
      return 'ended';
    };
    expect(await sweep({ readState: slow }, until)).toBe(false);
    const left = await countLeft();
    expect(left.jobs).toBe(1);
    expect(await sweep({}, until)).toBe(false);
    expect(await countLeft()).toEqual(left);
    await sweep();
    expect(await countLeft()).toEqual({ calls: 0, jobs: 0 });
  });

  it('has all items swept in turn, although each sweep has time for only one of them', async () => {
    const { clock, store, sweep, countLeft } = await createSwept();
    const before = new Set<string>();
    for (let sweeps = 0; sweeps < 16; sweeps += 1) {
      clock.now += 15 * 60_000;
      const list: CounterStore['list'] = async function* (prefixes, firstPart) {
        for await (const item of store.list(prefixes, firstPart)) {
          before.add(item.pk);
          yield item;
          clock.now += 1;
        }
      };
      await sweep({ list }, clock.now + 1);
    }
    expect(before.size).toBe(6);
    expect(await countLeft()).toEqual({ calls: 0, jobs: 0 });
  });

  it('gives a tenant with many jobs half of its time', async () => {
    const { clock, store, sweep, countLeft } = await createSwept();
    const ledger = { 'p.j': 5n, 'g.1': 1n, 'g.2': 1n, 'g.3': 1n, 'g.4': 1n, 'g.5': 1n };
    for (const page of [1, 2, 3, 4, 5])
      store.items.set(`jobpage#many#${page}`, { [`e.resp_${page}`]: 10n ** 34n * 3n });
    store.items.set('jobs#many', ledger);
    const readState = async (tenant: string): Promise<JobState> => {
      if (tenant !== 'many') return 'ended';
      clock.now += 1;
      return 'ended';
    };
    await sweep({ readState }, clock.now + 10);
    expect((await store.read('jobs#many'))['p.j']).toBe(2n);
    expect(await countLeft()).toEqual({ calls: 0, jobs: 0 });
  });

  it('is due every 15 minutes', () => {
    const due = Array.from({ length: 60 }, (_, minute) => minute).filter((minute) =>
      isLimitSweepDue(START + minute * 60_000),
    );
    expect(due).toEqual([0, 15, 30, 45]);
  });
});
