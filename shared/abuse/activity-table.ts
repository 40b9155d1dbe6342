import { ABUSE_SIGNS, type AbuseSign, MAX_NETWORKS } from '../access/abuse-rules.ts';
import type { Digest } from '../audit/digest.ts';
import { type Item, marshall, unmarshall } from '../aws/attributes.ts';
import {
  getItems,
  queryAllItems,
  queryPage,
  type Table,
  updateAndGetItem,
  updateItem,
  updateOrGetItem,
} from '../aws/table.ts';
import { mapInParallel } from '../core/map-in-parallel.ts';
import { type Activity, HOUR_MS, type Subject } from './activity.ts';

/** The activity of a subject in the usage table, and the reports about it. */
export interface ActivityItem extends Activity {
  /** Reports that were begun, as JSON, by sign. */
  readonly reports: Readonly<Partial<Record<AbuseSign, string>>>;
  /** The signs whose reports are complete. */
  readonly reported: ReadonlySet<string>;
  /** The calls in a project's busiest earlier hour, or `NO_HISTORY`. Undefined for keys, and until it is computed. */
  readonly usual: number | undefined;
}

/** The value of `usual` for a project without earlier hours to compare with. */
export const NO_HISTORY = -1;

/** An hour of a project is compared with the hours of so many days before it. */
export const HISTORY_DAYS = 7;
const DAY_MS = 86_400_000;
/** Items that are written in parallel. */
const WRITES = 16;
/** BatchGetItem's limit. */
const READS = 100;

/**
 * Adds the activity of a digest's entries to its items, once, however often it is called for the digest. An item notes for each
 * chain the sequence number of the last digest that it has; the digests of a chain are added in their order.
 */
export async function addActivity(
  table: Table,
  { chain, sequence }: Pick<Digest, 'chain' | 'sequence'>,
  activity: readonly Activity[],
): Promise<void> {
  await mapInParallel(activity, WRITES, async ({ calls, refusals, networks, ...subject }) => {
    const keptDays = subject.keyId === undefined ? HISTORY_DAYS + 1 : 1;
    const { item } = await updateOrGetItem(table, toKey(subject), {
      change: 'SET #chain = :sequence, expiresAt = :expiresAt ADD calls :calls, refusals :refusals',
      condition: 'attribute_not_exists(#chain) OR #chain < :sequence',
      names: { '#chain': `chain${chain}` },
      values: marshall({
        ':sequence': sequence,
        ':expiresAt': Math.ceil((subject.hour + HOUR_MS + keptDays * DAY_MS) / 1000),
        ':calls': calls,
        ':refusals': refusals,
      }),
    });
    // Most keys are used from networks that the item has already. Adding to a set twice changes nothing.
    const known = parseItem(subject, item).networks;
    const fresh = [...networks]
      .filter((network) => !known.has(network))
      .slice(0, Math.max(0, MAX_NETWORKS - known.size));
    if (fresh.length === 0) return;
    await updateItem(table, toKey(subject), {
      change: 'ADD networks :networks',
      values: marshall({ ':networks': new Set(fresh) }),
    });
  });
}

/** Reads the activity of subjects. Subjects without any are missing. */
export async function readActivity(table: Table, subjects: readonly Subject[]): Promise<ActivityItem[]> {
  const byKey = new Map(subjects.map((subject) => [JSON.stringify(toKey(subject)), subject]));
  const keys = subjects.map(toKey);
  const items: Item[] = [];
  for (let from = 0; from < keys.length; from += READS)
    items.push(...(await getItems(table, keys.slice(from, from + READS))));
  return items.flatMap((item) => {
    const { pk, sk } = item;
    const subject = byKey.get(JSON.stringify({ pk, sk }));
    return subject === undefined ? [] : [parseItem(subject, item)];
  });
}

/** Returns whether a key of a tenant was used in the last day. Its calls are known once they are recorded. */
export async function wasUsed(table: Table, tenant: string, keyId: string): Promise<boolean> {
  const values = marshall({ ':pk': getPartition(tenant, keyId) });
  return (await queryPage(table, { where: 'pk = :pk', values, pageSize: 1 })).length > 0;
}

/** Reads the hours of the week before an hour in which a project was used. */
export async function readHistory(table: Table, { tenant, hour }: Subject): Promise<ActivityItem[]> {
  const toTime = (at: number) => new Date(at).toISOString();
  const items = await queryAllItems(table, {
    where: 'pk = :pk AND sk BETWEEN :from AND :until',
    values: marshall({
      ':pk': getPartition(tenant, undefined),
      ':from': toTime(hour - HISTORY_DAYS * DAY_MS),
      ':until': toTime(hour - HOUR_MS),
    }),
  });
  return items.map((item) => parseItem({ tenant, keyId: undefined, hour: Date.parse(item['sk']?.S ?? '') }, item));
}

/** Notes the usual hour of a project, unless it is noted already. */
export async function noteUsual(table: Table, subject: Subject, usual: number): Promise<void> {
  await updateItem(table, toKey(subject), {
    change: 'SET usual = if_not_exists(usual, :usual)',
    values: marshall({ ':usual': usual }),
  });
}

/** Begins a report, unless one was begun already. Returns the one to complete, which is the same for all recorders. */
export async function beginReport(table: Table, subject: Subject, sign: AbuseSign, report: string): Promise<string> {
  const item = await updateAndGetItem(table, toKey(subject), {
    change: 'SET #report = if_not_exists(#report, :report)',
    names: { '#report': getReportName(sign) },
    values: marshall({ ':report': report }),
  });
  return parseItem(subject, item).reports[sign] ?? report;
}

/** Notes that a report is complete. */
export async function endReport(table: Table, subject: Subject, sign: AbuseSign): Promise<void> {
  await updateItem(table, toKey(subject), {
    change: 'ADD reported :signs',
    values: marshall({ ':signs': new Set([sign]) }),
  });
}

function parseItem(subject: Subject, item: Item = {}): ActivityItem {
  const { calls, refusals, networks, reported, usual, ...others } = unmarshall(item);
  const reports = ABUSE_SIGNS.flatMap((sign) => {
    const report = others[getReportName(sign)];
    return typeof report === 'string' ? [[sign, report] as const] : [];
  });
  return {
    ...subject,
    calls: Number(calls ?? 0),
    refusals: Number(refusals ?? 0),
    networks: networks instanceof Set ? networks : new Set(),
    reports: Object.fromEntries(reports),
    reported: reported instanceof Set ? reported : new Set(),
    usual: typeof usual === 'number' ? usual : undefined,
  };
}

const getReportName = (sign: AbuseSign) => `${sign}Report`;

/** Ids of tenants and keys have no `#`, except for the organization's, which begins with it. */
const getPartition = (tenant: string, keyId: string | undefined) =>
  keyId === undefined ? `activity#${tenant}` : `activity#${tenant}#${keyId}`;

const toKey = ({ tenant, keyId, hour }: Subject): Item =>
  marshall({ pk: getPartition(tenant, keyId), sk: new Date(hour).toISOString() });
