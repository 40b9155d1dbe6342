import type { FleetStore, LeaseRequest } from './fleet-store.ts';
import type { Lease, PrefixHolder, UnmetDemand, Waiter, Worker } from './worker.ts';

/** A fleet as it is kept in memory. */
export interface FleetEntries {
  /** By id, in the order of ids, as DynamoDB reads them. What stands here is replaced, never changed. */
  workers: Map<string, Worker>;
  readonly waiters: Map<string, Waiter>;
  /** By model. */
  readonly unmet: Map<string, UnmetDemand>;
  readonly prefixes: Map<string, readonly PrefixHolder[]>;
}

/**
 * Fleets in memory: for tests, for the simulator, which runs placement and leasing on it, and for the check of interleavings,
 * which looks into `fleets` and copies it.
 * @param now epoch milliseconds, by which what is said of prefixes expires
 */
export function createMemoryFleetStore(now: () => number, fleets: Map<string, FleetEntries> = new Map()): FleetStore {
  const fleetOf = (name: string): FleetEntries => {
    const known = fleets.get(name);
    if (known !== undefined) return known;
    const made: FleetEntries = { workers: new Map(), waiters: new Map(), unmet: new Map(), prefixes: new Map() };
    fleets.set(name, made);
    return made;
  };
  /** Changes a worker if it is there and `change` has something to say. */
  const changeWorker = (fleet: string, id: string, change: (worker: Worker) => Worker | undefined): boolean => {
    const { workers } = fleetOf(fleet);
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
      const { workers, waiters, unmet } = fleetOf(fleet);
      return { workers: [...workers.values()], waiters: [...waiters.values()], unmet: [...unmet.values()] };
    },
    async findHolders(fleet, prefixes) {
      const known = fleetOf(fleet).prefixes;
      return new Map(
        prefixes.flatMap((prefix) => {
          const holders = (known.get(prefix) ?? []).filter(({ until }) => until > now());
          return holders.length > 0 ? [[prefix, holders] as const] : [];
        }),
      );
    },
    async recordHolders(fleet, entries) {
      for (const { prefix, holders } of entries) fleetOf(fleet).prefixes.set(prefix, holders);
    },
    async lease(fleet, workerId, ask) {
      return changeWorker(fleet, workerId, (worker) => (mayLease(worker, ask) ? leased(worker, ask) : undefined));
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
      fleetOf(fleet).waiters.set(waiter.id, waiter);
    },
    async removeWaiter(fleet, waiterId) {
      fleetOf(fleet).waiters.delete(waiterId);
    },
    async recordUnmetDemand(fleet, demand) {
      fleetOf(fleet).unmet.set(demand.model, demand);
    },
    async register(worker) {
      const fleet = fleetOf(worker.fleet);
      const known = fleet.workers.get(worker.id);
      if (known?.bootId === worker.bootId) {
        const { state: _, stateReason: __, stateSince: ___, ...described } = worker;
        fleet.workers.set(worker.id, { ...described, ...stateOf(known), leases: known.leases });
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
      fleetOf(fleet).workers.delete(workerId);
    },
  };
}

/** A lease that the worker has already is no other one: what was asked twice is granted once. */
function mayLease(worker: Worker, { id, bootId, cap, expired, now }: LeaseRequest): boolean {
  if (worker.state !== 'ready' || worker.bootId !== bootId) return false;
  if (worker.leases[id] !== undefined) return true;
  const held = Object.keys(worker.leases).length - expired.length;
  return held < cap && expired.every((each) => (worker.leases[each]?.expiresAt ?? Number.POSITIVE_INFINITY) <= now);
}

function leased(worker: Worker, { id, lease, expired }: LeaseRequest): Worker {
  return { ...worker, leases: { ...without(worker.leases, expired), [id]: lease } };
}

function without(leases: Worker['leases'], ids: readonly string[]): Worker['leases'] {
  if (ids.length === 0) return leases;
  return Object.fromEntries(Object.entries(leases).filter(([id]) => !ids.includes(id)));
}

function stateOf({ state, stateReason, stateSince }: Worker): Pick<Worker, 'state' | 'stateReason' | 'stateSince'> {
  return {
    state,
    ...(stateReason === undefined ? {} : { stateReason }),
    ...(stateSince === undefined ? {} : { stateSince }),
  };
}
