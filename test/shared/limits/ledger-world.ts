import { expect } from 'vitest';
import type { Policy } from '../../../shared/access/policy.ts';
import type { CounterStore, CounterWrite } from '../../../shared/limits/counters.ts';
import { JobLedger } from '../../../shared/limits/job-ledger.ts';
import type { JobState } from '../../../shared/limits/ledger-cleaning.ts';
import { listEntries, listPages } from '../../../shared/limits/ledger-entry.ts';
import { listQueueCaps } from '../../../shared/limits/queue-caps.ts';
import { MemoryCounters } from './memory-counters.ts';

/** Creates the ledger of a tenant. Each job that was entered is open until the test ends it. */
export function createLedger(store: CounterStore, tenant: string) {
  const clock = { now: Date.UTC(2026, 10, 30) };
  const states = new Map<string, JobState>();
  let requests = 0;
  const write: CounterStore['write'] = (change) => {
    requests += 1;
    return store.write(change);
  };
  let ids = 0;
  const ledger = new JobLedger({
    store: { write, read: (pk) => store.read(pk), list: (prefixes) => store.list(prefixes) },
    readState: async (_tenant, id) => states.get(id) ?? 'absent',
    now: () => clock.now,
    newId: () => `page${ids++}`,
  });
  const enter = async (id: string, limits: object, keyId = 'one') => {
    // Only one tenant, because the table's account has one pool.
    const account = tenant === 'many' ? { account: { limits } } : {};
    const caps = listQueueCaps({ ...account, project: { limits }, key: { limits } });
    const job = { tenant, id, keyId, amounts: { jobs: 1n, bytes: 1_000n, weight: 700n } };
    const errors: unknown[] = [];
    const refusal = await ledger.enter(job, caps, (_what, thrown) => errors.push(thrown));
    expect(errors).toEqual([]);
    if (refusal === undefined) states.set(id, 'open');
    return refusal;
  };
  return { clock, states, enter, countWrites: () => requests, read: () => store.read(`jobs#${tenant}`) };
}

/** Enters a thousand jobs, up to the limit, and some more after half of them have ended. */
export async function fillLedger(store: CounterStore): Promise<void> {
  const { clock, states, enter, countWrites, read } = createLedger(store, 'many');
  const limits = { jobsQueued: 1_000, jobBytesQueued: 5_000_000, gpuWeightWaiting: 5_000_000 };
  for (let index = 0; index < 1_000; index += 1) {
    expect(await enter(`resp_${index}`, limits, `key${index % 5}`)).toBeUndefined();
  }
  expect(countWrites()).toBeLessThan(1_150);
  const full = await read();
  expect(listPages(full).length).toBeGreaterThan(10);
  expect(listEntries(full).length).toBeLessThan(80);
  expect(await enter('resp_more', limits)).toMatchObject({ cap: { name: 'jobsQueued' }, left: 0n, requested: 1n });

  for (let index = 0; index < 1_000; index += 2) states.set(`resp_${index}`, 'ended');
  clock.now += 2_000;
  for (let index = 0; index < 500; index += 1) expect(await enter(`resp_again${index}`, limits)).toBeUndefined();
  expect(await enter('resp_more', limits)).toMatchObject({ cap: { name: 'jobsQueued' } });
}

/** What a test says of a job. Default: a job of the tenant `acme` and the key `one` that takes only a place. */
export interface JobFields {
  readonly tenant?: string;
  readonly keyId?: string | undefined;
  readonly bytes?: bigint;
  readonly weight?: bigint;
}

/** Creates a ledger in memory of several tenants. A job that was entered is open until the test ends it. */
export function createTenants(store: CounterStore = new MemoryCounters()) {
  const clock = { now: Date.UTC(2026, 10, 30) };
  const states = new Map<string, JobState>();
  /** The jobs whose states were read, as `tenant/id`. */
  const looked: string[] = [];
  const written: CounterWrite[] = [];
  const reads: string[] = [];
  const errors: unknown[] = [];
  let ids = 0;
  const ports = {
    store: {
      write: (write: CounterWrite) => {
        written.push(write);
        return store.write(write);
      },
      read: (pk: string) => {
        reads.push(pk);
        return store.read(pk);
      },
      list: (prefixes: readonly string[]) => store.list(prefixes),
    },
    readState: async (tenant: string, id: string) => {
      looked.push(`${tenant}/${id}`);
      return states.get(id) ?? 'absent';
    },
    now: () => clock.now,
    newId: () => `page${String(ids++).padStart(3, '0')}`,
  };
  const ledger = new JobLedger(ports);
  const enter = async (policy: Policy, id: string, fields: JobFields = {}, by: JobLedger = ledger) => {
    const { tenant = 'acme', bytes = 0n, weight = 0n } = fields;
    const keyId = 'keyId' in fields ? fields.keyId : 'one';
    const job = { tenant, id, keyId, amounts: { jobs: 1n, bytes, weight } };
    const refusal = await by.enter(job, listQueueCaps(policy), (what, thrown) => errors.push([what, thrown]));
    if (refusal === undefined) states.set(id, 'open');
    return refusal && { level: refusal.cap.level, name: refusal.cap.name, left: refusal.left };
  };
  return {
    ...{ clock, states, looked, written, reads, errors, ports, enter },
    createLedger: () => new JobLedger(ports),
    read: (tenant = 'acme') => store.read(`jobs#${tenant}`),
    readPage: (id: string, tenant = 'acme') => store.read(`jobpage#${tenant}#${id}`),
  };
}
