import type { Job } from './job.ts';
import type { Bodies, JobStore } from './ports.ts';
import type { JobTimings } from './timings.ts';
import { cancelQueued, requestCancel } from './transitions.ts';

/** How often a job may change hands while a cancel looks for the right way to say it. */
const CANCEL_TRIES = 5;

/**
 * Cancels a job: one that waits ends at once, a running one is asked to, and one that has ended stays as it is.
 * @returns the job afterwards; `ended` when this very call ended it, so that it is the caller's to tell of
 */
export async function cancelJob(
  { jobs, timings, now }: { readonly jobs: JobStore; readonly timings: JobTimings; readonly now: () => number },
  tenant: string,
  id: string,
): Promise<{ readonly job: Job; readonly ended: boolean } | undefined> {
  let job = await jobs.read(tenant, id);
  for (let tries = 0; tries < CANCEL_TRIES; tries += 1) {
    if (job === undefined) return undefined;
    if (job.status !== 'queued' && job.status !== 'in_progress') break;
    const { guard, change } = job.status === 'queued' ? cancelQueued(job, now(), timings) : requestCancel();
    const changed = await jobs.update(tenant, id, guard, change);
    if (changed !== undefined) return { job: changed, ended: changed.status === 'cancelled' };
    job = await jobs.read(tenant, id);
  }
  return job === undefined ? undefined : { job, ended: false };
}

/**
 * Deletes a job and all that belongs to it; a running one loses its lease by it. What a crash leaves behind is swept,
 * since the tombstone is due until `settle`.
 * @returns false when there was no such job
 */
export async function deleteJob(
  { jobs, bodies }: { readonly jobs: JobStore; readonly bodies: Bodies },
  tenant: string,
  id: string,
): Promise<boolean> {
  if (!(await jobs.delete(tenant, id))) return false;
  await bodies.sweep(tenant, id);
  await jobs.settle(tenant, id);
  return true;
}
