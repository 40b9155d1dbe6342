import { BoundedMap } from '../core/bounded-map.ts';

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

/** Tenants whose failures at a target are remembered. Beyond it, the one that failed least recently is forgotten. */
const MAX_TENANTS = 1_000;

/**
 * The circuit breaker of one target in one environment. It opens after `failureThreshold` consecutive failures; the
 * router then skips the target. After `openMs` it allows calls again: a success closes it, a failure reopens it.
 *
 * Each tenant has a circuit, so that requests which fail by their own content (too slow, too much) exclude no other tenant. The circuit
 * of all tenants opens only when requests of two tenants have failed since the last success, or when it was open before and
 * a call of another tenant than the one that opened it failed again. Has no timer; methods take the time in epoch milliseconds.
 */
export class CircuitBreaker {
  readonly #settings: BreakerSettings;
  readonly #all: Circuit;
  readonly #byTenant = new BoundedMap<string, Circuit>(MAX_TENANTS);
  /** The tenants, at most two, whose requests have failed since the last success. */
  readonly #failing = new Set<string>();
  /** The tenant whose failure opened the circuit of all tenants last. */
  #openedBy: string | undefined;

  constructor(settings: BreakerSettings = DEFAULT_BREAKER) {
    this.#settings = settings;
    this.#all = new Circuit(settings);
  }

  /** Returns the milliseconds until a call of the tenant is allowed; 0 if one is allowed now. */
  getWaitMs(tenant: string, now: number): number {
    return Math.max(this.#all.getWaitMs(now), this.#byTenant.get(tenant)?.getWaitMs(now) ?? 0);
  }

  recordSuccess(tenant: string): void {
    this.#all.close();
    this.#byTenant.delete(tenant);
    this.#failing.clear();
    this.#openedBy = undefined;
  }

  recordFailure(tenant: string, now: number): void {
    const own = this.#byTenant.get(tenant) ?? new Circuit(this.#settings);
    own.recordFailure(now, true);
    this.#byTenant.set(tenant, own);
    if (this.#failing.size < 2) this.#failing.add(tenant);
    // A tenant that fails first each time could otherwise keep the circuit open for all others.
    const mayOpen = this.#failing.size > 1 && this.#openedBy !== tenant;
    if (this.#all.recordFailure(now, mayOpen)) this.#openedBy = tenant;
  }
}

/** Counts consecutive failures, and is open for a while after too many. */
class Circuit {
  #failures = 0;
  #openings = 0;
  #openUntil = 0;
  readonly #settings: BreakerSettings;

  constructor(settings: BreakerSettings) {
    this.#settings = settings;
  }

  getWaitMs(now: number): number {
    return Math.max(0, this.#openUntil - now);
  }

  close(): void {
    this.#failures = 0;
    this.#openings = 0;
    this.#openUntil = 0;
  }

  /**
   * @param mayOpen whether the failure may open the circuit
   * @returns whether it has
   */
  recordFailure(now: number, mayOpen: boolean): boolean {
    // Calls that began before the circuit opened say nothing about the time after it.
    if (this.getWaitMs(now) > 0) return false;
    this.#failures += 1;
    const isProbe = this.#openings > 0;
    if (!mayOpen || (!isProbe && this.#failures < this.#settings.failureThreshold)) return false;
    this.#openUntil = now + Math.min(this.#settings.maxOpenMs, this.#settings.openMs * 2 ** this.#openings);
    this.#openings += 1;
    return true;
  }
}
