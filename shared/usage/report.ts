import type { Table } from '../aws/table.ts';
import { mapInParallel } from '../core/map-in-parallel.ts';
import {
  addSums,
  BUCKET_SECONDS,
  type BucketWidth,
  getBucketStart,
  NO_USAGE,
  type Usage,
  type UsageKey,
  type UsageSums,
} from './usage-row.ts';
import { readBucket } from './usage-table.ts';

/** Buckets that are read at once. */
const READS = 8;

/** A question about the usage. */
export interface UsageQuery<Field extends string> {
  readonly width: BucketWidth;
  /** Epoch seconds. The first bucket is the one that contains it. */
  readonly from: number;
  /** Epoch seconds. No bucket begins at or after it. */
  readonly until: number;
  /** The most buckets that are returned. */
  readonly limit: number;
  readonly matches: (key: UsageKey) => boolean;
  /** Returns what usage is grouped by. */
  readonly groupBy: (key: UsageKey) => Readonly<Record<Field, string>>;
}

/** The usage of a bucket: one sum for each group that has any. */
export interface UsageBucket<Field extends string> {
  /** Epoch seconds. */
  readonly start: number;
  readonly end: number;
  readonly groups: readonly { readonly fields: Readonly<Record<Field, string>>; readonly sums: UsageSums }[];
}

/** Reads usage by buckets. `next` is the start of the next page's first bucket; the last page has none. */
export async function readUsageReport<Field extends string>(
  table: Table,
  query: UsageQuery<Field>,
): Promise<{ readonly buckets: readonly UsageBucket<Field>[]; readonly next: number | undefined }> {
  const { width, until, limit } = query;
  const seconds = BUCKET_SECONDS[width];
  const first = getBucketStart(width, query.from);
  const count = Math.max(0, Math.min(limit, Math.ceil((until - first) / seconds)));
  const starts = Array.from({ length: count }, (_, index) => first + index * seconds);
  const buckets = await mapInParallel(starts, READS, async (start) => ({
    ...{ start, end: start + seconds },
    groups: group(await readBucket(table, width, start), query),
  }));
  const end = first + count * seconds;
  return { buckets, next: end < until ? end : undefined };
}

function group<Field extends string>(usage: readonly Usage[], { matches, groupBy }: UsageQuery<Field>) {
  const groups = new Map<string, { readonly fields: Readonly<Record<Field, string>>; readonly sums: UsageSums }>();
  for (const { key, sums } of usage) {
    if (!matches(key)) continue;
    const fields = groupBy(key);
    const name = JSON.stringify(fields);
    groups.set(name, { fields, sums: addSums(groups.get(name)?.sums ?? NO_USAGE, sums) });
  }
  return [...groups.values()];
}
