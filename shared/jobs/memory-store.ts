import { omitUndefined } from '../core/objects.ts';
import { changed, holds } from './conditions.ts';
import { indexAttributes } from './index-entry.ts';
import type { Job } from './job.ts';
import { fromJobKey, jobKey, TOMBSTONE_MS } from './keys.ts';
import type { DeletedJob, JobChange, JobStore } from './ports.ts';

/** An entry's position in its partition of the index. */
export interface IndexPosition {
  readonly key: string;
  readonly dueAt: number;
}

export interface MemoryStoreOptions {
  /** Shards of each partition of the index. Default: 1. */
  readonly shards?: number;
  /** Returns a partition's positions, sorted with `comparePositions`. Default: scans all entries. */
  readonly readPartition?: (partition: string) => readonly IndexPosition[];
}

/** What a job's key refers to: the job, or its tombstone. Times as in a job. */
export type Entry = { readonly job: Job } | Tombstone;
interface Tombstone {
  readonly expiresAt: number;
  readonly duePartition?: string;
  readonly dueAt?: number;
}

/**
 * Creates a job store in memory, for the model check and the simulation. The model check inspects and copies `entries`.
 * @param now epoch milliseconds
 */
export function createMemoryStore(
  now: () => number,
  entries: Map<string, Entry> = new Map(),
  { shards = 1, readPartition = (partition) => scanPartition(entries, partition) }: MemoryStoreOptions = {},
): JobStore {
  const isExpired = (entry: Entry): boolean => placeOf(entry).expiresAt * 1000 <= now();
  const entryAt = (tenant: string, id: string): Entry | undefined => {
    const entry = entries.get(jobKey(tenant, id));
    return entry !== undefined && !isExpired(entry) ? entry : undefined;
  };
  const jobAt = (tenant: string, id: string): Job | undefined => {
    const entry = entryAt(tenant, id);
    return entry !== undefined && 'job' in entry ? entry.job : undefined;
  };
  const placed = (job: Job, index: JobChange['index']): Job => {
    if (index === undefined) return job;
    const { duePartition: _partition, dueAt: _dueAt, ...unplaced } = job;
    return index === 'none' ? unplaced : { ...unplaced, ...indexAttributes(job.tenant, job.id, index, shards) };
  };
  return {
    async create(job, index) {
      const entry = entryAt(job.tenant, job.id);
      if (entry !== undefined) return 'job' in entry ? { created: false, job: entry.job } : { created: false };
      const created = placed(job, index);
      entries.set(jobKey(job.tenant, job.id), { job: created });
      return { created: true, job: created };
    },
    async read(tenant, id) {
      return jobAt(tenant, id);
    },
    async readMany(keys) {
      return keys.flatMap(({ tenant, id }) => jobAt(tenant, id) ?? []);
    },
    async update(tenant, id, guard, change) {
      const job = jobAt(tenant, id);
      if (job === undefined || !holds(guard, job)) return undefined;
      const next = placed(changed(job, change), change.index);
      entries.set(jobKey(tenant, id), { job: next });
      return next;
    },
    async delete(tenant, id) {
      const job = jobAt(tenant, id);
      if (job === undefined) return undefined;
      const at = now();
      entries.set(jobKey(tenant, id), {
        expiresAt: Math.floor((at + TOMBSTONE_MS) / 1000),
        ...indexAttributes(tenant, id, { purpose: 'tomb', dueAt: at }, shards),
      });
      return toDeleted(job);
    },
    async wasDeleted(tenant, id) {
      return entryAt(tenant, id) !== undefined && jobAt(tenant, id) === undefined;
    },
    async settle(tenant, id) {
      const key = jobKey(tenant, id);
      const entry = entries.get(key);
      if (entry === undefined || jobAt(tenant, id) !== undefined) return;
      entries.set(key, { expiresAt: placeOf(entry).expiresAt });
    },
    async list(partition, until, { limit, after }) {
      const found = readPartition(partition).filter(({ dueAt }) => dueAt <= until);
      const rest = isPosition(after) ? found.filter((each) => comparePositions(each, after) > 0) : found;
      const page = rest.slice(0, limit);
      const last = page.at(-1);
      return {
        entries: page.map(({ key, dueAt }) => ({ ...fromJobKey(key), partition, dueAt })),
        ...(last !== undefined && rest.length > limit ? { next: last } : {}),
      };
    },
    async count(partition) {
      return readPartition(partition).length;
    },
    async postpone({ tenant, id, partition, dueAt }, to) {
      const key = jobKey(tenant, id);
      const entry = entries.get(key);
      if (entry === undefined) return false;
      const place = placeOf(entry);
      if (place.duePartition !== partition || place.dueAt !== dueAt) return false;
      entries.set(key, 'job' in entry ? { job: { ...entry.job, dueAt: to } } : { ...entry, dueAt: to });
      return true;
    },
  };
}

/** Returns the attributes of an entry that the index and the expiry use. */
export function placeOf(entry: Entry): Tombstone {
  return 'job' in entry ? entry.job : entry;
}

function scanPartition(entries: ReadonlyMap<string, Entry>, partition: string): IndexPosition[] {
  return [...entries]
    .flatMap(([key, entry]) => {
      const { duePartition, dueAt } = placeOf(entry);
      return duePartition === partition && dueAt !== undefined ? [{ key, dueAt }] : [];
    })
    .sort(comparePositions);
}

/** Orders positions by time and key. */
export function comparePositions(a: IndexPosition, b: IndexPosition): number {
  return a.dueAt - b.dueAt || (a.key < b.key ? -1 : a.key > b.key ? 1 : 0);
}

function isPosition(after: unknown): after is IndexPosition {
  return after !== undefined;
}

function toDeleted({ storedBytes, turnBytes, turnItems, output, expiresAt }: Job): DeletedJob {
  const turn = output === undefined ? { turnBytes, turnItems } : {};
  return { expiresAt, ...omitUndefined({ storedBytes, ...turn }) };
}
