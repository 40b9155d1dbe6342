import { expect, it } from 'vitest';
import { cancelJob } from '../../../shared/jobs/control.ts';
import { createMemoryStore } from '../../../shared/jobs/memory-store.ts';
import type { JobStore } from '../../../shared/jobs/ports.ts';
import { JOB_TIMINGS } from '../../../shared/jobs/timings.ts';
import { claim, commit } from '../../../shared/jobs/transitions.ts';
import { aJob, START } from './jobs.ts';

/** A job, and its cancel while others change the job: `changes[n]` happens before the cancel's write `n`. */
async function cancelDuring(...changes: ((jobs: JobStore) => Promise<unknown>)[]) {
  const jobs = createMemoryStore(() => START);
  await jobs.create(aJob());
  let writes = 0;
  const raced: JobStore = {
    ...jobs,
    async update(...args) {
      await changes[writes++]?.(jobs);
      return jobs.update(...args);
    },
  };
  return cancelJob({ jobs: raced, timings: JOB_TIMINGS, now: () => START }, 'acme', 'resp_1');
}

async function claimJob(jobs: JobStore) {
  const { guard, change } = claim({ owner: 'w', alone: false, whole: true }, START, JOB_TIMINGS);
  return jobs.update('acme', 'resp_1', guard, change);
}

async function completeJob(jobs: JobStore) {
  const job = await jobs.read('acme', 'resp_1');
  if (job === undefined) throw new Error('no job');
  const { guard, change } = commit(job, { status: 'completed' }, START, JOB_TIMINGS);
  return jobs.update('acme', 'resp_1', guard, change);
}

it('a job that is claimed while it is cancelled is asked to end', async () => {
  expect(await cancelDuring(claimJob)).toMatchObject({
    ended: false,
    job: { status: 'in_progress', cancelRequested: true },
  });
});

it('a job that ends while it is cancelled stays as it is', async () => {
  expect(await cancelDuring(claimJob, completeJob)).toMatchObject({ ended: false, job: { status: 'completed' } });
});

it('a job that is deleted while it is cancelled is absent', async () => {
  expect(await cancelDuring((jobs) => jobs.delete('acme', 'resp_1'))).toBeUndefined();
});
