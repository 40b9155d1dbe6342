/** An error in Lambda's JSON format. The Runtime API accepts it, and the Invoke API returns it to the caller. */
export interface ErrorReport {
  readonly errorType: string;
  readonly errorMessage: string;
  readonly trace: readonly string[];
}

/**
 * Returns an error's report, as Lambda's own runtime makes it. If the value is not an `Error`, its type is reported.
 */
export function toErrorReport(error: unknown): ErrorReport {
  if (!(error instanceof Error)) return { errorType: typeof error, errorMessage: String(error), trace: [] };
  // The type is sent in a header, so it may contain only visible ASCII.
  const errorType = (error.name || 'Error').replace(/[^\x21-\x7e]/g, '?');
  return { errorType, errorMessage: error.message, trace: (error.stack ?? '').split('\n') };
}

/** Returns an error of the runtime itself, such as `Runtime.HandlerNotFound`. */
export function runtimeError(name: string, message: string): Error {
  return Object.assign(new Error(message), { name });
}
