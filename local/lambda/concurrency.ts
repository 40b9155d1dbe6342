import { LambdaServiceError } from './errors.ts';

/** Lambda's reasons for a throttle. */
type Reason = 'ReservedFunctionConcurrentInvocationLimitExceeded' | 'ConcurrentInvocationLimitExceeded';

/** Counts invocations against a limit: a function's own reservation, or what all others share. */
export class Concurrency {
  readonly limit: number;
  readonly #reason: Reason;
  #inUse = 0;

  /** @param limit invocations at once; 0 refuses all, as a reservation of 0 does in AWS */
  constructor(limit: number, reason: Reason) {
    this.limit = limit;
    this.#reason = reason;
  }

  /**
   * Takes one place.
   * @returns gives it back; more than once has no further effect
   * @throws LambdaServiceError `TooManyRequestsException` when none is free
   */
  acquire(): () => void {
    if (this.#inUse >= this.limit)
      throw new LambdaServiceError('TooManyRequestsException', 'Rate Exceeded.', this.#reason);
    this.#inUse += 1;
    let held = true;
    return () => {
      if (held) this.#inUse -= 1;
      held = false;
    };
  }
}
