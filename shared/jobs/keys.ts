import { createHash } from 'node:crypto';

/** How long a deleted job's id stays taken: longer than SQS keeps any message (14 days) that could bring it back. */
export const TOMBSTONE_MS = 15 * 24 * 3_600_000;

/** Returns the partition key of everything that a job has in its table. A tenant's name contains no `#`. */
export function jobKey(tenant: string, id: string): string {
  return `${tenant}#${id}`;
}

/** Returns the tenant and the id of a partition key. */
export function fromJobKey(key: string): { readonly tenant: string; readonly id: string } {
  const end = key.indexOf('#');
  return { tenant: key.slice(0, end), id: key.slice(end + 1) };
}

/** Returns a job's shard of the index, below `shards`. The same job always has the same one. */
export function shardOf(tenant: string, id: string, shards: number): number {
  return createHash('sha256').update(jobKey(tenant, id)).digest().readUInt16BE() % shards;
}
