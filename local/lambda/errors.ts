/** Errors of Lambda itself, as its Invoke API names them. */
export type LambdaServiceErrorType =
  | 'TooManyRequestsException'
  | 'ResourceNotFoundException'
  | 'RequestTooLargeException'
  | 'InvalidRequestContentException'
  | 'RecursiveInvocationException'
  | 'ServiceException';

const STATUS: Readonly<Record<LambdaServiceErrorType, number>> = {
  TooManyRequestsException: 429,
  ResourceNotFoundException: 404,
  RequestTooLargeException: 413,
  InvalidRequestContentException: 400,
  RecursiveInvocationException: 400,
  ServiceException: 500,
};

/** Lambda refused to invoke a function. The function did not run. */
export class LambdaServiceError extends Error {
  override readonly name = 'LambdaServiceError';
  readonly type: LambdaServiceErrorType;
  /** The reason for a throttle, in Lambda's words. */
  readonly reason: string | undefined;

  constructor(type: LambdaServiceErrorType, message: string, reason?: string) {
    super(message);
    this.type = type;
    this.reason = reason;
  }

  /** The Invoke API's HTTP status for this error. */
  get status(): number {
    return STATUS[this.type];
  }
}

/** A function ran and failed: it threw, exceeded its timeout, or its process ended. */
export class FunctionError extends Error {
  override readonly name = 'FunctionError';
  /** The name of the thrown error, or Lambda's own: `Sandbox.Timedout`, `Runtime.ExitError`… */
  readonly errorType: string;
  /** The Invoke API's response body: JSON with `errorType`, `errorMessage` and, if the handler threw, `trace`. */
  readonly payload: string;

  constructor(errorType: string, message: string, payload?: string) {
    super(message);
    this.errorType = errorType;
    this.payload = payload ?? JSON.stringify({ errorType, errorMessage: message });
  }

  /** Makes an error from the JSON report that the runtime in the function's process posted. */
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
    // The report is incomplete if the runtime ended while it sent it.
  }
  return { errorType: 'Runtime.Unknown', errorMessage: 'The function failed without reporting an error.' };
}
