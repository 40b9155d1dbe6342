import * as v from 'valibot';
import { type AttributeValue, type Item, marshall } from '../../aws/attributes.ts';
import type { Lease, PrefixHolder, Tier, UnmetDemand, Waiter, Worker } from './worker.ts';

/*
 * The items of the fleet table. A fleet's workers, waiters and unmet demand share a partition key, so that one query
 * reads all of them. Each prefix of the directory has its own. A lease is stored as a list: a large fleet has thousands
 * of them, and attribute names would be most of the bytes.
 */

export const WORKER_PREFIX = 'worker#';
export const WAITER_PREFIX = 'waiter#';
export const UNMET_PREFIX = 'unmet#';

export const toWorkerKey = (fleet: string, id: string): Item => ({
  pk: { S: `fleet#${fleet}` },
  sk: { S: `${WORKER_PREFIX}${id}` },
});
export const toWaiterKey = (fleet: string, id: string): Item => ({
  pk: { S: `fleet#${fleet}` },
  sk: { S: `${WAITER_PREFIX}${id}` },
});
export const toPrefixKey = (fleet: string, hash: string): Item => ({
  pk: { S: `prefix#${fleet}#${hash}` },
  sk: { S: 'prefix' },
});

/**
 * Positions in a lease's list. Fields that no later write changes share one string, and numbers that no condition
 * compares are strings.
 */
export const PENDING_INDEX = 1;
export const EXPIRES_INDEX = 2;

const TIERS: Readonly<Record<Tier, string>> = { interactive: 'i', batch: 'b' };

/** Returns `["i 1700 acme", "1000", 1700000000000]`: tier, weight and tenant; `pendingTokens`; `expiresAt`. */
export function encodeLease({ tier, tenant, pendingTokens, weight, expiresAt }: Lease): AttributeValue {
  return { L: [text(`${TIERS[tier]} ${weight} ${tenant}`), encodePendingTokens(pendingTokens), number(expiresAt)] };
}

export function encodePendingTokens(pendingTokens: number): AttributeValue {
  return text(String(pendingTokens));
}

function parseLease(value: AttributeValue): Lease {
  const [terms, pendingTokens, expiresAt] = value.L ?? [];
  const [tier, weight, ...tenant] = (terms?.S ?? '').split(' ');
  return {
    tier: tier === TIERS.batch ? 'batch' : 'interactive',
    tenant: tenant.join(' '),
    pendingTokens: Number(pendingTokens?.S ?? 0),
    weight: Number(weight ?? 0),
    expiresAt: Number(expiresAt?.N ?? 0),
  };
}

/** Returns the attributes of a worker that each registration writes: all except its state and its leases. */
export function encodeDescription({
  bootId,
  url,
  slots,
  models,
  source,
  instance,
  seenAt,
}: Omit<Worker, 'leases'>): Item {
  return marshall({ bootId, url, slots, models, source, seenAt, instance });
}

export function encodeState({
  state,
  stateReason,
  stateSince,
}: Pick<Worker, 'state' | 'stateReason' | 'stateSince'>): Item {
  return marshall({ state, stateReason, stateSince });
}

export function parseWorker(fleet: string, item: Item): Worker {
  const { instance, stateReason, stateSince } = item;
  return {
    fleet,
    id: (item['sk']?.S ?? '').slice(WORKER_PREFIX.length),
    url: item['url']?.S ?? '',
    bootId: item['bootId']?.S ?? '',
    state: v.parse(STATE, item['state']?.S),
    ...(stateReason?.S === undefined ? {} : { stateReason: stateReason.S }),
    ...(stateSince?.N === undefined ? {} : { stateSince: Number(stateSince.N) }),
    slots: Number(item['slots']?.N ?? 0),
    models: (item['models']?.L ?? []).flatMap(({ S }) => (S === undefined ? [] : [S])),
    source: item['source']?.S === 'ecs' ? 'ecs' : 'static',
    ...(instance?.S === undefined ? {} : { instance: instance.S }),
    seenAt: Number(item['seenAt']?.N ?? 0),
    leases: parseLeases(item['leases']?.M ?? {}),
  };
}

/** Builds no intermediate arrays: each read of a large fleet parses thousands of leases. */
function parseLeases(values: Item): Record<string, Lease> {
  const leases: Record<string, Lease> = {};
  for (const id in values) {
    const value = values[id];
    if (value !== undefined) leases[id] = parseLease(value);
  }
  return leases;
}

/** Treats unknown states (written by a newer version) as not accepting work. */
const STATE = v.fallback(v.picklist(['ready', 'draining', 'suspect']), 'draining');

/** The table's TTL attribute is `expiresAt`, in seconds. Readers use `until`, in milliseconds. */
export function encodeWaiter(fleet: string, { id, model, tier, tenant, weight, expiresAt }: Waiter): Item {
  const fields = { model, tier, tenant, weight, until: expiresAt, expiresAt: Math.ceil(expiresAt / 1000) };
  return { ...toWaiterKey(fleet, id), ...marshall(fields) };
}

export function parseWaiter(item: Item): Waiter {
  return {
    id: (item['sk']?.S ?? '').slice(WAITER_PREFIX.length),
    model: item['model']?.S ?? '',
    tier: item['tier']?.S === 'batch' ? 'batch' : 'interactive',
    tenant: item['tenant']?.S ?? '',
    weight: Number(item['weight']?.N ?? 0),
    expiresAt: Number(item['until']?.N ?? 0),
  };
}

export function encodeUnmetDemand(fleet: string, { model, tier, weight, expiresAt }: UnmetDemand): Item {
  return marshall({
    pk: `fleet#${fleet}`,
    sk: `${UNMET_PREFIX}${model}`,
    tier,
    weight,
    until: expiresAt,
    expiresAt: Math.ceil(expiresAt / 1000),
  });
}

export function parseUnmetDemand(item: Item): UnmetDemand {
  return {
    model: (item['sk']?.S ?? '').slice(UNMET_PREFIX.length),
    tier: item['tier']?.S === 'batch' ? 'batch' : 'interactive',
    weight: Number(item['weight']?.N ?? 0),
    expiresAt: Number(item['until']?.N ?? 0),
  };
}

/**
 * Returns a directory entry's item. It expires with the holder that expires last. The previous version applies the
 * item's `until` to all of its holders.
 */
export function encodeHolders(fleet: string, prefix: string, holders: readonly PrefixHolder[]): Item {
  const until = Math.max(0, ...holders.map((holder) => holder.until));
  const lists = holders.map(({ workerId, bootId, until }) => [workerId, bootId, until]);
  return {
    ...toPrefixKey(fleet, prefix),
    ...marshall({ holders: lists, until, expiresAt: Math.ceil(until / 1000) }),
  };
}

/** Returns an item's holders. Holders that the previous version wrote have no `until` and expire with their item. */
export function parseHolders(item: Item): PrefixHolder[] {
  return (item['holders']?.L ?? []).flatMap(({ L: [workerId, bootId, until] = [] }) =>
    workerId?.S === undefined || bootId?.S === undefined
      ? []
      : [{ workerId: workerId.S, bootId: bootId.S, until: Number(until?.N ?? item['until']?.N ?? 0) }],
  );
}

export function text(S: string): AttributeValue {
  return { S };
}

export function number(value: number): AttributeValue {
  return { N: String(value) };
}
