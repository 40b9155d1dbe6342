import type { Digest } from '../audit/digest.ts';
import type { Entry } from '../audit/entry.ts';
import type { Item } from '../aws/attributes.ts';
import { queryAllItems, type Table, updateItem } from '../aws/table.ts';
import { mapInParallel } from '../core/map-in-parallel.ts';
import {
  addSums,
  BUCKET_WIDTHS,
  type BucketWidth,
  encodeRowKey,
  getBucketStart,
  NO_USAGE,
  parseRowKey,
  readUsage,
  type Usage,
  type UsageSums,
} from './usage-row.ts';

/** Days for which the rows of a bucket are kept. Those of days are kept for good. */
const KEPT_DAYS: Readonly<Partial<Record<BucketWidth, number>>> = { '1m': 7, '1h': 400 };
const DAY_SECONDS = 86_400;
/** Rows that are written at once. */
const WRITES = 16;

const SUMS = Object.keys(NO_USAGE) as (keyof UsageSums)[];

/**
 * Adds the usage of a digest's entries to its rows, once, however often it is called for the digest. A row notes the sequence
 * number of the last digest that it has, and the digests of a chain are added in their order.
 */
export async function addUsage(table: Table, { chain, sequence }: Digest, entries: readonly Entry[]): Promise<void> {
  await mapInParallel([...sumRows(entries, chain)], WRITES, async ([, { pk, sk, sums, expiresAt }]) => {
    const change = [
      'SET #sequence = :sequence',
      ...(expiresAt === undefined ? [] : [', expiresAt = :expiresAt']),
      ` ADD ${SUMS.map((name) => `${name} :${name}`).join(', ')}`,
    ];
    await updateItem(
      table,
      { pk: { S: pk }, sk: { S: sk } },
      {
        change: change.join(''),
        condition: 'attribute_not_exists(#sequence) OR #sequence < :sequence',
        names: { '#sequence': 'sequence' },
        values: {
          ':sequence': { N: String(sequence) },
          ...(expiresAt !== undefined && { ':expiresAt': { N: String(expiresAt) } }),
          ...Object.fromEntries(SUMS.map((name) => [`:${name}`, { N: String(sums[name]) }])),
        },
      },
    );
  });
}

interface Row {
  readonly pk: string;
  readonly sk: string;
  readonly sums: UsageSums;
  readonly expiresAt: number | undefined;
}

/** Returns what entries add to each row. */
function sumRows(entries: readonly Entry[], chain: number): Map<string, Row> {
  const rows = new Map<string, Row>();
  for (const [entry, usage] of entries.flatMap((each) => readUsage(each).map((usage) => [each, usage] as const))) {
    const sk = encodeRowKey(usage.key, chain);
    for (const width of BUCKET_WIDTHS) {
      const start = getBucketStart(width, Date.parse(entry.time) / 1000);
      const pk = getPartition(width, start);
      const days = KEPT_DAYS[width];
      const sums = addSums(rows.get(pk + sk)?.sums ?? NO_USAGE, usage.sums);
      rows.set(pk + sk, { pk, sk, sums, expiresAt: days === undefined ? undefined : start + days * DAY_SECONDS });
    }
  }
  return rows;
}

/** Reads all usage of a bucket, which begins at `start` (epoch seconds). There may be several sums for one key. */
export async function readBucket(table: Table, width: BucketWidth, start: number): Promise<Usage[]> {
  const items = await queryAllItems(table, {
    where: 'pk = :pk',
    values: { ':pk': { S: getPartition(width, start) } },
  });
  return items.flatMap((item) => {
    const key = parseRowKey(item['sk']?.S ?? '');
    return key === undefined ? [] : [{ key, sums: readSums(item) }];
  });
}

function readSums(item: Item): UsageSums {
  const read = (name: keyof UsageSums): bigint => BigInt(item[name]?.N ?? '0');
  return {
    requests: read('requests'),
    inputTokens: read('inputTokens'),
    cachedTokens: read('cachedTokens'),
    cacheWriteTokens: read('cacheWriteTokens'),
    outputTokens: read('outputTokens'),
    picodollars: read('picodollars'),
  };
}

const getPartition = (width: BucketWidth, start: number) => `usage#${width}#${new Date(start * 1000).toISOString()}`;
