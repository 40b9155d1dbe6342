import { type ErrorDetails, LambentError } from '../../core/errors.ts';

/** Callers see this message. */
const UNAVAILABLE = 'The content of this request could not be checked. Please try again later.';

/** A guardrail has failed, or has not answered in time. */
export class GuardrailError extends LambentError {
  /**
   * True if it works, but not for all of a check: it has answered other calls of the check, or its quota is exhausted. Callers can
   * bring this about by long or many requests, so content must not pass because of it.
   */
  readonly isReachable: boolean;

  constructor(isReachable: boolean, details: ErrorDetails) {
    super('guardrail_unavailable', UNAVAILABLE, details);
    this.isReachable = isReachable;
  }
}
