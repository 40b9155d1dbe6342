/** A key is free again so long after its holder was last heard of: what a caller waits for one that was killed. */
export const CLAIM_MS = 30_000;
/** Two renewals may be lost. A call that ends sooner makes none. */
export const RENEW_MS = 10_000;
/** Between two tries of a renewal that can't be made. */
const RETRY_MS = 2_000;

export interface HeldKeyPorts {
  /** Keeps the key until then (epoch milliseconds); false when it is another's by now. */
  readonly renew: (until: number) => Promise<boolean>;
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
export function holdKey(until: number, { renew, now, sleep }: HeldKeyPorts, reason: () => Error): HeldKey {
  const lost = new AbortController();
  const ended = new AbortController();
  let heldUntil = until;

  /** The pause until the next renewal; undefined when the key is lost. */
  async function beat(): Promise<number | undefined> {
    const next = now() + CLAIM_MS;
    try {
      if (!(await renew(next))) return undefined;
      heldUntil = next;
      return RENEW_MS;
    } catch {
      return now() + RETRY_MS < heldUntil ? RETRY_MS : undefined;
    }
  }

  async function beats(): Promise<void> {
    let pauseMs: number | undefined = RENEW_MS;
    while (pauseMs !== undefined) {
      await sleep(pauseMs, ended.signal);
      if (ended.signal.aborted) return;
      pauseMs = await beat();
    }
    lost.abort(reason());
  }
  const beating = beats();

  return {
    lost: lost.signal,
    async letGo() {
      ended.abort();
      await beating;
    },
  };
}
