import { toAskedError } from '../core/asked-error.ts';
import type { LambentError } from '../core/errors.ts';
import type { Candidate } from '../inference/candidates.ts';
import type { Consumption } from '../limits/caps.ts';
import type { Use } from '../limits/use.ts';
import type { ReservedCall } from './reservations.ts';

export interface AttemptReservationsOptions {
  /** The model that the call asks for. */
  readonly model: string;
  /** What is reserved under the call's limits; undefined if it has none. */
  readonly reserved: ReservedCall | undefined;
  readonly use: Use;
  /**
   * Reserves the most that an attempt can use under the limits of a model that the call falls back to. Returns undefined if it has
   * none. Default: none has.
   */
  readonly reserveFallback?: (model: string, most: Consumption) => Promise<ReservedCall | undefined>;
}

/** Makes sure that what a call has reserved is enough for each of its attempts, and settles all of it. */
export class AttemptReservations {
  readonly #options: AttemptReservationsOptions;
  /** By model; undefined for a model without limits. */
  readonly #fallbacks = new Map<string, ReservedCall | undefined>();
  /** Models at whose targets attempts have begun. */
  readonly #called = new Set<string>();

  constructor(options: AttemptReservationsOptions) {
    this.#options = options;
  }

  /**
   * Reserves what is missing for an attempt, and notes that it begins.
   * @param failure that of the attempt before at the same target
   * @throws LambentError `failure`, or without one the refusal of a limit, if there is too little left
   */
  async admit(candidate: Candidate, failure: LambentError | undefined): Promise<void> {
    await this.#reserve(candidate).catch((thrown: unknown) => {
      // Why a target failed matters more than why it isn't tried again. Models that were called before may charge for it.
      throw failure ?? (this.#called.size === 0 ? thrown : toAskedError(thrown));
    });
    this.#called.add(candidate.aliasName);
    this.#options.use.begin(candidate);
  }

  /** Replaces what was reserved by what was used. Never throws. */
  async settle(requests: bigint): Promise<void> {
    const { reserved, use } = this.#options;
    // A fallback may not have been called, because the call's own limits didn't allow it.
    const ofFallbacks = [...this.#fallbacks].map(([model, each]) =>
      each?.settle(use.computeTotal(this.#called.has(model) ? requests : 0n, model)),
    );
    await Promise.all([reserved?.settle(use.computeTotal(requests)), ...ofFallbacks]);
  }

  async #reserve(candidate: Candidate): Promise<void> {
    const { model, reserved, use } = this.#options;
    if (candidate.aliasName !== model) {
      const most = use.computeMost(candidate, candidate.aliasName);
      const fallback = await this.#reserveFallback(candidate.aliasName, most);
      await fallback?.cover(most);
    }
    await reserved?.cover(use.computeMost(candidate));
  }

  async #reserveFallback(model: string, most: Consumption): Promise<ReservedCall | undefined> {
    if (!this.#fallbacks.has(model)) this.#fallbacks.set(model, await this.#options.reserveFallback?.(model, most));
    return this.#fallbacks.get(model);
  }
}
