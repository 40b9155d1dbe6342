import { UpstreamError } from '../../../shared/inference/model.ts';
import { createMemoryPaceTable } from '../../shared/jobs/memory-pace-table.ts';
import type { VirtualTime } from '../virtual-time.ts';

/** The model throttles until this time of the run. */
export const THROTTLED_MS = 600_000;
export const ACCEPTED_PER_SECOND = 2;
/** From a call to its first token, or to its refusal. */
export const FIRST_TOKEN_MS = 300;

/** A call to the throttled model. */
export interface Call {
  readonly at: number;
  readonly accepted: boolean;
}

/** A model that accepts a few calls per second for ten minutes, and all calls from then on. */
export class ThrottledModel {
  readonly calls: Call[] = [];
  /** The state that its callers share. */
  readonly paceTable = createMemoryPaceTable();
  #tokens = ACCEPTED_PER_SECOND;
  #filledAt = 0;

  async call(time: VirtualTime): Promise<void> {
    const at = time.now();
    this.#tokens = Math.min(ACCEPTED_PER_SECOND, this.#tokens + ((at - this.#filledAt) / 1_000) * ACCEPTED_PER_SECOND);
    this.#filledAt = at;
    const accepted = at >= THROTTLED_MS || this.#tokens >= 1;
    this.calls.push({ at, accepted });
    if (accepted) this.#tokens -= 1;
    await time.sleep(FIRST_TOKEN_MS);
    if (!accepted) throw new UpstreamError('rate_limit_exceeded', 'Too many requests', { recovery: 'retry' });
  }

  count(fromMs: number, untilMs: number, isCounted: (call: Call) => boolean = () => true): number {
    return this.calls.filter((call) => call.at >= fromMs && call.at < untilMs && isCounted(call)).length;
  }
}
