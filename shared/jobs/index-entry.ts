import type { Job, Lane } from './job.ts';
import { shardOf } from './keys.ts';

/**
 * A job's place in the index, which says what has to be done for the job and when. The time's meaning depends on the
 * purpose, in epoch milliseconds:
 * - `wake`: waits without a ticket. One must be sent then.
 * - `wait`: waits and has a ticket. The sweep checks then whether the deadline has passed.
 * - `run`: in progress, claimed then. Renewals leave it unchanged, so that they write no index.
 * - `step`: ended, with completion steps left. They are tried again then.
 * - `tomb`: deleted. Bodies that a crash has left are removed then.
 */
export type IndexEntry =
  | { readonly purpose: 'wake' | 'wait' | 'run'; readonly queue: QueueName; readonly dueAt: number }
  | { readonly purpose: 'step' | 'tomb'; readonly dueAt: number };
export type Purpose = IndexEntry['purpose'];

/** A ticket queue: `jobs` for the default lane, or the lane's own. */
export type QueueName = 'jobs' | 'gpu';
export const QUEUE_NAMES: readonly QueueName[] = ['jobs', 'gpu'];

/** Returns the ticket queue of a lane. A lane that only a newer version knows is the default one. */
export function queueOf({ lane }: { readonly lane?: Lane | undefined }): QueueName {
  return lane === 'gpu' ? 'gpu' : 'jobs';
}

/** A partition of the index without its shard. */
export type PartitionName =
  | Exclude<IndexEntry, { queue: QueueName }>['purpose']
  | `${'wake' | 'wait' | 'run'}#${QueueName}`;

/** The name of an entry's partition without the shard: `wait#jobs`, `step`. */
export function partitionName(entry: IndexEntry): PartitionName {
  return 'queue' in entry ? `${entry.purpose}#${entry.queue}` : entry.purpose;
}

/** Returns the index's partition key: `wait#jobs#3`, `step#0`. */
export function partitionKey(name: PartitionName, shard: number): string {
  return `${name}#${shard}`;
}

/** Returns the two attributes that place a job in the index. */
export function indexAttributes(
  tenant: string,
  id: string,
  entry: IndexEntry,
  shards: number,
): { readonly duePartition: string; readonly dueAt: number } {
  return { duePartition: partitionKey(partitionName(entry), shardOf(tenant, id, shards)), dueAt: entry.dueAt };
}

/** Returns the purpose of a job's entry; undefined if it has none, or one that an earlier version wrote. */
export function purposeOf({ duePartition }: Pick<Job, 'duePartition'>): Purpose | undefined {
  return PURPOSES.find((purpose) => duePartition?.startsWith(`${purpose}#`));
}

const PURPOSES: readonly Purpose[] = ['wake', 'wait', 'run', 'step', 'tomb'];

/** Partitions that the previous version wrote, `due#0` to `due#15`: one for all purposes. They are read, never written. */
export const LEGACY_PARTITIONS: readonly string[] = Array.from({ length: 16 }, (_, shard) => `due#${shard}`);
