import type { Pace } from './pace.ts';

/** A permit that was not used for so long, in milliseconds, counts no more: the job may have waited for a store meanwhile. */
const STALE_MS = 2_000;

/** The permit of one ticket to call a model. Holds one at most, and gives it back if it isn't used. */
export class CallPermit {
  readonly #pace: Pace | undefined;
  readonly #now: () => number;
  #held: { readonly model: string; readonly at: number } | undefined;

  /** @param pace absent if calls need no permits */
  constructor(pace: Pace | undefined, now: () => number) {
    this.#pace = pace;
    this.#now = now;
  }

  /** Takes a permit, unless one is held. Returns the epoch milliseconds until which to wait instead, if there is none. */
  async take(model: string): Promise<number | undefined> {
    if (this.#held?.model === model && this.#now() - this.#held.at < STALE_MS) return undefined;
    this.giveBack();
    const until = await this.#pace?.admit(model);
    if (until === undefined) this.#held = { model, at: this.#now() };
    return until;
  }

  /** Uses the permit up. */
  use(): void {
    this.#held = undefined;
  }

  giveBack(): void {
    if (this.#held !== undefined) this.#pace?.giveBack(this.#held.model);
    this.#held = undefined;
  }
}
