/** Lambda's own refusals, as its Invoke API names them. */
export type LambdaServiceErrorType =
  | 'TooManyRequestsException'
  | 'ResourceNotFoundException'
  | 'RequestTooLargeException'
  | 'InvalidRequestContentException'
  | 'ServiceException';

const STATUS: Readonly<Record<LambdaServiceErrorType, number>> = {
  TooManyRequestsException: 429,
  ResourceNotFoundException: 404,
  RequestTooLargeException: 413,
  InvalidRequestContentException: 400,
  ServiceException: 500,
};

/** Lambda refused to invoke a function; the function never saw the call. */
export class LambdaServiceError extends Error {
  override readonly name = 'LambdaServiceError';
  readonly type: LambdaServiceErrorType;
  /** Why it throttled, in Lambda's words. */
  readonly reason: string | undefined;

  constructor(type: LambdaServiceErrorType, message: string, reason?: string) {
    super(message);
    this.type = type;
    this.reason = reason;
  }

  /** HTTP status of the Invoke API for it. */
  get status(): number {
    return STATUS[this.type];
  }
}

/** A function was invoked and failed: it threw, ran too long, or its process ended. */
export class FunctionError extends Error {
  override readonly name = 'FunctionError';
  /** Lambda's name for it: the thrown error's own, or `Sandbox.Timedout`, `Runtime.ExitError`… */
  readonly errorType: string;
  /** What the Invoke API answers: JSON with `errorType`, `errorMessage` and perhaps `trace`. */
  readonly payload: string;

  constructor(errorType: string, message: string, payload?: string) {
    super(message);
    this.errorType = errorType;
    this.payload = payload ?? JSON.stringify({ errorType, errorMessage: message });
  }

  /** Reads a failure as the runtime in the function's process reports it: Lambda's JSON of an error. */
  static fromReport(payload: string): FunctionError {
    const { errorType, errorMessage } = parseReport(payload);
    return new FunctionError(errorType, errorMessage, payload);
  }
}

function parseReport(payload: string): { errorType: string; errorMessage: string } {
  try {
    const report: unknown = JSON.parse(payload);
    if (typeof report === 'object' && report !== null && 'errorType' in report && 'errorMessage' in report) {
      return { errorType: String(report.errorType), errorMessage: String(report.errorMessage) };
    }
  } catch {
    // A runtime that ends while it reports leaves half a report, which says no more than that.
  }
  return { errorType: 'Runtime.Unknown', errorMessage: 'The function failed and did not say why.' };
}
