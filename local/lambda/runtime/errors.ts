/** Lambda's JSON of an error, which the Runtime API takes and the Invoke API hands to the caller. */
export interface ErrorReport {
  readonly errorType: string;
  readonly errorMessage: string;
  readonly trace: readonly string[];
}

/** Describes an error as Lambda's own runtime does. A thrown value that is no `Error` is named by its type. */
export function toErrorReport(error: unknown): ErrorReport {
  if (!(error instanceof Error)) return { errorType: typeof error, errorMessage: String(error), trace: [] };
  // A header carries the type, so it holds visible ASCII only.
  const errorType = (error.name || 'Error').replace(/[^\x21-\x7e]/g, '?');
  return { errorType, errorMessage: error.message, trace: (error.stack ?? '').split('\n') };
}

/** Makes an error of the runtime itself, such as `Runtime.HandlerNotFound`. */
export function runtimeError(name: string, message: string): Error {
  return Object.assign(new Error(message), { name });
}
