/**
 * Time constants of a fleet of GPU workers, in milliseconds. Composition roots hand them in, so that a test can shorten
 * all of them together. This module holds data only.
 */
export interface FleetTimings {
  readonly slots: SlotTimings;
  readonly upkeep: UpkeepTimings;
}

/** Time constants of slot leases. */
export interface SlotTimings {
  /** How long a lease lasts: longer than two missed heartbeats, and a dead holder's slot is free within a minute. */
  readonly leaseMs: number;
  /** Interval of the heartbeats that renew a lease. */
  readonly heartbeatMs: number;
  /** The retry delay that a refused caller gets: `full` when all slots are taken, `none` when no worker is ready. */
  readonly retryAfterMs: { readonly full: number; readonly none: number };
}

/** Time constants of the fleet's upkeep. */
export interface UpkeepTimings {
  /** How long one run keeps probing workers that are out of service. It ends before the next minute's run begins. */
  readonly runMs: number;
  /** Pause between two probes of a worker that is out of service. */
  readonly reprobeMs: number;
  /** A worker out of service for longer than this is probed once per run only, like all others. */
  readonly reprobeForMs: number;
  /** How long after its expiry a lease or a waiter is removed. Its owner would have renewed it long before. */
  readonly leakedAfterMs: number;
  /** Timeout of listing an engine's models. */
  readonly listModelsMs: number;
  /**
   * Timeout of generating one token. A suspect worker gets no new work, so the token comes soon unless the engine
   * hangs; the first token after a start may have to wait for kernels to compile.
   */
  readonly generateTokenMs: number;
  /** Timeout of loading a LoRA adapter: several hundred megabytes of weights from a disk or a bucket. */
  readonly loadAdapterMs: number;
}

export const FLEET_TIMINGS: FleetTimings = {
  slots: {
    leaseMs: 45_000,
    heartbeatMs: 15_000,
    // A GPU takes minutes to start.
    retryAfterMs: { full: 5_000, none: 30_000 },
  },
  upkeep: {
    runMs: 50_000,
    reprobeMs: 5_000,
    reprobeForMs: 15 * 60_000,
    leakedAfterMs: 60_000,
    listModelsMs: 5_000,
    generateTokenMs: 15_000,
    loadAdapterMs: 30_000,
  },
};
