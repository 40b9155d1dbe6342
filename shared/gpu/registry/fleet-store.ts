import type {
  DirectoryEntry,
  FleetView,
  Lease,
  PrefixHolder,
  UnmetDemand,
  Waiter,
  Worker,
  WorkerState,
} from './worker.ts';

/**
 * The fleets' table. Two real implementations: DynamoDB, and the one in memory that the simulator runs placement on. One
 * contract suite holds both to the same answers. Times are epoch milliseconds. Every method is one request, however
 * large the fleet and however long the prompt.
 */
export interface FleetStore {
  /**
   * All workers of a fleet with their leases, who waits for a slot, and who was refused lately. Strongly read; expired entries
   * may be in it.
   */
  read(fleet: string): Promise<FleetView>;
  /**
   * Who holds each of these prefixes, latest first, as long as they last; those that nobody holds are left out.
   * @param prefixes at most 100
   */
  findHolders(fleet: string, prefixes: readonly string[]): Promise<ReadonlyMap<string, readonly PrefixHolder[]>>;
  /**
   * Notes who holds prefixes now.
   * @param entries at most 25, the most that DynamoDB writes in one request
   */
  recordHolders(fleet: string, entries: readonly DirectoryEntry[]): Promise<void>;
  /**
   * Takes a slot if the worker is ready, has this `bootId`, and holds fewer leases than `cap`, not counting `expired`
   * ones, which are removed with it and must be there to be. False when it isn't so at that moment. A lease that it holds
   * already is granted again: the first answer was lost.
   */
  lease(fleet: string, workerId: string, ask: LeaseRequest): Promise<boolean>;
  /** The first token has come: nothing of the prompt is pending any more. Does nothing to a lease that is gone. */
  markFirstToken(fleet: string, workerId: string, leaseId: string): Promise<void>;
  /** Keeps a lease. False when it is gone: it expired and was removed, or the worker has started anew or was deregistered. */
  renew(fleet: string, workerId: string, leaseId: string, expiresAt: number): Promise<boolean>;
  /** Gives a slot back; one that is gone is given back already. */
  release(fleet: string, workerId: string, leaseId: string): Promise<void>;

  /** Says that somebody waits, or still waits. */
  putWaiter(fleet: string, waiter: Waiter): Promise<void>;
  /** Says that they wait no more. */
  removeWaiter(fleet: string, waiterId: string): Promise<void>;
  /** Says that a request was refused since no worker was ready. The last one of each model is kept. */
  recordUnmetDemand(fleet: string, demand: UnmetDemand): Promise<void>;

  /**
   * Registers a worker, or brings what is known of it up to date. Under another `bootId` it begins without leases and in the
   * state given; under the same one it keeps its leases and its state, which `setState` alone changes from then on. Two
   * requests at a worker's start, else one.
   */
  register(worker: Omit<Worker, 'leases'>): Promise<void>;
  /**
   * Changes a worker's state, as long as it is the same start of it.
   * @returns false when it has started anew meanwhile, or isn't registered
   */
  setState(fleet: string, workerId: string, bootId: string, change: StateChange): Promise<boolean>;
  /** Forgets a worker. Leases of it are refused their renewal from then on. */
  deregister(fleet: string, workerId: string): Promise<void>;
}

export interface LeaseRequest {
  readonly id: string;
  readonly lease: Lease;
  readonly bootId: string;
  /** Leases that the worker may hold, this one included. */
  readonly cap: number;
  /** Ids of leases that have expired by `now`; at most 100. */
  readonly expired: readonly string[];
  readonly now: number;
}

export interface StateChange {
  readonly state: WorkerState;
  readonly reason: string;
  readonly at: number;
  /** Only from this state; from any when absent. */
  readonly from?: WorkerState;
}
