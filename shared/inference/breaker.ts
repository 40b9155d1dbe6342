/** Settings of a circuit breaker. */
export interface BreakerSettings {
  /** Failures in a row that open it. */
  readonly failureThreshold: number;
  /** Milliseconds it stays open the first time; doubles each time it opens again, up to `maxOpenMs`. */
  readonly openMs: number;
  readonly maxOpenMs: number;
}

/** Five in a row is past a bad moment; ten seconds is what a failing endpoint typically needs to be replaced. */
export const DEFAULT_BREAKER: BreakerSettings = { failureThreshold: 5, openMs: 10_000, maxOpenMs: 120_000 };

/**
 * A circuit breaker for one target in one environment. After `failures` failures in a row it is open: the target is
 * passed over. When `openMs` have gone by it lets one attempt through; that attempt's outcome closes or opens it again.
 * Holds no timer; time is passed in, in epoch milliseconds.
 */
export class CircuitBreaker {
  #failures = 0;
  #openings = 0;
  #openUntil = 0;
  readonly #settings: BreakerSettings;

  constructor(settings: BreakerSettings = DEFAULT_BREAKER) {
    this.#settings = settings;
  }

  /** Milliseconds until an attempt is allowed; 0 when one is allowed now. */
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
