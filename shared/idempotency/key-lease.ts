import { type Sleep, startHeartbeat } from '../core/heartbeat.ts';

/** Intervals of the claims of idempotency keys, in milliseconds. */
export interface ClaimTimings {
  /** Time from the last renewal of a claim until another call may take the key over. */
  readonly claimMs: number;
  /** Time between two renewals. A call that ends sooner makes none. */
  readonly renewMs: number;
  /** Time between two tries of a renewal that failed. */
  readonly retryMs: number;
}

/** The intervals that are used in AWS. */
export const CLAIM_TIMINGS: ClaimTimings = { claimMs: 30_000, renewMs: 10_000, retryMs: 2_000 };

export interface KeyLeasePorts {
  /** Extends the claim to `until` (epoch milliseconds); false if another call has the key. */
  readonly renew: (until: number) => Promise<boolean>;
  readonly timings: ClaimTimings;
  /** Returns epoch milliseconds. */
  readonly now: () => number;
  readonly sleep?: Sleep | undefined;
}

/** A claimed idempotency key, which a heartbeat renews until it is stopped. */
export interface KeyLease {
  /** Aborts when a write has shown that another call has the key. */
  readonly lost: AbortSignal;
  /** Stops the heartbeat, after a renewal in progress. */
  stop(): Promise<void>;
}

/**
 * Keeps a claimed key. Only a renewal that is refused shows that another call has the key. A renewal that fails in any other
 * way is retried for as long as the call runs: while the table is away, no other call can claim the key either.
 * @param lostError creates the error with which `lost` aborts
 */
export function startKeyLease({ renew, timings, now, sleep }: KeyLeasePorts, lostError: () => Error): KeyLease {
  const lost = new AbortController();

  async function beat(): Promise<number | undefined> {
    try {
      if (await renew(now() + timings.claimMs)) return timings.renewMs;
    } catch {
      return timings.retryMs;
    }
    lost.abort(lostError());
    return undefined;
  }

  const heartbeat = startHeartbeat(timings.renewMs, beat, sleep);
  return { lost: lost.signal, stop: () => heartbeat.stop() };
}
