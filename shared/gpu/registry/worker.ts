/** Where a worker stands: `draining` and `suspect` ones get no new work; what they do, they may finish. */
export type WorkerState = 'ready' | 'draining' | 'suspect';

/** Interactive work goes first: batch work leaves a part of every worker's slots free for it. */
export type Tier = 'interactive' | 'batch';

/**
 * A GPU worker: one process of a stock inference engine with OpenAI's API. None of our code runs on it. All times are
 * epoch milliseconds.
 */
export interface Worker {
  readonly fleet: string;
  /** Stays the same over restarts: a task's id, or the name that a static list gives. */
  readonly id: string;
  /** The API's base, up to and including its version: `http://10.0.3.7:8000/v1`. */
  readonly url: string;
  /** Another one after each start of the engine: what a lease or a prefix says of an earlier start means nothing. */
  readonly bootId: string;
  readonly state: WorkerState;
  /** Why and since when it is not ready. */
  readonly stateReason?: string;
  readonly stateSince?: number;
  /** Requests that it runs well at once. */
  readonly slots: number;
  /** Names that the engine knows: its model, and the LoRA adapters that are loaded. */
  readonly models: readonly string[];
  /** Where it is known from: an ECS task, or a list for machines elsewhere. */
  readonly source: 'ecs' | 'static';
  /** The EC2 instance under it, by which a spot interruption names it. */
  readonly instance?: string;
  /** When it last answered a probe, or ECS last said that it runs. */
  readonly seenAt: number;
  readonly leases: Readonly<Record<string, Lease>>;
}

/**
 * A slot of a worker, for one request. The map of them is the one truth about its load: the tokens that wait are their
 * sum, never a counter, since a counter that is changed twice by a repeated request stays wrong.
 */
export interface Lease {
  readonly tier: Tier;
  readonly tenant: string;
  /** Prompt tokens (estimated) that the worker has yet to compute; 0 from the first token on. */
  readonly pendingTokens: number;
  /** What the request takes of the fleet: prompt tokens and twice the expected output tokens. */
  readonly weight: number;
  /** Leaked leases end by themselves, and are removed by whoever comes by. */
  readonly expiresAt: number;
}

/** Somebody who found no slot and waits for one: by it, those who hold more than their share know to stand back. */
export interface Waiter {
  readonly id: string;
  /** What it waits for; workers that don't know the model are none of its concern. */
  readonly model: string;
  readonly tier: Tier;
  readonly tenant: string;
  readonly weight: number;
  /** Soon, unless it says that it still waits: nobody stands back for the dead. */
  readonly expiresAt: number;
}

/**
 * The last request for a model that was refused since no worker was ready: it waits no more when the fleet's size is looked at,
 * and most likely comes again. Nobody stands back for it.
 */
export interface UnmetDemand extends Pick<Waiter, 'model' | 'tier' | 'weight'> {
  readonly expiresAt: number;
}

/** What one query brings: all that placement decides on, besides the prefix directory. */
export interface FleetView {
  readonly workers: readonly Worker[];
  readonly waiters: readonly Waiter[];
  readonly unmet: readonly UnmetDemand[];
}

/** Who served a prefix lately, and so has it in its cache. Means nothing once the worker has another `bootId`. */
export interface PrefixHolder {
  readonly workerId: string;
  readonly bootId: string;
  /** Epoch milliseconds after which its cache has most likely lost it. */
  readonly until: number;
}

/** An entry of the prefix directory: the workers that most likely have a prefix cached. */
export interface DirectoryEntry {
  readonly prefix: string;
  /** Latest first. */
  readonly holders: readonly PrefixHolder[];
}
