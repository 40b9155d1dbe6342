import { FLEET_TIMINGS, type SlotTimings } from '../fleet-timings.ts';

/** The limits of a fleet that `models.json` sets for leasing. */
export interface FleetLimits {
  /** Share of each worker's slots that batch work leaves free for interactive work. */
  readonly reserve: number;
  /** Milliseconds that an interactive request waits for a slot. */
  readonly waitMs: number;
}

/** Weights of the placement score, in prompt tokens that a worker has yet to compute. */
export interface PlacementSettings {
  /**
   * Weight of a token of the request itself, relative to a pending token of the worker's other requests. It is higher
   * because computing a prefix that another worker has cached also evicts something from this worker's cache.
   */
  readonly uncachedWeight: number;
  /** Cost of each sequence that a worker already runs: it decodes beside the new one and slows down its prefill. */
  readonly tokensPerLease: number;
  /** Scores that differ by less than this are ordered at random, so that simultaneous requests spread over workers. */
  readonly jitterTokens: number;
  /** Maximum number of holders in a directory entry. The latest ones are kept. */
  readonly maxHolders: number;
  /**
   * Milliseconds for which the directory names a holder after it served the prefix: about as long as a busy worker's
   * cache keeps an unused prefix. The entry is renewed once half of it has passed.
   */
  readonly directoryMs: number;
}

export const PLACEMENT_SETTINGS: PlacementSettings = {
  uncachedWeight: 3,
  tokensPerLease: 500,
  jitterTokens: 64,
  maxHolders: 3,
  directoryMs: 180_000,
};

export interface SlotSettings extends SlotTimings {
  readonly placement: PlacementSettings;
  /** By the fleet's name. The parsed `fleets` of `models.json` have this type. */
  readonly fleets: Readonly<Record<string, FleetLimits>>;
  /** For fleets that are not in `fleets`. */
  readonly defaultLimits: FleetLimits;
  /**
   * Maximum milliseconds that batch work waits for a slot. Waiting in a function is billed by time, and waiting in the
   * queue is free.
   */
  readonly batchWaitMs: number;
  /** Milliseconds between reads of a full fleet, before jitter: the first pause doubles up to the longest. */
  readonly pollMs: Readonly<Record<'interactive' | 'batch', { readonly first: number; readonly longest: number }>>;
  /** Pause after other requests took the slots of all the best workers at the same moment. */
  readonly contendedPollMs: number;
  /** Number of workers to try before the fleet is read again. */
  readonly leaseAttempts: number;
  /** Milliseconds until a waiter that is not refreshed counts as dead: more than two of its longest pauses. */
  readonly waiterTtlMs: number;
  /**
   * Milliseconds for which a request that found no worker ready counts as demand: two runs of the fleet's upkeep see
   * it.
   */
  readonly unmetTtlMs: number;
}

export const SLOT_SETTINGS: SlotSettings = {
  ...FLEET_TIMINGS.slots,
  placement: PLACEMENT_SETTINGS,
  fleets: {},
  defaultLimits: { reserve: 0.25, waitMs: 10_000 },
  batchWaitMs: 2_000,
  pollMs: { interactive: { first: 50, longest: 500 }, batch: { first: 250, longest: 1_000 } },
  contendedPollMs: 20,
  leaseAttempts: 3,
  waiterTtlMs: 3_000,
  unmetTtlMs: 120_000,
};
