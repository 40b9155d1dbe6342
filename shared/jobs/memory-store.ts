import { changed, holds } from './conditions.ts';
import type { Job } from './job.ts';
import { duePartition, fromJobKey, jobKey, TOMBSTONE_MS } from './keys.ts';
import type { JobStore } from './ports.ts';

/** What stands under a job's key: the job, or that it was deleted. Times as in a job. */
export type Entry = { readonly job: Job } | { readonly expiresAt: number; readonly dueAt?: number };

/**
 * Jobs in memory, for tests and for the model check, which looks into `entries` and copies it.
 * @param now epoch milliseconds
 */
export function createMemoryStore(now: () => number, entries: Map<string, Entry> = new Map()): JobStore {
  const entryAt = (tenant: string, id: string): Entry | undefined => {
    const entry = entries.get(jobKey(tenant, id));
    return entry !== undefined && !isOver(entry, now()) ? entry : undefined;
  };
  const jobAt = (tenant: string, id: string): Job | undefined => {
    const entry = entryAt(tenant, id);
    return entry !== undefined && 'job' in entry ? entry.job : undefined;
  };
  return {
    async create(job) {
      const entry = entryAt(job.tenant, job.id);
      if (entry !== undefined) return 'job' in entry ? { created: false, job: entry.job } : { created: false };
      entries.set(jobKey(job.tenant, job.id), { job });
      return { created: true, job };
    },
    async read(tenant, id) {
      return jobAt(tenant, id);
    },
    async update(tenant, id, guard, change) {
      const job = jobAt(tenant, id);
      if (job === undefined || !holds(guard, job)) return undefined;
      const next = changed(job, change);
      entries.set(jobKey(tenant, id), { job: next });
      return next;
    },
    async delete(tenant, id) {
      if (jobAt(tenant, id) === undefined) return false;
      const at = now();
      entries.set(jobKey(tenant, id), { expiresAt: Math.floor((at + TOMBSTONE_MS) / 1000), dueAt: at });
      return true;
    },
    async wasDeleted(tenant, id) {
      return entryAt(tenant, id) !== undefined && jobAt(tenant, id) === undefined;
    },
    async settle(tenant, id) {
      const key = jobKey(tenant, id);
      const entry = entries.get(key);
      if (entry === undefined || jobAt(tenant, id) !== undefined) return;
      const { expiresAt } = 'job' in entry ? entry.job : entry;
      entries.set(key, { expiresAt });
    },
    async due(partition, until, limit) {
      const found = [...entries].flatMap(([key, entry]) => {
        const dueAt = 'job' in entry ? entry.job.dueAt : entry.dueAt;
        return dueAt !== undefined && dueAt <= until ? [{ dueAt, ...fromJobKey(key) }] : [];
      });
      return found
        .filter(({ tenant, id }) => duePartition(tenant, id) === partition)
        .sort((a, b) => a.dueAt - b.dueAt)
        .slice(0, limit)
        .map(({ tenant, id }) => ({ tenant, id }));
    },
  };
}

function isOver(entry: Entry, now: number): boolean {
  const { expiresAt } = 'job' in entry ? entry.job : entry;
  return expiresAt * 1000 <= now;
}
