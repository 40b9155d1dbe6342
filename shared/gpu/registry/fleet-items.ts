import type { AttributeValue } from '@aws-sdk/client-dynamodb';
import * as v from 'valibot';
import type { Lease, PrefixHolder, Tier, UnmetDemand, Waiter, Worker } from './worker.ts';

/**
 * How a fleet stands in its table: workers, waiters and unmet demand under one partition key, so that one query reads them all;
 * each prefix of the directory under its own. A lease is a list, since its fields' names in each of thousands would be most of
 * what is read.
 */
export type Item = Record<string, AttributeValue>;

export const WORKER = 'worker#';
export const WAITER = 'waiter#';
export const UNMET = 'unmet#';

export const workerKey = (fleet: string, id: string): Item => ({
  pk: { S: `fleet#${fleet}` },
  sk: { S: `${WORKER}${id}` },
});
export const waiterKey = (fleet: string, id: string): Item => ({
  pk: { S: `fleet#${fleet}` },
  sk: { S: `${WAITER}${id}` },
});
export const prefixKey = (fleet: string, hash: string): Item => ({
  pk: { S: `prefix#${fleet}#${hash}` },
  sk: { S: 'prefix' },
});

/** Places in a lease's list: what no later write changes is one text, and numbers that no condition compares are texts. */
export const LEASE_PENDING = 1;
export const LEASE_EXPIRES = 2;

const TIERS: Readonly<Record<Tier, string>> = { interactive: 'i', batch: 'b' };

/** `["i 1700 acme", "1000", 1700000000000]`: tier, weight and tenant, then `pendingTokens` and `expiresAt`. */
export function leaseValue({ tier, tenant, pendingTokens, weight, expiresAt }: Lease): AttributeValue {
  return { L: [text(`${TIERS[tier]} ${weight} ${tenant}`), pendingValue(pendingTokens), number(expiresAt)] };
}

export function pendingValue(pendingTokens: number): AttributeValue {
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

/** What is told of a worker at its registration, besides its state and its leases. */
export function descriptionOf({ bootId, url, slots, models, source, instance, seenAt }: Omit<Worker, 'leases'>): Item {
  return {
    bootId: text(bootId),
    url: text(url),
    slots: number(slots),
    models: { L: models.map(text) },
    source: text(source),
    seenAt: number(seenAt),
    ...(instance === undefined ? {} : { instance: text(instance) }),
  };
}

export function stateOf({
  state,
  stateReason,
  stateSince,
}: Pick<Worker, 'state' | 'stateReason' | 'stateSince'>): Item {
  return {
    state: text(state),
    ...(stateReason === undefined ? {} : { stateReason: text(stateReason) }),
    ...(stateSince === undefined ? {} : { stateSince: number(stateSince) }),
  };
}

export function parseWorker(fleet: string, item: Item): Worker {
  const { instance, stateReason, stateSince } = item;
  return {
    fleet,
    id: (item['sk']?.S ?? '').slice(WORKER.length),
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

/** Of each of thousands at each look at a large fleet: without lists in between. */
function parseLeases(values: Item): Record<string, Lease> {
  const leases: Record<string, Lease> = {};
  for (const id in values) {
    const value = values[id];
    if (value !== undefined) leases[id] = parseLease(value);
  }
  return leases;
}

/** A state that only a later version knows is none to give work to. */
const STATE = v.fallback(v.picklist(['ready', 'draining', 'suspect']), 'draining');

/** The table removes it by `expiresAt`, in whole seconds; readers go by `until`. */
export function waiterItem(fleet: string, { id, model, tier, tenant, weight, expiresAt }: Waiter): Item {
  return {
    ...waiterKey(fleet, id),
    model: text(model),
    tier: text(tier),
    tenant: text(tenant),
    weight: number(weight),
    until: number(expiresAt),
    expiresAt: number(Math.ceil(expiresAt / 1000)),
  };
}

export function parseWaiter(item: Item): Waiter {
  return {
    id: (item['sk']?.S ?? '').slice(WAITER.length),
    model: item['model']?.S ?? '',
    tier: item['tier']?.S === 'batch' ? 'batch' : 'interactive',
    tenant: item['tenant']?.S ?? '',
    weight: Number(item['weight']?.N ?? 0),
    expiresAt: Number(item['until']?.N ?? 0),
  };
}

export function unmetItem(fleet: string, { model, tier, weight, expiresAt }: UnmetDemand): Item {
  return {
    pk: text(`fleet#${fleet}`),
    sk: text(`${UNMET}${model}`),
    tier: text(tier),
    weight: number(weight),
    until: number(expiresAt),
    expiresAt: number(Math.ceil(expiresAt / 1000)),
  };
}

export function parseUnmet(item: Item): UnmetDemand {
  return {
    model: (item['sk']?.S ?? '').slice(UNMET.length),
    tier: item['tier']?.S === 'batch' ? 'batch' : 'interactive',
    weight: Number(item['weight']?.N ?? 0),
    expiresAt: Number(item['until']?.N ?? 0),
  };
}

/** The item is there for as long as one of its holders lasts; the version before goes by its `until` for all of them. */
export function prefixItem(fleet: string, prefix: string, holders: readonly PrefixHolder[]): Item {
  const until = Math.max(0, ...holders.map((holder) => holder.until));
  return {
    ...prefixKey(fleet, prefix),
    holders: {
      L: holders.map(({ workerId, bootId, until }) => ({ L: [text(workerId), text(bootId), number(until)] })),
    },
    until: number(until),
    expiresAt: number(Math.ceil(until / 1000)),
  };
}

/** Holders that the version before has written last as long as their item. */
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
