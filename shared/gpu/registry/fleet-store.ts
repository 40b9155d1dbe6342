import type {
  DirectoryEntry,
  FleetView,
  Lease,
  PrefixHolders,
  UnmetDemand,
  Waiter,
  Worker,
  WorkerState,
} from './worker.ts';

/**
 * The fleet table. There are two implementations, DynamoDB and memory (used by the placement simulator), and one
 * contract test suite for both. Times are epoch milliseconds. A method sends one request, however large the fleet and
 * however long the prompt, unless its comment says otherwise.
 */
export interface FleetStore {
  /**
   * Returns a fleet's workers with their leases, its waiters and its unmet demand, with a strongly consistent read.
   * Expired entries may be included. Sends one query per megabyte.
   */
  read(fleet: string): Promise<FleetView>;
  /**
   * Returns the live holders of prefixes, latest first. Prefixes without a holder are omitted.
   * @param prefixes hashes, at most 100
   */
  findHolders(fleet: string, prefixes: readonly string[]): Promise<PrefixHolders>;
  /**
   * Replaces directory entries.
   * @param entries at most 25, the most that DynamoDB writes in one request
   */
  recordHolders(fleet: string, entries: readonly DirectoryEntry[]): Promise<void>;
  /**
   * Adds a lease if the worker is ready, has the given `bootId` and holds fewer than `cap` leases. `expired` leases do
   * not count, and are removed by the same write; each of them must exist and be expired. A lease that the worker
   * already holds is granted again: the response to the first request was lost.
   * @returns false if one of the conditions does not hold
   */
  lease(fleet: string, workerId: string, request: LeaseRequest): Promise<boolean>;
  /**
   * Records that the first token has arrived, so that no prompt tokens are pending. Does nothing if the lease is gone.
   */
  markFirstToken(fleet: string, workerId: string, leaseId: string): Promise<void>;
  /**
   * Extends a lease.
   * @returns false if the lease is gone: it expired and was removed, or the worker was restarted or deregistered
   */
  renew(fleet: string, workerId: string, leaseId: string, expiresAt: number): Promise<boolean>;
  /** Removes a lease. Does nothing if it is gone. */
  release(fleet: string, workerId: string, leaseId: string): Promise<void>;

  /** Adds or renews a waiter. */
  putWaiter(fleet: string, waiter: Waiter): Promise<void>;
  removeWaiter(fleet: string, waiterId: string): Promise<void>;
  /** Records a request that was refused because no worker was ready. Only the latest one of each model is kept. */
  recordUnmetDemand(fleet: string, demand: UnmetDemand): Promise<void>;

  /**
   * Registers a worker or updates its description. If its `bootId` changes, it starts without leases in the given
   * state. If not, it keeps its leases and its state, which only `setState` changes. Sends two requests for a new
   * `bootId`, and one otherwise.
   */
  register(worker: Omit<Worker, 'leases'>): Promise<void>;
  /**
   * Changes the state of a worker.
   * @returns false if the worker was restarted since (has another `bootId`), is not registered, or is not in the state
   * `from`
   */
  setState(fleet: string, workerId: string, bootId: string, change: StateChange): Promise<boolean>;
  /** Removes a worker and its leases. Renewals of these leases are refused from then on. */
  deregister(fleet: string, workerId: string): Promise<void>;
}

export interface LeaseRequest {
  readonly id: string;
  readonly lease: Lease;
  readonly bootId: string;
  /** Leases that the worker may hold, including this one. */
  readonly cap: number;
  /** Ids of leases that have expired by `now`; at most 100. */
  readonly expired: readonly string[];
  readonly now: number;
}

export interface StateChange {
  readonly state: WorkerState;
  readonly reason: string;
  readonly at: number;
  /** The state that the worker must be in; any state if absent. */
  readonly from?: WorkerState;
}
