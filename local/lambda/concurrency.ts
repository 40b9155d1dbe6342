import { LambdaServiceError } from './errors.ts';

/** Lambda's reasons for a throttle. */
type Reason = 'ReservedFunctionConcurrentInvocationLimitExceeded' | 'ConcurrentInvocationLimitExceeded';

/**
 * Counts concurrent invocations up to a limit: a function's reservation, or the limit that all other functions share.
 */
export class Concurrency {
  readonly limit: number;
  readonly #reason: Reason;
  #inUse = 0;

  /** @param limit maximum of concurrent invocations. 0 refuses all, as a reservation of 0 does in AWS. */
  constructor(limit: number, reason: Reason) {
    this.limit = limit;
    this.#reason = reason;
  }

  /**
   * Counts one more invocation.
   * @returns a function that releases it; further calls have no effect
   * @throws LambdaServiceError `TooManyRequestsException` at the limit
   */
  acquire(): () => void {
    if (this.#inUse >= this.limit)
      throw new LambdaServiceError('TooManyRequestsException', 'Rate Exceeded.', this.#reason);
    this.#inUse += 1;
    let counted = true;
    return () => {
      if (counted) this.#inUse -= 1;
      counted = false;
    };
  }
}
