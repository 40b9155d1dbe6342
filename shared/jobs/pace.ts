/**
 * Limits how often jobs ask a model that throttles, over all environments. Its methods never throw: without the shared state
 * nothing is limited.
 */
export interface Pace {
  /** Asks for permission to call a model. Returns the epoch milliseconds before which it must not be called, if refused. */
  admit(model: string): Promise<number | undefined>;
  /** Records that a model began to answer. */
  accepted(model: string): void;
  /** Records that a model throttled a call. */
  throttled(model: string, retryAfterMs: number | undefined): void;
}
