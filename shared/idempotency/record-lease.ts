import { startHeartbeat } from '../core/heartbeat.ts';

/** Intervals of a call's hold on its idempotency key, in milliseconds. */
export interface ClaimTimings {
  /** The key is free again so long after its last renewal: a repetition waits that long for a call that was killed. */
  readonly claimMs: number;
  /** Between two renewals; two of them may be lost. A call that ends sooner makes none. */
  readonly renewMs: number;
  /** Between two tries of a renewal that failed. */
  readonly retryMs: number;
}

/** What runs in AWS. */
export const CLAIM_TIMINGS: ClaimTimings = { claimMs: 30_000, renewMs: 10_000, retryMs: 2_000 };

export interface HeldKeyPorts {
  /** Keeps the key until then (epoch milliseconds); false when it is another's by now. */
  readonly renew: (until: number) => Promise<boolean>;
  readonly timings: ClaimTimings;
  /** Epoch milliseconds. */
  readonly now: () => number;
  /** Resolves after `ms`, or as soon as `signal` aborts. */
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>;
}

/** An idempotency key in hand: renewed by a heartbeat until it is let go of. */
export interface HeldKey {
  /** Aborts when the key is another's, or may be: whoever goes on then does, and charges, what another does too. */
  readonly lost: AbortSignal;
  /** Ends the heartbeat, once the one on its way is back. */
  letGo(): Promise<void>;
}

/**
 * Keeps a key that was taken until `until` (epoch milliseconds).
 * @param reason what `lost` aborts with
 */
export function holdKey(until: number, { renew, timings, now, sleep }: HeldKeyPorts, reason: () => Error): HeldKey {
  const { claimMs, renewMs, retryMs } = timings;
  const lost = new AbortController();
  let heldUntil = until;

  /** The pause until the next renewal; undefined when the key is lost. */
  async function beat(): Promise<number | undefined> {
    const next = now() + claimMs;
    try {
      if (!(await renew(next))) return undefined;
      heldUntil = next;
      return renewMs;
    } catch {
      return now() + retryMs < heldUntil ? retryMs : undefined;
    }
  }

  const heartbeat = startHeartbeat(
    renewMs,
    async () => {
      const pauseMs = await beat();
      if (pauseMs === undefined) lost.abort(reason());
      return pauseMs;
    },
    sleep,
  );

  return { lost: lost.signal, letGo: () => heartbeat.stop() };
}
