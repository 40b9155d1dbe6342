import { LambentError } from '../core/errors.ts';
import { isTerminal } from '../jobs/job.ts';
import type { JobStore } from '../jobs/ports.ts';
import type { JobState } from '../limits/ledger-cleaning.ts';

/** Reads the state of a job for a ledger. A job that this version can't read counts as open. */
export async function readJobState(jobs: JobStore, tenant: string, id: string): Promise<JobState> {
  try {
    const job = await jobs.read(tenant, id);
    if (job !== undefined) return isTerminal(job.status) ? 'ended' : 'open';
  } catch (thrown) {
    if (thrown instanceof LambentError && thrown.code === 'record_unreadable') return 'open';
    throw thrown;
  }
  return (await jobs.wasDeleted(tenant, id)) ? 'ended' : 'absent';
}
