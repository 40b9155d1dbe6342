import { type CounterStore, type Counters, MAX_REMOVED } from './counters.ts';
import {
  computeSums,
  getLedgerPartition,
  getMinute,
  getPageName,
  getPagePartition,
  getPoolId,
  type LedgerEntry,
  listEmptySums,
  listEntries,
  listPages,
} from './ledger-entry.ts';
import { getChildCounters } from './pools.ts';

/** The state of a job: it has not ended, it has ended or was deleted, or it doesn't exist. */
export type JobState = 'open' | 'ended' | 'absent';

export interface CleaningPorts {
  readonly store: CounterStore;
  /** Reads the state of a job, strongly consistent. Throws the table's errors. */
  readonly readState: (tenant: string, id: string) => Promise<JobState>;
  /** Returns epoch milliseconds. */
  readonly now: () => number;
}

/** A function runs for 15 minutes at most. A job that isn't found so long after its entry is never created. */
const CREATION_MINUTES = 17;
/** The most sums that one write removes: each takes two operators of its condition. */
const MAX_SUMS_REMOVED = 128;
/** Writes of a search that remove them. */
const MAX_SUM_WRITES = 8;
/** The most pages that one search reads. It ends at the first page with an ended job. */
const MAX_PAGES = 4;

/** Whether a search for ended jobs has found any, and the page at which it ended. */
export interface Cleaned {
  readonly isFound: boolean;
  readonly lastPage: string;
}

/**
 * Removes entries of ended jobs of a tenant from its item, and from the first of some pages that has any.
 * @param counters the item, as it was last seen
 * @param lastPage where the previous search ended. This one begins with the next page, so that each page has its turn
 * @throws the tables' errors
 */
export async function cleanLedger(
  ports: CleaningPorts,
  tenant: string,
  counters: Counters,
  lastPage = '',
): Promise<Cleaned> {
  let isFound = (await cleanRecent(ports, tenant, counters)) !== undefined;
  if (!isFound) await removeEmptySums(ports, tenant, counters);
  const pages = listPages(counters);
  const inTurn = [...pages.filter(({ id }) => id > lastPage), ...pages.filter(({ id }) => id <= lastPage)];
  let last = lastPage;
  for (const page of inTurn.slice(0, MAX_PAGES)) {
    last = page.id;
    if ((await cleanPage(ports, tenant, page)) === undefined) continue;
    isFound = true;
    break;
  }
  return { isFound, lastPage: last };
}

/** Removes all entries of ended jobs of a tenant, until a time in epoch milliseconds. */
export async function cleanWholeLedger(
  ports: CleaningPorts,
  tenant: string,
  counters: Counters,
  until: number,
): Promise<void> {
  const isOver = () => ports.now() >= until;
  let latest = counters;
  for (let found: Counters | undefined = counters; found !== undefined; ) {
    if (isOver()) return;
    found = await cleanRecent(ports, tenant, latest);
    latest = found ?? latest;
  }
  await removeEmptySums(ports, tenant, latest);
  for (const page of listPages(counters)) {
    if (isOver()) return;
    await cleanPage(ports, tenant, page);
  }
}

/** Removes entries of ended jobs from a tenant's item. Returns the item after that, or undefined if there were none. */
export async function cleanRecent(
  ports: CleaningPorts,
  tenant: string,
  counters: Counters,
): Promise<Counters | undefined> {
  const ended = (await findEnded(ports, tenant, listEntries(counters))).slice(0, MAX_REMOVED);
  if (ended.length === 0) return undefined;
  const removed = Object.fromEntries(ended.map(({ name, value }) => [name, value]));
  const result = await ports.store.write({
    pk: getLedgerPartition(tenant),
    add: addBack(ended.map(({ entry }) => entry)),
    remove: Object.keys(removed),
    equal: removed,
  });
  // If it isn't written, another caller has removed some of them.
  return removeEmptySums(ports, tenant, result.counters);
}

/**
 * Removes the sums of keys that have no jobs any more, so that a tenant's item doesn't list all keys that ever queued one. This is a
 * write of its own: a job that one of these keys enters meanwhile would otherwise keep all entries that are removed with the sums.
 * @returns the item after that
 */
async function removeEmptySums({ store }: CleaningPorts, tenant: string, counters: Counters): Promise<Counters> {
  const pk = getLedgerPartition(tenant);
  let after = counters;
  for (let writes = 0; writes < MAX_SUM_WRITES; writes += 1) {
    const remove = listEmptySums(after).slice(0, MAX_SUMS_REMOVED);
    if (remove.length === 0) break;
    const write = { pk, remove, equal: Object.fromEntries(remove.map((name) => [name, 0n])) };
    // The next search removes what this one can't, because the table fails or another caller has changed one of them.
    const result = await store.write(write).catch(() => undefined);
    after = result?.counters ?? after;
    if (!result?.isWritten) break;
  }
  return after;
}

async function cleanPage(
  ports: CleaningPorts,
  tenant: string,
  { id, bits }: { readonly id: string; readonly bits: bigint },
): Promise<Counters | undefined> {
  const { store, now } = ports;
  const pk = getPagePartition(tenant, id);
  const entries = listEntries(await store.read(pk)).map((each, index) => ({ ...each, bit: 1n << BigInt(index) }));
  const counted = entries.filter(({ bit }) => (bits & bit) !== 0n);
  const ended = await findEnded(ports, tenant, counted);
  if (ended.length === 0) return undefined;
  const left = ended.reduce((rest, { bit }) => rest & ~bit, bits);
  const name = getPageName(id);
  const { isWritten, counters } = await store.write({
    pk: getLedgerPartition(tenant),
    add: addBack(ended.map(({ entry }) => entry)),
    ...(left === 0n ? { remove: [name] } : { set: { [name]: left } }),
    equal: { [name]: bits },
  });
  if (isWritten && left === 0n) await store.write({ pk, set: { expiresAt: BigInt(Math.ceil(now() / 1000)) } });
  return removeEmptySums(ports, tenant, counters);
}

async function findEnded<T extends { readonly entry: LedgerEntry }>(
  { readState, now }: CleaningPorts,
  tenant: string,
  entries: readonly T[],
): Promise<T[]> {
  const lastCreated = getMinute(now()) - CREATION_MINUTES;
  const states = await Promise.all(entries.map(({ entry }) => readState(tenant, entry.id)));
  return entries.filter(({ entry }, index) => {
    const state = states[index];
    return state === 'ended' || (state === 'absent' && entry.minute < lastCreated);
  });
}

/** Returns the additions that take entries out of the sums, and give back what they have leased. */
function addBack(entries: readonly LedgerEntry[]): Counters {
  const add: Record<string, bigint> = {};
  const increase = (name: string, amount: bigint) => {
    add[name] = (add[name] ?? 0n) + amount;
  };
  for (const entry of entries) {
    for (const [name, amount] of Object.entries(computeSums(entry))) increase(name, -amount);
    for (const metric of entry.leased) increase(getChildCounters(getPoolId(metric)).left, entry.amounts[metric]);
  }
  return add;
}
