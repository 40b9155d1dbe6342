import { FLEET_TIMINGS, type SlotTimings } from '../fleet-timings.ts';

/** What `models.json` says of a fleet, as far as leasing goes. */
export interface FleetLimits {
  /** Share of each worker's slots that batch work leaves to interactive work. */
  readonly reserve: number;
  /** Milliseconds that an interactive request waits for a slot. */
  readonly waitMs: number;
}

/** By what placement weighs workers. All in tokens of prompt that a worker has yet to compute. */
export interface PlacementSettings {
  /**
   * How much more a token of the request itself counts than one that others wait for: what a worker must compute of a prompt
   * that another has cached takes the place of something in its own cache, too.
   */
  readonly uncachedWeight: number;
  /** What a sequence that a worker already has costs a new one: it decodes beside it, and slows its prefill. */
  readonly tokensPerLease: number;
  /** Scores closer than this are as good as equal: chance decides, so that those who decide at once don't all go one way. */
  readonly jitterTokens: number;
  /** Holders of a prefix that the directory names, the latest ones. */
  readonly maxHolders: number;
  /**
   * How long the directory names them after they have served it: about as long as a busy worker's cache keeps what nobody asks
   * for. Written anew once half of it has passed.
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
  /** By the fleet's name; `models.json`'s `fleets` fits. */
  readonly fleets: Readonly<Record<string, FleetLimits>>;
  /** Of a fleet that isn't in `fleets`. */
  readonly defaultLimits: FleetLimits;
  /** Batch work waits no longer than this inside a function that is paid for by time: its queue waits for nothing. */
  readonly batchWaitMs: number;
  /** Pauses between looks at a full fleet, each with jitter: the first one, and the longest that it grows to. */
  readonly pollMs: Readonly<Record<'interactive' | 'batch', { readonly first: number; readonly longest: number }>>;
  /** Pause after all of the best workers were taken by others at the same moment. */
  readonly contendedPollMs: number;
  /** Workers that are tried before the fleet is read anew. */
  readonly leaseAttempts: number;
  /** A waiter is taken for dead after this time without a word: longer than two of its longest pauses. */
  readonly waiterTtlMs: number;
  /** How long a request that found no worker ready counts as demand: two runs of the fleet's upkeep see it. */
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
