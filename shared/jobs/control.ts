import type { Job } from './job.ts';
import type { Bodies, JobStore } from './ports.ts';
import type { JobTimings } from './timings.ts';
import { cancelQueued, requestCancel } from './transitions.ts';

/** How often a cancel is tried, because the job may be claimed or released between a read and a write. */
const CANCEL_TRIES = 5;

/**
 * Cancels a job. A waiting job ends at once, the holder of a running one is asked to end it, and an ended job stays as it is.
 * @returns the job afterwards. `ended` is true if this call ended it: the caller must then run its completion steps
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
 * Deletes a job and its bodies. A running attempt is fenced by it. The tombstone stays in the index until `settle`, so that the
 * sweep removes bodies that a crash leaves behind.
 * @returns false if the job doesn't exist
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
