import { BoundedMap } from '../core/bounded-map.ts';
import type { Counters, CounterWrite } from './counters.ts';
import { type Lease, Leases, takeFrom } from './leases.ts';
import { type CleaningPorts, cleanLedger, cleanRecent } from './ledger-cleaning.ts';
import {
  computeSums,
  encodeEntry,
  getEntryName,
  getLedgerPartition,
  getMinute,
  getPageName,
  getPagePartition,
  getPoolId,
  getSumName,
  LEDGER_PREFIX,
  type LedgerEntry,
  listEntries,
  type QueueAmounts,
  renewEntry,
} from './ledger-entry.ts';
import { getChildCounters, listChildren, type SharedPool } from './pools.ts';
import type { QueueCap } from './queue-caps.ts';

/** A job that is about to be created. */
export interface QueuedJob {
  readonly tenant: string;
  readonly id: string;
  readonly keyId: string | undefined;
  readonly amounts: QueueAmounts;
}

/** A job that a limit doesn't allow. */
export interface QueueRefusal {
  readonly cap: QueueCap;
  /** What is left of the cap, as far as it is known, and what the job would take. */
  readonly left: bigint;
  readonly requested: bigint;
}

export interface LedgerPorts extends CleaningPorts {
  /** Returns a new id, never the same twice. */
  readonly newId: () => string;
}

/** Other callers may change an item between two requests of this one. */
const MAX_TRIES = 16;
/** After a search for ended jobs that found none, the next one waits so many milliseconds. */
const CLEANING_PAUSE_MS = 1_000;
/** Tenants that this environment remembers. */
const MAX_KNOWN = 1_000;
/** An item with so many entries is cleaned. If more than `MOVED` entries are left, they are moved to a page. */
const FULL = 64;
const MOVED = 32;
/** This is repeated after so many further entries, because an earlier caller may have died before it had moved them. */
const FULL_STEP = 8;
/** How long DynamoDB keeps a page: longer than any job waits. */
const PAGE_SECONDS = 400 * 86_400;
/** When the account's limit is reached, ended jobs of so many other tenants are looked for. */
const MAX_OTHERS = 4;

/**
 * Counts the jobs of tenants that were accepted and have not ended. A tenant's item has the sums of its jobs and an entry for each
 * of them, in the item itself or in a page. An entry and the sums change in one conditional write:
 * - A job's entry is written before the job is, so no job is without one, and the sums are at most the limits.
 * - An entry is removed only after its job was read as ended, or not found after the time that its creation can take. These
 *   states are final, so no entry of an open job is removed, and each is removed once.
 * - Nothing is written when a job ends. A caller that finds a limit reached first looks for entries of ended jobs.
 * So a crash leaves at most an entry, which the next such search or the sweep removes.
 */
export class JobLedger {
  readonly #ports: LedgerPorts;
  readonly #leases: Leases;
  readonly #cleanedUntil = new BoundedMap<string, number>(MAX_KNOWN);
  /** The page at which the last search for ended jobs of a tenant ended. */
  readonly #lastPages = new BoundedMap<string, string>(MAX_KNOWN);

  constructor(ports: LedgerPorts) {
    this.#ports = ports;
    this.#leases = new Leases(ports.store, ports.now);
  }

  /**
   * Enters a job that is about to be created, once, or returns the first limit that doesn't allow it. Makes one request, and some
   * more if a limit is reached, if portions of the account's limit are leased, or if entries are moved.
   * @param onError called if entries could not be moved
   * @throws the tables' errors. The job may have been entered then
   */
  async enter(
    job: QueuedJob,
    allCaps: readonly QueueCap[],
    onError: (what: string, thrown: unknown) => void,
  ): Promise<QueueRefusal | undefined> {
    const { store, now } = this.#ports;
    const caps = allCaps.filter(({ metric }) => job.amounts[metric] > 0n);
    const [first] = caps;
    if (first === undefined) return undefined;
    const refuse = (cap: QueueCap, left: bigint): QueueRefusal => {
      return { cap, left: left > 0n ? left : 0n, requested: job.amounts[cap.metric] };
    };
    const impossible = caps.find(({ metric, max }) => job.amounts[metric] > max);
    if (impossible !== undefined) return refuse(impossible, impossible.max);

    const entry: LedgerEntry = {
      id: job.id,
      keyId: caps.some(({ level }) => level === 'key') ? job.keyId : undefined,
      leased: caps.filter(({ level }) => level === 'account').map(({ metric }) => metric),
      minute: getMinute(now()),
      amounts: job.amounts,
    };
    const name = getEntryName(entry);
    const leases = new Map<QueueCap, Lease>();
    let counters: Counters = {};
    let mayClean = true;
    for (let tries = 0; tries < MAX_TRIES; tries += 1) {
      const result = await store.write(buildEntering(job.tenant, entry, caps, { counters, leases }));
      counters = result.counters;
      if (result.isWritten) {
        await this.#move(job.tenant, counters).catch((thrown: unknown) => onError('entries not moved', thrown));
        return undefined;
      }
      const earlier = counters[name];
      if (earlier !== undefined) {
        if (await this.#renew(job.tenant, name, earlier, entry.minute)) return undefined;
        continue;
      }
      const full = await this.#findFull(job, entry, caps, counters, leases);
      if (full === undefined) continue;
      if (!mayClean || now() < (this.#cleanedUntil.get(job.tenant) ?? 0)) return refuse(full.cap, full.left);
      mayClean = false;
      if (await this.#clean(job.tenant, counters, full.cap)) continue;
      this.#cleanedUntil.set(job.tenant, now() + CLEANING_PAUSE_MS);
      return refuse(full.cap, full.left);
    }
    return refuse(first, 0n);
  }

  /**
   * Gives this call's time to an entry that an earlier call has written, such as one for an earlier delivery of the message.
   * Otherwise the entry could be removed before this call has created the job. Returns false if it was removed.
   */
  async #renew(tenant: string, name: string, value: bigint, minute: number): Promise<boolean> {
    const renewed = renewEntry(value, minute);
    if (renewed === value) return true;
    const write = { pk: getLedgerPartition(tenant), set: { [name]: renewed }, equal: { [name]: value } };
    return (await this.#ports.store.write(write)).isWritten;
  }

  /** Finds the limit that refused a write. Leases the portions that it lacked. */
  async #findFull(
    { tenant, amounts }: QueuedJob,
    { keyId }: LedgerEntry,
    caps: readonly QueueCap[],
    counters: Counters,
    leases: Map<QueueCap, Lease>,
  ): Promise<{ readonly cap: QueueCap; readonly left: bigint } | undefined> {
    for (const cap of caps) {
      const { level, metric, max } = cap;
      if (level !== 'account') {
        const left = max - (counters[getSumName(metric, level === 'key' ? keyId : undefined)] ?? 0n);
        if (left < amounts[metric]) return { cap, left };
        continue;
      }
      const names = getChildCounters(getPoolId(metric));
      const left = counters[names.left] ?? 0n;
      if (left >= amounts[metric]) continue;
      const lease = await this.#leases.lease(
        getQueuePool(cap, tenant),
        amounts[metric] - left,
        counters[names.received] ?? 0n,
        NO_ALERTS,
      );
      if (lease === undefined) return { cap, left };
      leases.set(cap, lease);
    }
    return undefined;
  }

  /** Removes entries of ended jobs. Returns whether there were any. */
  async #clean(tenant: string, counters: Counters, cap: QueueCap): Promise<boolean> {
    const { level, metric } = cap;
    let isFound = await this.#cleanOne(tenant, counters);
    if (level !== 'account') return isFound;
    const root = await this.#ports.store.read(ACCOUNT_PK);
    const others = listChildren(getPoolId(metric), root).filter((name) => name !== tenant);
    for (const other of others.slice(0, MAX_OTHERS)) {
      const isCleaned = await this.#cleanOne(other, await this.#ports.store.read(getLedgerPartition(other)));
      isFound ||= isCleaned;
    }
    if (isFound) this.#leases.expectReturns(getQueuePool(cap, tenant));
    return isFound;
  }

  async #cleanOne(tenant: string, counters: Counters): Promise<boolean> {
    const { isFound, lastPage } = await cleanLedger(this.#ports, tenant, counters, this.#lastPages.get(tenant));
    this.#lastPages.set(tenant, lastPage);
    return isFound;
  }

  /** Moves a tenant's entries to a page if they are many, so that its item stays small. The sums stay as they are. */
  async #move(tenant: string, counters: Counters): Promise<void> {
    const { length } = listEntries(counters);
    if (length < FULL || length % FULL_STEP !== 0) return;
    const { store, now, newId } = this.#ports;
    const after = (await cleanRecent(this.#ports, tenant, counters)) ?? counters;
    const entries = listEntries(after)
      .sort((a, b) => a.entry.minute - b.entry.minute)
      .slice(0, FULL);
    if (entries.length < MOVED) return;
    const values = Object.fromEntries(entries.map(({ name, value }) => [name, value]));
    const id = `${getMinute(now())}-${newId()}`;
    const expiresAt = BigInt(Math.ceil(now() / 1000) + PAGE_SECONDS);
    // A crash between the two leaves a page that no item names.
    await store.write({ pk: getPagePartition(tenant, id), set: { ...values, expiresAt } });
    await store.write({
      pk: getLedgerPartition(tenant),
      set: { [getPageName(id)]: (1n << BigInt(entries.length)) - 1n },
      remove: Object.keys(values),
      equal: values,
    });
  }
}

/** The root of the account's pools. */
const ACCOUNT_PK = 'account#jobs';

/** Limits on queued work have no alerts. */
const NO_ALERTS = { report: () => {}, isPressed: false };

function getQueuePool({ level, metric, max }: QueueCap, tenant: string): SharedPool {
  const nodes = [
    { pk: getLedgerPartition(tenant), name: tenant },
    { pk: ACCOUNT_PK, name: '' },
  ];
  return { id: getPoolId(metric), cap: { level, max }, window: 'now', nodes, leafPrefix: LEDGER_PREFIX };
}

function buildEntering(
  tenant: string,
  entry: LedgerEntry,
  caps: readonly QueueCap[],
  { counters, leases }: { readonly counters: Counters; readonly leases: ReadonlyMap<QueueCap, Lease> },
): CounterWrite {
  const { amounts, keyId } = entry;
  const name = getEntryName(entry);
  const taken = caps
    .filter(({ level }) => level === 'account')
    .map((cap) => takeFrom(getPoolId(cap.metric), counters, amounts[cap.metric], leases.get(cap)));
  const atMost = Object.fromEntries(
    caps
      .filter(({ level }) => level !== 'account')
      .map(({ level, metric, max }) => [
        getSumName(metric, level === 'key' ? keyId : undefined),
        max - amounts[metric],
      ]),
  );
  return {
    pk: getLedgerPartition(tenant),
    add: Object.assign(computeSums(entry), ...taken.map((each) => each.add)),
    set: Object.assign({ [name]: encodeEntry(entry) }, ...taken.map((each) => each.set)),
    equal: Object.assign({ [name]: undefined }, ...taken.map((each) => each.equal)),
    atMost,
    atLeast: Object.assign({}, ...taken.map((each) => each.atLeast)),
  };
}
