import { setTimeout as sleep } from 'node:timers/promises';
import { listBuckets } from './bucket.ts';
import type { Kind } from './caps.ts';
import type { CounterStore, Counters, CounterWrite } from './counters.ts';
import { takeFrom } from './leases.ts';
import { getPoolId, LEDGER_PREFIX } from './ledger-entry.ts';
import {
  FORGETS,
  getChildCounters,
  getCounterName,
  getHolderPartition,
  getParentCounters,
  getTotalName,
  listChildren,
} from './pools.ts';
import { QUEUE_METRICS } from './queue-caps.ts';
import { MINUTE_MS } from './windows.ts';

/** An item that grants portions of pools of what is in flight. */
interface Parent {
  readonly pk: string;
  /** The ids of the pools of which it may have granted portions. */
  readonly pools: readonly string[];
  /** The beginning and the end of the partition keys of its children, between which their names are. */
  readonly children: readonly [string, string];
  /** True if its children are parents, too. */
  readonly isTop: boolean;
}

/** A child of a parent that holds nothing of a pool, and all that it was ever granted. */
interface IdleChild {
  readonly pool: string;
  readonly name: string;
  readonly granted: bigint;
}

export interface ForgettingPorts {
  readonly store: CounterStore;
  /** Returns epoch milliseconds. */
  readonly now: () => number;
  /** Called if an item could not be written. The next sweep tries it again. */
  readonly onError: (what: string, thrown: unknown) => void;
  /** Waits for so many milliseconds. Default: a timer. */
  readonly pause?: (ms: number) => Promise<unknown>;
  /** Minutes for which a key must not have called. Default: 15, because others would soon lease again what is taken back from them. */
  readonly idleMinutes?: number;
}

/** The beginnings of the partition keys of parents, as `CounterStore.list` takes them. */
export const PARENTS: readonly string[] = ['project#*#now', 'model#*#now#', 'account#now', 'account#jobs'];

const KINDS = ['answers', 'streams', 'resumed'] as const satisfies Kind[];
/** The counters that a child has of the pools of what is in flight. */
const IN_FLIGHT = /^[LRQ]\.(?:[pma]\.[a-z]\.now(?:\.|$)|q\.)/;
/** Parents, and children of each, whose items are changed at the same time. */
const PARALLEL_PARENTS = 4;
const PARALLEL_CHILDREN = 16;
/** Children that one write forgets, each with two counters. The expressions of a write may have 4 KB. */
const MAX_FORGOTTEN = 32;
/** Other callers may change an item between two requests of this one. */
const MAX_TRIES = 8;
const IDLE_MINUTES = 15;
/** A parent that forgets refuses children that it adopts at the same moment. They try again in less than this time. */
const PAUSE_MS = 100;

/**
 * Makes parents of pools of what is in flight forget the children that hold nothing, because the items of these pools never expire:
 * they would grow with each key and project that has ever called. What idle children have left is taken back first.
 *
 * A parent forgets a child if all that it has granted was given back, on the condition that it has granted nothing since. What the
 * child holds changes only after a grant, so nothing can be on its way then. When the child leases again, its parent adopts it with
 * what it has received so far (`Leases`).
 */
export class IdleChildren {
  readonly #items = new Map<string, Counters>();
  readonly #seen = new Set<string>();
  readonly #lastMinutes = new Map<string, number>();

  /** Remembers what is needed of an item. It may have changed until `forget`: each write has its conditions. */
  see(pk: string, counters: Counters): void {
    this.#seen.add(pk);
    const minutes = listBuckets(counters).map(({ minute }) => minute);
    if (minutes.length > 0) this.#lastMinutes.set(pk, Math.max(...minutes));
    const isParent = describeParent(pk) !== undefined;
    const needed = Object.entries(counters).filter(([name]) => isParent || IN_FLIGHT.test(name));
    if (needed.length > 0) this.#items.set(pk, Object.fromEntries(needed));
  }

  /**
   * Forgets the idle children of the parents that were seen. Makes no request for a parent without any.
   * @param until epoch milliseconds after which no further child is looked at
   * @param isComplete false if there are items that were not seen. Children among them are left alone
   */
  async forget(ports: ForgettingPorts, until: number, isComplete: boolean): Promise<void> {
    const parents = [...this.#items.keys()].map(describeParent).filter((each) => each !== undefined);
    // What projects get back from their keys, the account gets back from projects.
    for (const isTop of [false, true]) {
      const level = parents.filter((parent) => parent.isTop === isTop);
      for (const some of divide(level, PARALLEL_PARENTS)) {
        await Promise.all(
          some.map((parent) =>
            this.#forgetChildren(ports, parent, until, isComplete).catch((thrown: unknown) =>
              ports.onError('idle keys or projects not forgotten', thrown),
            ),
          ),
        );
      }
    }
  }

  async #forgetChildren(ports: ForgettingPorts, parent: Parent, until: number, isComplete: boolean): Promise<void> {
    const { store, now, onError, pause = sleep, idleMinutes = IDLE_MINUTES } = ports;
    const idleSince = now() / MINUTE_MS - idleMinutes;
    let counters = this.#items.get(parent.pk) ?? {};
    const names = [...new Set(parent.pools.flatMap((pool) => listChildren(pool, counters)))].filter((name) => {
      const pk = getChildPartition(parent, name);
      return (this.#lastMinutes.get(pk) ?? 0) <= idleSince && (isComplete || this.#seen.has(pk));
    });
    for (const some of divide(names, PARALLEL_CHILDREN)) {
      if (now() >= until) return;
      const known = counters;
      const found = await Promise.all(
        some.map((name) =>
          this.#emptyChild(store, parent, name, known).catch((thrown: unknown) => {
            onError('what a key or project does not use not taken back', thrown);
            return [];
          }),
        ),
      );
      for (const idle of divide(found.flat(), MAX_FORGOTTEN)) {
        counters = await forgetChildren(store, parent.pk, idle, counters);
        await pause(PAUSE_MS);
      }
    }
    this.#items.set(parent.pk, counters);
  }

  /** Takes back all that a child has of the pools of which it uses nothing. Returns these pools, if nothing is left of them. */
  async #emptyChild(store: CounterStore, parent: Parent, name: string, ofParent: Counters): Promise<IdleChild[]> {
    const pk = getChildPartition(parent, name);
    const before = this.#items.get(pk) ?? {};
    const idle = parent.pools.flatMap((pool): IdleChild[] => {
      const granted = ofParent[getParentCounters(pool, name).granted];
      return granted !== undefined && isIdle(pool, granted, before) ? [{ pool, name, granted }] : [];
    });
    const holding = idle.filter((each) => !hasNothing(each, before));
    if (holding.length === 0) return idle;
    const { counters } = await store.write(buildReturn(pk, holding, before));
    return idle.filter((each) => hasNothing(each, counters));
  }
}

const getChildPartition = ({ children: [prefix, end] }: Parent, name: string): string => `${prefix}${name}${end}`;

/** Returns what a partition key says of a parent, or undefined if its item grants nothing of what is in flight. */
function describeParent(pk: string): Parent | undefined {
  const listPools = (levels: readonly ('account' | 'project' | 'model')[], model = '') =>
    levels.flatMap((level) => KINDS.map((metric) => getCounterName({ level, metric }, 'now', model)));
  const [kind, tenant = '', window, ...model] = pk.split('#');
  const keys = [getHolderPartition({ tenant, keyId: '' }), ''] as const;
  if (pk === 'account#jobs')
    return { pk, pools: QUEUE_METRICS.map(getPoolId), children: [LEDGER_PREFIX, ''], isTop: true };
  if (pk === 'account#now') return { pk, pools: listPools(['account']), children: ['project#', '#now'], isTop: true };
  if (window !== 'now') return undefined;
  if (kind === 'project') return { pk, pools: listPools(['project', 'account']), children: keys, isTop: false };
  if (kind === 'model') return { pk, pools: listPools(['model'], model.join('#')), children: keys, isTop: false };
  return undefined;
}

/** True if a child has left all that it holds, including what has not arrived. */
function isIdle(pool: string, granted: bigint, child: Counters): boolean {
  const { left, received, returned } = getChildCounters(pool);
  const all = child[received] ?? 0n;
  return all <= granted && (child[left] ?? 0n) === all - (child[returned] ?? 0n);
}

/** True if a child has given back all that it was granted. */
function hasNothing({ pool, granted }: IdleChild, child: Counters): boolean {
  const { received, returned } = getChildCounters(pool);
  return child[received] === granted && child[returned] === granted;
}

/** Returns the write by which a child gives back all that it has left of pools. */
function buildReturn(pk: string, idle: readonly IdleChild[], counters: Counters): CounterWrite {
  const parts = idle.map(({ pool, granted }) => {
    const { returned } = getChildCounters(pool);
    const all = granted - (counters[returned] ?? 0n);
    const taken = takeFrom(pool, counters, all, { granted, beyond: 0n });
    return { ...taken, add: { ...taken.add, [returned]: all } };
  });
  return {
    pk,
    add: Object.assign({}, ...parts.map(({ add }) => add)),
    set: Object.assign({}, ...parts.map(({ set }) => set)),
    equal: Object.assign({}, ...parts.map(({ equal }) => equal)),
    atLeast: Object.assign({}, ...parts.map(({ atLeast }) => atLeast)),
  };
}

/** Removes idle children from a parent's item, and adds what they have given back. Returns the item as it was last seen. */
async function forgetChildren(
  store: CounterStore,
  pk: string,
  idle: readonly IdleChild[],
  counters: Counters,
): Promise<Counters> {
  let known = counters;
  for (let tries = 0; tries < MAX_TRIES; tries += 1) {
    const unchanged = idle.filter(
      ({ pool, name, granted }) => known[getParentCounters(pool, name).granted] === granted,
    );
    if (unchanged.length === 0) break;
    const result = await store.write(buildForgetting(pk, unchanged, known));
    known = result.counters;
    if (result.isWritten) break;
  }
  return known;
}

function buildForgetting(pk: string, idle: readonly IdleChild[], counters: Counters): CounterWrite {
  const add: Record<string, bigint> = { [FORGETS]: 1n };
  const equal: Record<string, bigint | undefined> = {};
  for (const { pool, name, granted } of idle) {
    const names = getParentCounters(pool, name);
    equal[names.granted] = granted;
    equal[names.recovered] = counters[names.recovered];
    const found = granted - (counters[names.recovered] ?? 0n);
    if (found === 0n) continue;
    const total = getTotalName(pool);
    // Only a root has a total. Another parent has it left for its other children.
    const [changed, change] = counters[total] === undefined ? [getChildCounters(pool).left, found] : [total, -found];
    add[changed] = (add[changed] ?? 0n) + change;
  }
  return { pk, add, remove: Object.keys(equal), equal };
}

function divide<T>(values: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(values.length / size) }, (_, index) =>
    values.slice(index * size, (index + 1) * size),
  );
}
