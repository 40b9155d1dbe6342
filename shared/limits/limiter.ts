import { markPassed, type PassedAlert } from './alerts.ts';
import {
  type Bucket,
  buildBucketChange,
  buildPlaceRelease,
  type CallPart,
  getBucket,
  getBucketCounters,
} from './bucket.ts';
import { type Amounts, type Cap, getAmount, isSoft, type Kind } from './caps.ts';
import { type CounterStore, type Counters, type CounterWrite, MAX_REMOVED } from './counters.ts';
import { type Lease, Leases, takeFrom } from './leases.ts';
import { describeState, type LimitState, NO_STATE } from './limit-state.ts';
import {
  getChildCounters,
  getCounterName,
  getHolderPartition,
  getPool,
  type Holder,
  type OwnCap,
  type Pool,
} from './pools.ts';
import { listStale } from './stale.ts';
import { getWindow, getWindowEnd } from './windows.ts';

/** A call before it is made. */
export interface Call {
  readonly holder: Holder;
  readonly model: string;
  readonly kind: Kind;
  readonly caps: readonly Cap[];
  /** What is reserved for a call that has a reservation already. */
  readonly part?: CallPart;
  /** The most that the call can use. */
  readonly amounts: Amounts;
}

/** A call that its limits allow. */
export interface Reservation {
  /** Epoch milliseconds of the windows in which the call counts. */
  readonly at: number;
  readonly state: LimitState;
  /** True if another call like this one may be refused until this one has settled. */
  readonly isTight: boolean;
  /** The alerts that this call has passed. */
  readonly alerts: readonly PassedAlert[];
  /** The counters of the key's item after the reservation. */
  readonly counters: Counters;
  /**
   * Replaces what was reserved by what was used, once. A failed settling is not repeated, because it may have been made: the
   * reservation then counts as used.
   * @throws the table's errors
   */
  settle(used: Amounts): Promise<void>;
}

/** A call that a limit doesn't allow. */
export interface Refusal {
  readonly cap: Cap;
  /** What is left of the cap, as far as the key knows, and what the call would take. */
  readonly left: bigint;
  readonly requested: bigint;
  /** Epoch milliseconds at which the limit's window ends; undefined for what is in flight. */
  readonly resetAt: number | undefined;
  readonly state: LimitState;
  /** The alerts that this call would have passed. */
  readonly alerts: readonly PassedAlert[];
}

/** Other callers may change a key's item between two requests of this one. */
const MAX_TRIES = 16;
/** After so many tries, calls that compete for portions below an alert pass it instead. */
const MAX_CALM_TRIES = 3;
/** A limit is tight if less is left of it than so many times what a call has reserved. */
const SLACK = 2n;
/** A reservation that is not made in the minute in which it was begun is begun again. */
const MAX_WINDOWS = 3;

/** Reserves what calls may use, and settles what they have used. One per environment. */
export class Limiter {
  readonly #store: CounterStore;
  readonly #now: () => number;
  readonly #leases: Leases;

  constructor(store: CounterStore, now: () => number = Date.now) {
    this.#store = store;
    this.#now = now;
    this.#leases = new Leases(store, now);
  }

  /**
   * Reserves the amounts of a call under each of its caps, or returns the first one that doesn't allow them. Makes one request,
   * and some more if a shared cap has to be leased from.
   * @throws the table's errors. The reservation may have been made then; it counts as used if so.
   */
  async reserve(call: Call): Promise<Reservation | Refusal> {
    const alerts: PassedAlert[] = [];
    for (let tries = 1; ; tries += 1) {
      const result = await this.#reserveAt(this.#now(), call, alerts, tries >= MAX_WINDOWS);
      if (result !== 'late') return result;
    }
  }

  /**
   * Reserves in the windows of `now`. Returns `late` if one of them ends before that is done, or others keep changing the key's item,
   * unless `isLast`.
   * @param alerts gets the alerts that are passed
   */
  async #reserveAt(
    now: number,
    call: Call,
    alerts: PassedAlert[],
    isLast: boolean,
  ): Promise<Reservation | Refusal | 'late'> {
    const { holder, amounts, model } = call;
    // A cap of which a call uses nothing doesn't refuse it: a budget, for example, if its model has no price.
    const caps = call.caps.filter(({ metric }) => getAmount(metric, amounts) > 0n);
    const pk = getHolderPartition(holder);
    const own = caps
      .filter(({ level }) => level === 'key')
      .map((cap): OwnCap => {
        const window = getWindow(cap.span, now);
        return { cap, window, counter: getCounterName(cap, window, model) };
      });
    const pools = caps.filter(({ level }) => level !== 'key').map((cap) => getPool(cap, holder, model, now));
    const refuse = (cap: Cap, left: bigint, counters?: Counters): Refusal => ({
      cap,
      left: left > 0n ? left : 0n,
      requested: getAmount(cap.metric, amounts),
      resetAt: cap.span === 'now' ? undefined : getWindowEnd(getWindow(cap.span, now)),
      state: counters === undefined ? NO_STATE : describeState(own, pools, counters, now, cap),
      alerts,
    });

    const impossible = caps.find((cap) => getAmount(cap.metric, amounts) > cap.max);
    if (impossible !== undefined) return refuse(impossible, impossible.max);

    const bucket = getBucket(call, caps, now);
    const leases = new Map<Pool, Lease>();
    let counters: Counters = {};
    let [contended] = caps;
    for (let tries = 0; tries < MAX_TRIES; tries += 1) {
      // Others may already have removed the counters of a window that has ended.
      if (getWindow('minute', this.#now()) !== getWindow('minute', now)) break;
      const result = await this.#store.write(buildReserve(pk, own, pools, amounts, { counters, leases, bucket }));
      counters = result.counters;
      if (result.isWritten) {
        const state = describeState(own, pools, counters, now);
        for (const each of own) alerts.push(...(await this.#mark(pk, each, counters[each.counter] ?? 0n, counters)));
        return {
          at: now,
          state,
          isTight: isTight(own, pools, amounts, counters),
          alerts,
          counters,
          settle: (used) => this.#settle(call, { at: now, own, pools, bucket, counters }, used),
        };
      }
      for (const each of own) {
        const { cap, counter } = each;
        const left = cap.max - (counters[counter] ?? 0n);
        if (left >= getAmount(cap.metric, amounts)) continue;
        alerts.push(...(await this.#mark(pk, each, cap.max, counters)));
        return refuse(cap, left, counters);
      }
      for (const pool of pools) {
        const names = getChildCounters(pool.id);
        const lacking = getAmount(pool.cap.metric, amounts) - (counters[names.left] ?? 0n);
        leases.delete(pool);
        if (lacking <= 0n) continue;
        contended = pool.cap;
        const lease = await this.#leases.lease(pool, lacking, counters[names.received] ?? 0n, {
          report: (passed) => alerts.push(...passed),
          isPressed: tries >= MAX_CALM_TRIES,
        });
        if (lease === undefined && isSoft(pool.cap)) continue;
        if (lease === undefined) return refuse(pool.cap, counters[names.left] ?? 0n, counters);
        leases.set(pool, lease);
      }
    }
    if (!isLast || contended === undefined) return 'late';
    // What counts only for alerts refuses no call, even if it can't be counted.
    const hard = call.caps.filter((cap) => !isSoft(cap));
    if (hard.length < call.caps.length) return this.#reserveAt(now, { ...call, caps: hard }, alerts, isLast);
    return refuse(contended, 0n, counters);
  }

  /** Marks a key's alerts up to an amount, and returns them. Makes no request if all are marked. */
  async #mark(
    pk: string,
    { cap, window, counter }: OwnCap,
    amount: bigint,
    counters: Counters,
  ): Promise<readonly PassedAlert[]> {
    let known = counters;
    for (let tries = 0; tries < MAX_TRIES; tries += 1) {
      const marked = markPassed(cap, { pk, id: counter, window }, amount, known);
      if (marked === undefined) return [];
      // The next call marks what this one can't.
      const result = await this.#store.write(marked.write).catch(() => undefined);
      if (result === undefined) return [];
      if (result.isWritten) return marked.passed;
      known = result.counters;
    }
    return [];
  }

  async #settle({ amounts, holder, model }: Call, reserved: Reserved, used: Amounts): Promise<void> {
    const { at, own, pools, bucket, counters } = reserved;
    const now = this.#now();
    const isOpen = (window: string): boolean => now < getWindowEnd(window);
    const add: Record<string, bigint> = {
      ...buildBucketChange(bucket, amounts, -1n),
      ...buildPlaceRelease(bucket, 1n),
    };
    for (const { cap, window, counter } of own) {
      const more = getAmount(cap.metric, used) - getAmount(cap.metric, amounts);
      if (more !== 0n && isOpen(window)) add[counter] = more;
    }
    for (const { id, cap, window } of pools) {
      const unused = getAmount(cap.metric, amounts) - getAmount(cap.metric, used);
      if (unused !== 0n && isOpen(window)) add[getChildCounters(id).left] = unused;
    }
    // As of the reservation: other calls may have begun since in a bucket that was empty then. Parallel calls have the same list, so
    // calls of different models begin with different counters. The next calls remove the rest.
    const remove = listStale(counters, at, model).slice(0, MAX_REMOVED);
    // A bucket that is gone was settled as stranded.
    const atLeast = { [getBucketCounters(bucket).calls]: 1n };
    await this.#store.write({ pk: getHolderPartition(holder), add, remove, atLeast });
  }
}

function isTight(own: readonly OwnCap[], pools: readonly Pool[], amounts: Amounts, counters: Counters): boolean {
  const computeNeeded = ({ metric }: Cap): bigint => SLACK * getAmount(metric, amounts);
  const isShort = ({ id, cap }: Pool): boolean => {
    const { left, beyond } = getChildCounters(id);
    return !isSoft(cap) && (counters[left] ?? 0n) + (counters[beyond] ?? 0n) < computeNeeded(cap);
  };
  return (
    own.some(({ cap, counter }) => cap.max - (counters[counter] ?? 0n) < computeNeeded(cap)) || pools.some(isShort)
  );
}

interface Reserved {
  readonly at: number;
  readonly own: readonly OwnCap[];
  readonly pools: readonly Pool[];
  readonly bucket: Bucket;
  readonly counters: Counters;
}

/** Returns the write that reserves `amounts`, and that adds portions to the key's item that were leased for it. */
function buildReserve(
  pk: string,
  own: readonly OwnCap[],
  pools: readonly Pool[],
  amounts: Amounts,
  { counters, leases, bucket }: Pick<Reserved, 'counters' | 'bucket'> & { readonly leases: ReadonlyMap<Pool, Lease> },
): CounterWrite {
  const add: Record<string, bigint> = { ...buildBucketChange(bucket, amounts, 1n) };
  const atMost: Record<string, bigint> = {};
  for (const { cap, counter } of own) {
    const amount = getAmount(cap.metric, amounts);
    add[counter] = amount;
    atMost[counter] = cap.max - amount;
  }
  const taken = pools.map((pool) => takeFrom(pool.id, counters, getAmount(pool.cap.metric, amounts), leases.get(pool)));
  return {
    pk,
    add: Object.assign(add, ...taken.map((each) => each.add)),
    set: Object.assign({}, ...taken.map((each) => each.set)),
    equal: Object.assign({}, ...taken.map((each) => each.equal)),
    atMost,
    atLeast: Object.assign({}, ...taken.map((each) => each.atLeast)),
  };
}
