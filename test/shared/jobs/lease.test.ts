import { getEventListeners } from 'node:events';
import { describe, expect, it } from 'vitest';
import { keepLease } from '../../../shared/jobs/lease.ts';
import { createMemoryStore } from '../../../shared/jobs/memory-store.ts';
import type { JobStore } from '../../../shared/jobs/ports.ts';
import { JOB_TIMINGS } from '../../../shared/jobs/timings.ts';
import { begin, claim, recover, requestCancel } from '../../../shared/jobs/transitions.ts';
import { createVirtualTime } from '../gpu/virtual-time.ts';
import { aJob, HOUR_MS, START } from './jobs.ts';

/** Keeps a job that was claimed just now, on a virtual clock. While `isDown` the table fails every write. */
async function keepJob({ deadline = START + HOUR_MS, recognisedAfterMs = 0 } = {}) {
  const time = createVirtualTime(START + recognisedAfterMs);
  const table = { isDown: false, losesResponses: false };
  const store = createMemoryStore(time.now);
  const jobs: JobStore = {
    ...store,
    async update(...args) {
      if (table.isDown) throw new Error('unavailable');
      const after = await store.update(...args);
      // The SDK repeats a request whose response was lost.
      return table.losesResponses ? store.update(...args) : after;
    },
  };
  const job = aJob({
    status: 'in_progress',
    owner: 'w',
    epoch: 1,
    leaseExpiresAt: START + JOB_TIMINGS.leaseMs,
    deadline,
  });
  await store.create(job, { purpose: 'run', queue: 'jobs', dueAt: START });
  const shutdown = new AbortController();
  const errors: string[] = [];
  const onError = (what: string) => void errors.push(what);
  const lease = keepLease(
    job,
    { jobs, timings: JOB_TIMINGS, now: time.now, sleep: time.sleep, onError },
    shutdown.signal,
  );
  return { errors, time, table, store, job, lease, shutdown, read: () => store.read('acme', 'resp_1') };
}

describe('a lease', () => {
  it('is renewed with each heartbeat without a change of the index entry', async () => {
    const { time, lease, read } = await keepJob();
    await time.pass(10 * JOB_TIMINGS.heartbeatMs);
    expect(await read()).toMatchObject({
      leaseExpiresAt: START + 10 * JOB_TIMINGS.heartbeatMs + JOB_TIMINGS.leaseMs,
      duePartition: 'run#jobs#0',
      dueAt: START,
    });
    expect(lease.stop).toBeUndefined();
    await lease.stopHeartbeat();
  });

  it('is renewed at once if its claim was recognised late, because the response was lost in an outage', async () => {
    const { time, lease, read } = await keepJob({ recognisedAfterMs: JOB_TIMINGS.heartbeatMs });
    await time.pass(0);
    expect((await read())?.leaseExpiresAt).toBe(time.now() + JOB_TIMINGS.leaseMs);
    await lease.stopHeartbeat();
  });

  it('outlives an outage of 45 s that begins just before a renewal', async () => {
    const { time, table, store, job, lease, read, errors } = await keepJob();
    await time.pass(JOB_TIMINGS.heartbeatMs - 1);
    table.isDown = true;
    await time.pass(45_000);
    expect(lease.stop).toBeUndefined();
    table.isDown = false;
    await time.pass(JOB_TIMINGS.retryMs);
    expect((await read())?.leaseExpiresAt).toBeGreaterThan(time.now());
    const { guard, change } = recover(job, time.now(), JOB_TIMINGS);
    expect(await store.update('acme', 'resp_1', guard, change)).toBeUndefined();
    expect(errors).toEqual(['lease not renewed']);
    await lease.stopHeartbeat();
  });

  it('goes on during an outage that lasts longer than the lease, until a write is refused', async () => {
    const { time, table, store, job, lease } = await keepJob();
    table.isDown = true;
    await time.pass(JOB_TIMINGS.leaseMs + JOB_TIMINGS.graceMs);
    expect(lease.stop).toBeUndefined();
    const { guard, change } = recover(job, time.now(), JOB_TIMINGS);
    expect(await store.update('acme', 'resp_1', guard, change)).toMatchObject({ status: 'queued', crashes: 1 });
    table.isDown = false;
    await time.pass(JOB_TIMINGS.retryMs);
    expect(lease.stop).toBe('fenced');
    await lease.stopHeartbeat();
  });

  it('stays if a write that counts the attempt is repeated because its response was lost', async () => {
    const { time, table, job, lease, read } = await keepJob();
    table.losesResponses = true;
    await lease.write(begin(job, time.now(), JOB_TIMINGS));
    expect(lease.stop).toBeUndefined();
    expect(await read()).toMatchObject({ attempts: 1, begun: true });
    await lease.stopHeartbeat();
  });

  it('stops the attempt at the next heartbeat after another worker has claimed the job', async () => {
    const { time, store, job, lease } = await keepJob();
    await store.update('acme', 'resp_1', [], recover(job, time.now(), JOB_TIMINGS).change);
    const terms = { owner: 'other', alone: true, whole: true };
    await store.update('acme', 'resp_1', [], claim(terms, time.now(), JOB_TIMINGS).change);
    await time.pass(JOB_TIMINGS.heartbeatMs);
    expect(lease.stop).toBe('fenced');
    await lease.stopHeartbeat();
  });

  it('leaves no listener on the signal of its invocation, which outlives it', async () => {
    const { lease, shutdown } = await keepJob();
    await lease.stopHeartbeat();
    expect(getEventListeners(shutdown.signal, 'abort')).toEqual([]);
  });

  it('stops the attempt at the next heartbeat after a cancel', async () => {
    const { time, store, lease } = await keepJob();
    const { guard, change } = requestCancel();
    await store.update('acme', 'resp_1', guard, change);
    await time.pass(JOB_TIMINGS.heartbeatMs);
    expect(lease.stop).toBe('cancelled');
    await lease.stopHeartbeat();
  });

  it("stops the attempt at the job's deadline, also during an outage", async () => {
    const { time, table, lease } = await keepJob({ deadline: START + 20_000 });
    table.isDown = true;
    await time.pass(20_000);
    expect(lease.stop).toBe('overdue');
    await lease.stopHeartbeat();
  });

  it('stops the attempt when the function is about to time out', async () => {
    const { lease, shutdown } = await keepJob();
    shutdown.abort();
    expect(lease.stop).toBe('shutdown');
    await lease.stopHeartbeat();
  });
});
