import type { Counters } from './counters.ts';
import { QUEUE_METRICS, type QueueMetric } from './queue-caps.ts';
import { MINUTE_MS } from './windows.ts';

/** What a job counts. `weight` is 0 for a job that doesn't run on GPU workers. */
export type QueueAmounts = Readonly<Record<QueueMetric, bigint>>;

/** A job that a tenant's ledger counts. */
export interface LedgerEntry {
  readonly id: string;
  /** The key whose limits count it, too. */
  readonly keyId?: string | undefined;
  /** What it has taken from portions of the account's limits. */
  readonly leased: readonly QueueMetric[];
  /** Number of the minute since 1970 in which it was entered. */
  readonly minute: number;
  readonly amounts: QueueAmounts;
}

const LETTERS: Readonly<Record<QueueMetric, string>> = { jobs: 'j', bytes: 'b', weight: 'w' };
const ENTRY = 'e.';
const PAGE = 'g.';

/** A number of DynamoDB has 38 digits: an entry takes 1 for the leased metrics, 9 for the minute, 11 for bytes, 14 for weight. */
const BYTES_UNIT = 10n ** 14n;
const MINUTE_UNIT = BYTES_UNIT * 10n ** 11n;
const LEASED_UNIT = MINUTE_UNIT * 10n ** 9n;

/** Returns the number of the minute since 1970 at `now` (epoch milliseconds). */
export function getMinute(now: number): number {
  return Math.floor(now / MINUTE_MS);
}

/** Returns the name of an entry in the item that has it. */
export function getEntryName({ id, keyId }: Pick<LedgerEntry, 'id' | 'keyId'>): string {
  return keyId === undefined ? `${ENTRY}${id}` : `${ENTRY}${id}.${keyId}`;
}

/** Returns the value of an entry. */
export function encodeEntry({ leased, minute, amounts }: LedgerEntry): bigint {
  const bits = QUEUE_METRICS.reduce(
    (sum, metric, index) => sum + (leased.includes(metric) ? 1n << BigInt(index) : 0n),
    0n,
  );
  return bits * LEASED_UNIT + BigInt(minute) * MINUTE_UNIT + amounts.bytes * BYTES_UNIT + amounts.weight;
}

/** Returns the value of an entry with another minute, if that is later. */
export function renewEntry(value: bigint, minute: number): bigint {
  const before = (value % LEASED_UNIT) / MINUTE_UNIT;
  return BigInt(minute) > before ? value + (BigInt(minute) - before) * MINUTE_UNIT : value;
}

/** Lists the entries of an item with their names and values, in the order of their names. */
export function listEntries(
  counters: Counters,
): { readonly name: string; readonly value: bigint; readonly entry: LedgerEntry }[] {
  return Object.entries(counters)
    .filter(([name]) => name.startsWith(ENTRY))
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => ({ name, value, entry: decodeEntry(name, value) }));
}

function decodeEntry(name: string, value: bigint): LedgerEntry {
  const dot = name.indexOf('.', ENTRY.length);
  const bits = value / LEASED_UNIT;
  return {
    id: name.slice(ENTRY.length, dot === -1 ? undefined : dot),
    ...(dot === -1 ? {} : { keyId: name.slice(dot + 1) }),
    leased: QUEUE_METRICS.filter((_, index) => (bits & (1n << BigInt(index))) !== 0n),
    minute: Number((value % LEASED_UNIT) / MINUTE_UNIT),
    amounts: { jobs: 1n, bytes: (value % MINUTE_UNIT) / BYTES_UNIT, weight: value % BYTES_UNIT },
  };
}

/** Returns the name of the sum of a metric over the tenant's jobs, or over those of a key. */
export function getSumName(metric: QueueMetric, keyId?: string): string {
  return keyId === undefined ? `p.${LETTERS[metric]}` : `k.${LETTERS[metric]}.${keyId}`;
}

/** Lists the sums of keys without jobs, which may be far more than the keys with jobs. */
export function listEmptySums(counters: Counters): string[] {
  return Object.keys(counters).filter((name) => name.startsWith('k.') && counters[name] === 0n);
}

/** Returns the id of the account's pool of a metric. */
export function getPoolId(metric: QueueMetric): string {
  return `q.${LETTERS[metric]}`;
}

/** Returns the name of a page in the tenant's item. Its value has a bit for each entry of the page that still counts. */
export function getPageName(id: string): string {
  return `${PAGE}${id}`;
}

/** Lists the pages of a tenant's item by their ids, with their bits. */
export function listPages(counters: Counters): { readonly id: string; readonly bits: bigint }[] {
  return Object.entries(counters)
    .filter(([name]) => name.startsWith(PAGE))
    .map(([name, bits]) => ({ id: name.slice(PAGE.length), bits }))
    .sort((a, b) => (a.id < b.id ? -1 : 1));
}

/** Returns the sums that an entry is part of. */
export function computeSums({ amounts, keyId }: Pick<LedgerEntry, 'amounts' | 'keyId'>): Record<string, bigint> {
  const sums: Record<string, bigint> = {};
  for (const metric of QUEUE_METRICS) {
    if (amounts[metric] === 0n) continue;
    sums[getSumName(metric)] = amounts[metric];
    // Without a key, that is the same sum.
    sums[getSumName(metric, keyId)] = amounts[metric];
  }
  return sums;
}

/** The beginning of the partition keys of tenants' items. */
export const LEDGER_PREFIX = 'jobs#';

/** Returns the partition key of a tenant's item. */
export function getLedgerPartition(tenant: string): string {
  return `${LEDGER_PREFIX}${tenant}`;
}

/** Returns the partition key of a page. */
export function getPagePartition(tenant: string, id: string): string {
  return `jobpage#${tenant}#${id}`;
}
