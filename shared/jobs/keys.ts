import { createHash } from 'node:crypto';

/** Partitions of the index on what is due: a write of one job in sixteen meets another's. */
export const DUE_PARTITIONS = 16;

/** How long a deleted job's id stays taken: longer than SQS keeps any message (14 days) that could bring it back. */
export const TOMBSTONE_MS = 15 * 24 * 3_600_000;

/** The partition key of everything that a job has in its table. A tenant's name has no `#` in it. */
export function jobKey(tenant: string, id: string): string {
  return `${tenant}#${id}`;
}

/** Whose job a partition key is. */
export function fromJobKey(key: string): { readonly tenant: string; readonly id: string } {
  const end = key.indexOf('#');
  return { tenant: key.slice(0, end), id: key.slice(end + 1) };
}

/** Which partition of the index a job is due in, 0 to 15: spread evenly, the same for ever. */
export function duePartition(tenant: string, id: string): number {
  return (createHash('sha256').update(jobKey(tenant, id)).digest()[0] ?? 0) % DUE_PARTITIONS;
}
