/** Settings of a circuit breaker. */
export interface BreakerSettings {
  /** Number of consecutive failures that open the breaker. */
  readonly failureThreshold: number;
  /** Milliseconds that the breaker stays open the first time; doubles each time it reopens, up to `maxOpenMs`. */
  readonly openMs: number;
  readonly maxOpenMs: number;
}

/** Five consecutive failures are more than a glitch; ten seconds is about the time to replace a failing endpoint. */
export const DEFAULT_BREAKER: BreakerSettings = { failureThreshold: 5, openMs: 10_000, maxOpenMs: 120_000 };

/**
 * The circuit breaker of one target in one environment. It opens after `failureThreshold` consecutive failures; the
 * router then skips the target. After `openMs` it allows calls again: a success closes it, a failure reopens it.
 * Has no timer; methods take the time in epoch milliseconds.
 */
export class CircuitBreaker {
  #failures = 0;
  #openings = 0;
  #openUntil = 0;
  readonly #settings: BreakerSettings;

  constructor(settings: BreakerSettings = DEFAULT_BREAKER) {
    this.#settings = settings;
  }

  /** Returns the milliseconds until a call is allowed; 0 if one is allowed now. */
  getWaitMs(now: number): number {
    return Math.max(0, this.#openUntil - now);
  }

  recordSuccess(): void {
    this.#failures = 0;
    this.#openings = 0;
    this.#openUntil = 0;
  }

  recordFailure(now: number): void {
    this.#failures += 1;
    const probing = this.#openings > 0;
    if (!probing && this.#failures < this.#settings.failureThreshold) return;
    this.#openUntil = now + Math.min(this.#settings.maxOpenMs, this.#settings.openMs * 2 ** this.#openings);
    this.#openings += 1;
  }
}
