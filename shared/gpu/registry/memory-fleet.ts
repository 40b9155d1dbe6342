import { omitUndefined } from '../../core/objects.ts';
import type { FleetStore, LeaseRequest } from './fleet-store.ts';
import type { Lease, PrefixHolder, UnmetDemand, Waiter, Worker } from './worker.ts';

/** One fleet's entries. */
export interface FleetEntries {
  /** By id, in the order of ids, as DynamoDB returns them. Workers are replaced, never mutated. */
  workers: Map<string, Worker>;
  readonly waiters: Map<string, Waiter>;
  /** By model. */
  readonly unmet: Map<string, UnmetDemand>;
  readonly prefixes: Map<string, readonly PrefixHolder[]>;
}

/**
 * Creates a fleet store in memory, for tests and for the placement simulator.
 * @param now epoch milliseconds, by which directory entries expire
 * @param fleets by name; the model check of leases passes it in to inspect and copy it
 */
export function createMemoryFleetStore(now: () => number, fleets: Map<string, FleetEntries> = new Map()): FleetStore {
  const getFleet = (name: string): FleetEntries => {
    const existing = fleets.get(name);
    if (existing !== undefined) return existing;
    const created: FleetEntries = { workers: new Map(), waiters: new Map(), unmet: new Map(), prefixes: new Map() };
    fleets.set(name, created);
    return created;
  };
  /** Replaces a worker by the result of `change`. Returns false if there is no such worker or no result. */
  const changeWorker = (fleet: string, id: string, change: (worker: Worker) => Worker | undefined): boolean => {
    const { workers } = getFleet(fleet);
    const worker = workers.get(id);
    const changed = worker === undefined ? undefined : change(worker);
    if (changed !== undefined) workers.set(id, changed);
    return changed !== undefined;
  };
  const changeLease = (fleet: string, workerId: string, leaseId: string, change: Partial<Lease>): boolean =>
    changeWorker(fleet, workerId, (worker) => {
      const lease = worker.leases[leaseId];
      if (lease === undefined) return undefined;
      return { ...worker, leases: { ...worker.leases, [leaseId]: { ...lease, ...change } } };
    });

  return {
    async read(fleet) {
      const { workers, waiters, unmet } = getFleet(fleet);
      return { workers: [...workers.values()], waiters: [...waiters.values()], unmet: [...unmet.values()] };
    },
    async findHolders(fleet, prefixes) {
      const entries = getFleet(fleet).prefixes;
      return new Map(
        prefixes.flatMap((prefix) => {
          const holders = (entries.get(prefix) ?? []).filter(({ until }) => until > now());
          return holders.length > 0 ? [[prefix, holders] as const] : [];
        }),
      );
    },
    async recordHolders(fleet, entries) {
      for (const { prefix, holders } of entries) getFleet(fleet).prefixes.set(prefix, holders);
    },
    async lease(fleet, workerId, request) {
      return changeWorker(fleet, workerId, (worker) =>
        canLease(worker, request) ? addLease(worker, request) : undefined,
      );
    },
    async markFirstToken(fleet, workerId, leaseId) {
      changeLease(fleet, workerId, leaseId, { pendingTokens: 0 });
    },
    async renew(fleet, workerId, leaseId, expiresAt) {
      return changeLease(fleet, workerId, leaseId, { expiresAt });
    },
    async release(fleet, workerId, leaseId) {
      changeWorker(fleet, workerId, (worker) => ({ ...worker, leases: without(worker.leases, [leaseId]) }));
    },
    async putWaiter(fleet, waiter) {
      getFleet(fleet).waiters.set(waiter.id, waiter);
    },
    async removeWaiter(fleet, waiterId) {
      getFleet(fleet).waiters.delete(waiterId);
    },
    async recordUnmetDemand(fleet, demand) {
      getFleet(fleet).unmet.set(demand.model, demand);
    },
    async register(worker) {
      const fleet = getFleet(worker.fleet);
      const known = fleet.workers.get(worker.id);
      if (known?.bootId === worker.bootId) {
        const { state: _, stateReason: __, stateSince: ___, ...description } = worker;
        fleet.workers.set(worker.id, { ...description, ...pickState(known), leases: known.leases });
        return;
      }
      fleet.workers.set(worker.id, { ...worker, leases: {} });
      if (known === undefined) fleet.workers = new Map([...fleet.workers].sort(([a], [b]) => (a < b ? -1 : 1)));
    },
    async setState(fleet, workerId, bootId, { state, reason, at, from }) {
      return changeWorker(fleet, workerId, (worker) => {
        if (worker.bootId !== bootId || (from !== undefined && worker.state !== from)) return undefined;
        const { stateReason: _, stateSince: __, ...rest } = worker;
        return state === 'ready' ? { ...rest, state } : { ...rest, state, stateReason: reason, stateSince: at };
      });
    },
    async deregister(fleet, workerId) {
      getFleet(fleet).workers.delete(workerId);
    },
  };
}

/** True if the worker grants the lease. A lease that it already holds is granted again: the request is a repetition. */
function canLease(worker: Worker, { id, bootId, cap, expired, now }: LeaseRequest): boolean {
  if (worker.state !== 'ready' || worker.bootId !== bootId) return false;
  if (worker.leases[id] !== undefined) return true;
  const held = Object.keys(worker.leases).length - expired.length;
  return held < cap && expired.every((each) => (worker.leases[each]?.expiresAt ?? Number.POSITIVE_INFINITY) <= now);
}

function addLease(worker: Worker, { id, lease, expired }: LeaseRequest): Worker {
  return { ...worker, leases: { ...without(worker.leases, expired), [id]: lease } };
}

function without(leases: Worker['leases'], ids: readonly string[]): Worker['leases'] {
  if (ids.length === 0) return leases;
  return Object.fromEntries(Object.entries(leases).filter(([id]) => !ids.includes(id)));
}

function pickState({ state, stateReason, stateSince }: Worker): Pick<Worker, 'state' | 'stateReason' | 'stateSince'> {
  return { state, ...omitUndefined({ stateReason, stateSince }) };
}
