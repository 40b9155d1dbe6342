import type { Cap, LeasedCap, Level, Metric } from './caps.ts';
import type { Counters } from './counters.ts';
import { getWindow, getWindowEnd } from './windows.ts';

/**
 * A cap that several keys share, in one window. Its root item grants portions to its children, and the last of the chain,
 * a key's item, takes calls from the portions that it has. The counters of a pool in an item are cumulative, so that a crash
 * between two items loses nothing: the next request repeats what is missing, and repeating it changes nothing.
 */
export interface Pool extends SharedPool {
  readonly cap: Cap;
}

/** What leases need to know of a pool. */
export interface SharedPool {
  readonly id: string;
  readonly cap: LeasedCap;
  readonly window: string;
  /** The item that takes from the pool, the items that it leases through, and the root. */
  readonly nodes: readonly Node[];
  /** The beginning of the partition keys of the items that take from the pool, which their names follow. */
  readonly leafPrefix: string;
}

export interface Node {
  readonly pk: string;
  /** Its name among the children of the next node. */
  readonly name: string;
}

const LEVELS: Readonly<Record<Level, string>> = { account: 'a', project: 'p', model: 'm', key: 'k' };
/** The letter of each metric in names of counters. */
export const METRICS: Readonly<Record<Metric, string>> = {
  requests: 'r',
  tokens: 't',
  spend: 'c',
  answers: 'f',
  streams: 's',
  resumed: 'u',
};

/** A key's own cap, and its counter in one window. */
export interface OwnCap {
  readonly cap: Cap;
  readonly window: string;
  readonly counter: string;
}

/** The caller whose key's item a call is counted in. */
export interface Holder {
  readonly tenant: string;
  /** Id of the key, or another name for callers without one. */
  readonly keyId: string;
}

/** Returns the partition key of a key's item. */
export function getHolderPartition({ tenant, keyId }: Holder): string {
  return `key#${tenant}#${keyId}`;
}

/** Returns the name of the counter of a key's own cap, or the id of the pool of a shared one. */
export function getCounterName(
  { level, metric }: Pick<Cap, 'level' | 'metric'>,
  window: string,
  model: string,
): string {
  const id = `${LEVELS[level]}.${METRICS[metric]}.${window}`;
  return level === 'model' ? `${id}.${model}` : id;
}

/** Returns the pool of a shared cap for the window at `now` (epoch milliseconds). */
export function getPool(cap: Cap, holder: Holder, model: string, now: number): Pool {
  const window = getWindow(cap.span, now);
  const { tenant, keyId } = holder;
  const leafPrefix = getHolderPartition({ tenant, keyId: '' });
  const key = { pk: getHolderPartition(holder), name: keyId };
  const project = { pk: `project#${tenant}#${window}`, name: tenant };
  const nodes = {
    key: [key],
    model: [key, { pk: `model#${tenant}#${window}#${model}`, name: tenant }],
    project: [key, project],
    account: [key, project, { pk: `account#${window}`, name: '' }],
  }[cap.level];
  return { id: getCounterName(cap, window, model), cap, window, nodes, leafPrefix };
}

/** Returns the pool as the child `name` of `nodes[index]` sees it: that of another item that takes from it, or of another project. */
export function getChildPool(pool: SharedPool, index: number, name: string): SharedPool {
  const leafPrefix = index === 2 ? getHolderPartition({ tenant: name, keyId: '' }) : pool.leafPrefix;
  const nodes =
    index === 2
      ? [
          { pk: '', name: '' },
          { pk: `project#${name}#${pool.window}`, name },
        ]
      : [{ pk: `${leafPrefix}${name}`, name }];
  return { ...pool, leafPrefix, nodes: [...nodes, ...pool.nodes.slice(index)] };
}

/** Names of a pool's counters in the item of a child. */
export function getChildCounters(id: string) {
  return {
    /** What calls and children may still take. */
    left: `L.${id}`,
    /** All that was received from the parent. */
    received: `R.${id}`,
    /** All that was given back for other children. */
    returned: `Q.${id}`,
    /** What the parents had left when the last portion was received; for response headers. */
    beyond: `F.${id}`,
  };
}

/** Names of a pool's counters in the item of a parent. */
export function getParentCounters(id: string, child: string) {
  return {
    /** All that was granted to the child. */
    granted: `G.${id}.${child}`,
    /** What is known to be given back by the child. */
    recovered: `B.${id}.${child}`,
  };
}

/** Name of the sum of all grants of a root, less what was given back. */
export function getTotalName(id: string): string {
  return `T.${id}`;
}

/**
 * Name of the counter of a parent's writes that have forgotten children. What a forgotten child has received is known from its own
 * item, if that was read later than this counter, and the counter hasn't changed since.
 */
export const FORGETS = 'E';

/** True if the parents of a pool may forget children: items of other windows expire instead. */
export function forgetsChildren({ window }: SharedPool): boolean {
  return window === 'now';
}

/** Lists the children of a parent that have got portions, those with the largest first. */
export function listChildren(id: string, counters: Counters): string[] {
  const prefix = `G.${id}.`;
  const computeNet = (child: string): bigint => {
    const { granted, recovered } = getParentCounters(id, child);
    return (counters[granted] ?? 0n) - (counters[recovered] ?? 0n);
  };
  return Object.keys(counters)
    .filter((name) => name.startsWith(prefix))
    .map((name) => name.slice(prefix.length))
    .sort((a, b) => Number(computeNet(b) - computeNet(a)));
}

/** How long DynamoDB keeps the item of a window after its end: long enough for a look at it. */
const KEPT_MS = 86_400_000;

/** Returns the counter by which DynamoDB deletes the item of a pool's window, in epoch seconds. */
export function buildExpiry({ window }: SharedPool): Counters {
  const end = getWindowEnd(window);
  return Number.isFinite(end) ? { expiresAt: BigInt(Math.ceil((end + KEPT_MS) / 1000)) } : {};
}
