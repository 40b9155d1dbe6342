/** A worker's state. Workers that are `draining` or `suspect` get no new requests, and may finish the running ones. */
export type WorkerState = 'ready' | 'draining' | 'suspect';

/** Interactive work has precedence: batch work leaves a share of every worker's slots free for it. */
export type Tier = 'interactive' | 'batch';

/**
 * A GPU worker: one process of a stock inference engine with OpenAI's API. None of our code runs on it. All times are
 * epoch milliseconds.
 */
export interface Worker {
  readonly fleet: string;
  /** Stays the same over restarts: an ECS task's id, or the name in `models.json`. */
  readonly id: string;
  /** The API's base, up to and including its version: `http://10.0.3.7:8000/v1`. */
  readonly url: string;
  /** Changes at each start of the engine. Leases and prefixes of an earlier start are void. */
  readonly bootId: string;
  readonly state: WorkerState;
  /** Why the worker is not ready, and since when. */
  readonly stateReason?: string;
  readonly stateSince?: number;
  /** Number of requests that the worker runs well at once. */
  readonly slots: number;
  /** The names that the engine serves: its model and the loaded LoRA adapters. */
  readonly models: readonly string[];
  /** `ecs` for a task of an ECS service, `static` for a machine that `models.json` lists. */
  readonly source: 'ecs' | 'static';
  /** Id of the EC2 instance that the worker runs on. A spot interruption names the instance only. */
  readonly instance?: string;
  /** When the worker last answered a probe, or ECS last reported it as running. */
  readonly seenAt: number;
  /** By id. */
  readonly leases: Readonly<Record<string, Lease>>;
}

/**
 * The lease of one of a worker's slots, for one request. A worker's load is always derived from its leases. It is never
 * kept in a counter, because a repeated request would change the counter twice and leave it wrong for good.
 */
export interface Lease {
  readonly tier: Tier;
  readonly tenant: string;
  /** Prompt tokens (estimated) that the worker has yet to compute; 0 from the first token on. */
  readonly pendingTokens: number;
  /** The request's cost: prompt tokens, and twice the expected output tokens. */
  readonly weight: number;
  /**
   * An expired lease no longer counts. The next request that leases the worker removes it, or else the
   * fleet's upkeep does.
   */
  readonly expiresAt: number;
}

/** A request that waits for a slot. Tenants that hold more than their share yield to it. */
export interface Waiter {
  readonly id: string;
  /** The model that the request waits for. Only workers that serve it matter. */
  readonly model: string;
  readonly tier: Tier;
  readonly tenant: string;
  readonly weight: number;
  /** A few seconds ahead, renewed while the request waits, so that no request yields to a dead one for long. */
  readonly expiresAt: number;
}

/**
 * The last request for a model that was refused because no worker was ready. Its waiter is gone when the fleet's size
 * is decided, but its caller most likely retries. No request yields to it.
 */
export interface UnmetDemand extends Pick<Waiter, 'model' | 'tier' | 'weight'> {
  readonly expiresAt: number;
}

/** A fleet as one query reads it: all input of placement except the prefix directory. */
export interface FleetView {
  readonly workers: readonly Worker[];
  readonly waiters: readonly Waiter[];
  readonly unmet: readonly UnmetDemand[];
}

/** A worker that served a prefix lately and so has it cached. Void once the worker has another `bootId`. */
export interface PrefixHolder {
  readonly workerId: string;
  readonly bootId: string;
  /** Epoch milliseconds after which the worker's cache has most likely evicted the prefix. */
  readonly until: number;
}

/** The holders of prefixes, by the prefix's hash. */
export type PrefixHolders = ReadonlyMap<string, readonly PrefixHolder[]>;

/** An entry of the prefix directory. */
export interface DirectoryEntry {
  /** The prefix's hash. */
  readonly prefix: string;
  /** Latest first. */
  readonly holders: readonly PrefixHolder[];
}

/** Returns true if a lease, a waiter or unmet demand has not expired. */
export function isLive({ expiresAt }: { readonly expiresAt: number }, now: number): boolean {
  return expiresAt > now;
}
