import { BoundedMap } from '../core/bounded-map.ts';
import { computeCeiling, markPassed, type ReportAlerts } from './alerts.ts';
import { isSoft } from './caps.ts';
import type { CounterStore, Counters, CounterWrite } from './counters.ts';
import {
  buildExpiry,
  FORGETS,
  forgetsChildren,
  getChildCounters,
  getChildPool,
  getParentCounters,
  getTotalName,
  listChildren,
  type Node,
  type SharedPool,
} from './pools.ts';

/** What a child has received of a pool in all, and what is left beyond it. */
export interface Lease {
  readonly granted: bigint;
  readonly beyond: bigint;
}

/** A call that leases. */
export interface Progress {
  readonly report: ReportAlerts;
  /** True if others kept taking what the call had leased. An alert is then passed without reclaiming portions first. */
  readonly isPressed: boolean;
}

/** A child gets this share of what is left, so that portions shrink near the cap, or what it needs if that is more. */
const SHARE = 4n;
/** Of a cap that exists only for alerts, a portion for about so many calls is leased. */
const SOFT_CALLS = 256n;
/** Other callers may change an item between two requests of this one. */
const MAX_TRIES = 8;
/** How many children are asked for what they have left. */
const MAX_RECLAIMED = 16;
/** After a reclaim that found nothing, none is tried for so long, in milliseconds. */
const RECLAIM_PAUSE_MS = 1_000;
/** Items of windows that this environment remembers. */
const MAX_KNOWN = 1_000;

/**
 * Leases portions of shared caps to keys. What a root has granted never exceeds its cap, and no child can use more than it
 * has received.
 */
export class Leases {
  readonly #store: CounterStore;
  readonly #now: () => number;
  /** The counters of parents, as the last write returned them. They only save requests: every write has its conditions. */
  readonly #known = new BoundedMap<string, Counters>(MAX_KNOWN);
  readonly #emptyUntil = new BoundedMap<string, number>(MAX_KNOWN);

  constructor(store: CounterStore, now: () => number) {
    this.#store = store;
    this.#now = now;
  }

  /**
   * Gets a portion of a pool for its key's item, from other keys if nothing else is left.
   * @param need what the key lacks, and `received` what its item has received so far
   * @returns undefined if the cap doesn't allow as much
   */
  lease(pool: SharedPool, need: bigint, received: bigint, progress: Progress): Promise<Lease | undefined> {
    return this.#lease(pool, 1, need, { ...progress, received });
  }

  /** Makes the next lease look again for what others don't use of a pool, because they use less than before. */
  expectReturns({ id, nodes }: SharedPool): void {
    for (const { pk } of nodes) this.#emptyUntil.delete(`${id} ${pk}`);
  }

  /** As `lease`, from `nodes[index]` for the node before it. */
  async #lease(
    pool: SharedPool,
    index: number,
    need: bigint,
    { received, report, isPressed }: Progress & { readonly received: bigint },
  ): Promise<Lease | undefined> {
    const { parent, child, isRoot } = getRelation(pool, index);
    const { granted } = getParentCounters(pool.id, child.name);
    const own = getChildCounters(pool.id);
    const known = this.#known.get(parent.pk);
    let isFresh = known === undefined && forgetsChildren(pool);
    let counters = known ?? (isFresh ? await this.#store.read(parent.pk) : {});
    let mayReclaim = true;
    let arrival: Lease | undefined;
    for (let tries = 0; tries < MAX_TRIES; tries += 1) {
      const ceiling = computeCeiling(pool.cap, pool.id, pool.window, counters);
      const beyond = isRoot ? ceiling - (counters[getTotalName(pool.id)] ?? 0n) : (counters[own.left] ?? 0n);
      // Granted before, but not received: the caller died between the two writes, or is about to make the second.
      const pending = (counters[granted] ?? 0n) - received;
      if (pending >= need) return { granted: counters[granted] ?? 0n, beyond: clamp(beyond) };
      const lacking = need - clamp(pending);
      const arriving = arrival === undefined ? 0n : arrival.granted - (counters[own.received] ?? 0n);
      const available = beyond + clamp(arriving);
      if (available < lacking) {
        if (!isFresh) {
          counters = await this.#store.read(parent.pk);
          isFresh = true;
          continue;
        }
        arrival = isRoot
          ? undefined
          : await this.#lease(pool, index + 1, lacking - beyond, {
              received: counters[own.received] ?? 0n,
              report,
              isPressed,
            });
        if (arrival !== undefined) continue;
        if (isPressed && isRoot && ceiling < pool.cap.max) mayReclaim = false;
        if (mayReclaim && (await this.#reclaim(pool, index, lacking - beyond, counters))) {
          mayReclaim = false;
          counters = await this.#store.read(parent.pk);
          continue;
        }
        const needed = (counters[getTotalName(pool.id)] ?? 0n) + lacking;
        const marked = isRoot ? markPassed(pool.cap, { pk: parent.pk, ...pool }, needed, counters) : undefined;
        if (marked === undefined) return undefined;
        const result = await this.#store.write({ ...marked.write, set: { ...marked.write.set, ...buildExpiry(pool) } });
        if (result.isWritten) report(marked.passed);
        counters = result.counters;
        continue;
      }
      const share = available / SHARE;
      const largest = isSoft(pool.cap) && share > lacking * SOFT_CALLS ? lacking * SOFT_CALLS : share;
      const portion = lacking > largest ? lacking : largest;
      const taken: Taking = isRoot
        ? { add: { [getTotalName(pool.id)]: portion }, atMost: { [getTotalName(pool.id)]: ceiling - portion } }
        : takeFrom(pool.id, counters, portion, arrival);
      const grant = await this.#buildGrant(pool, child, portion, counters);
      const result = await this.#store.write({
        pk: parent.pk,
        add: { ...taken.add, ...grant.add },
        set: { ...taken.set, ...grant.set, ...buildExpiry(pool) },
        atMost: taken.atMost ?? {},
        atLeast: { ...taken.atLeast, ...grant.atLeast },
        equal: { ...taken.equal, ...grant.equal },
      });
      counters = result.counters;
      isFresh = true;
      this.#known.set(parent.pk, counters);
      if (result.isWritten) {
        const left = isRoot
          ? pool.cap.max - (counters[getTotalName(pool.id)] ?? 0n)
          : (counters[own.left] ?? 0n) + (counters[own.beyond] ?? 0n);
        return { granted: counters[granted] ?? 0n, beyond: clamp(left) };
      }
    }
    return undefined;
  }

  /**
   * Returns the part of a parent's write that grants a portion to a child. A child that the parent doesn't list may have been forgotten.
   * It is then adopted with all that it has received, and given back, so far.
   */
  async #buildGrant(
    pool: SharedPool,
    child: Node,
    portion: bigint,
    counters: Counters,
  ): Promise<Omit<CounterWrite, 'pk'>> {
    const { granted, recovered } = getParentCounters(pool.id, child.name);
    if (!forgetsChildren(pool)) return { add: { [granted]: portion } };
    if (counters[granted] !== undefined) return { add: { [granted]: portion }, atLeast: { [granted]: 1n } };
    // Read after the parent: what the child has received can't change while the parent neither lists nor forgets it.
    const received = (await this.#store.read(child.pk))[getChildCounters(pool.id).received] ?? 0n;
    return {
      set: { [granted]: received + portion, ...(received > 0n && { [recovered]: received }) },
      equal: { [granted]: undefined, [FORGETS]: counters[FORGETS] },
    };
  }

  /**
   * Takes back what the children of `nodes[index]` don't use, up to `want` if there is as much.
   * @returns false if there is nothing
   */
  async #reclaim(pool: SharedPool, index: number, want: bigint, counters: Counters): Promise<boolean> {
    const { parent, child, isRoot } = getRelation(pool, index);
    const place = `${pool.id} ${parent.pk}`;
    if (this.#now() < (this.#emptyUntil.get(place) ?? 0)) return false;
    let gained = 0n;
    for (const name of listChildren(pool.id, counters).slice(0, MAX_RECLAIMED)) {
      if (gained >= want) break;
      const names = getParentCounters(pool.id, name);
      // The caller's own item has nothing to give. A reclaim that died may not have recovered what it gave, though.
      const more = name === child.name ? 0n : want - gained;
      const returned = await this.#takeBack(pool, index, name, more, counters[names.granted] ?? 0n);
      let known: Counters = counters;
      for (let tries = 0; tries < MAX_TRIES; tries += 1) {
        const recovered = known[names.recovered];
        const found = returned - (recovered ?? 0n);
        // A child that is not listed was forgotten, with all that it had given back.
        if (found <= 0n || known[names.granted] === undefined) break;
        const { isWritten, counters: after } = await this.#store.write({
          pk: parent.pk,
          set: { [names.recovered]: returned },
          add: isRoot ? { [getTotalName(pool.id)]: -found } : { [getChildCounters(pool.id).left]: found },
          atLeast: { [names.granted]: 1n },
          equal: { [names.recovered]: recovered },
        });
        known = after;
        if (!isWritten) continue;
        gained += found;
        break;
      }
    }
    if (gained === 0n) this.#emptyUntil.set(place, this.#now() + RECLAIM_PAUSE_MS);
    return gained > 0n;
  }

  /**
   * Makes a child give back what it doesn't use.
   * @param granted what its parent has granted to it
   * @returns all that it has given back so far
   */
  async #takeBack(pool: SharedPool, index: number, name: string, want: bigint, granted: bigint): Promise<bigint> {
    const ofChild = getChildPool(pool, index, name);
    const pk = ofChild.nodes[index - 1]?.pk ?? '';
    const names = getChildCounters(pool.id);
    let counters = await this.#store.read(pk);
    for (let tries = 0; tries < MAX_TRIES; tries += 1) {
      const pending = clamp(granted - (counters[names.received] ?? 0n));
      const free = (counters[names.left] ?? 0n) + pending;
      // A project that has nothing left itself may have keys that do.
      if (free < want && index > 1 && tries === 0 && (await this.#reclaim(ofChild, index - 1, want - free, counters))) {
        counters = await this.#store.read(pk);
        continue;
      }
      if (free <= 0n || want === 0n) break;
      // At least half of it: a child that has stopped calling is then asked only a few times.
      const back = want > free / 2n ? (want < free ? want : free) : free / 2n || free;
      const taken = takeFrom(pool.id, counters, back, { granted, beyond: 0n });
      const result = await this.#store.write({ ...taken, pk, add: { ...taken.add, [names.returned]: back } });
      counters = result.counters;
      if (result.isWritten) break;
    }
    return counters[names.returned] ?? 0n;
  }
}

type Taking = Omit<CounterWrite, 'pk'> & { readonly add: Counters };

/**
 * Returns the part of a write that takes `amount` from what an item has left of a pool, and first adds what has arrived.
 * @param counters the item as far as it is known
 */
export function takeFrom(id: string, counters: Counters, amount: bigint, arrival: Lease | undefined): Taking {
  const { left, received, beyond } = getChildCounters(id);
  const before = counters[received];
  const arriving = arrival === undefined ? 0n : arrival.granted - (before ?? 0n);
  if (arrival === undefined || arriving <= 0n) {
    return { add: { [left]: -amount }, atLeast: { [left]: amount } };
  }
  return {
    add: { [left]: arriving - amount },
    set: { [received]: arrival.granted, [beyond]: arrival.beyond },
    equal: { [received]: before },
    // An item that has received nothing has nothing left.
    ...(before === undefined ? {} : { atLeast: { [left]: amount - arriving } }),
  };
}

function getRelation({ nodes }: SharedPool, index: number): { parent: Node; child: Node; isRoot: boolean } {
  const [child, parent] = [nodes[index - 1], nodes[index]];
  if (child === undefined || parent === undefined) throw new Error(`A pool has no node ${index}`);
  return { parent, child, isRoot: index === nodes.length - 1 };
}

function clamp(value: bigint): bigint {
  return value > 0n ? value : 0n;
}
