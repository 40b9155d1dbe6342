/** Names of errors by which AWS asks to slow down. DynamoDB sends them with status 400. */
const THROTTLED = /Throttl|ThroughputExceeded|LimitExceeded|SlowDown/;

/** Returns whether the AWS SDK threw it: each service exception and each lost connection has `$metadata`. */
export function isAwsError(thrown: unknown): thrown is Error & { readonly $metadata: unknown } {
  return thrown instanceof Error && '$metadata' in thrown;
}

/**
 * Returns whether the AWS SDK threw an error that passes: a lost connection, an outage or throttling. A request that AWS refuses,
 * such as one without permission, is refused each time.
 */
export function isAwsOutage(thrown: unknown): boolean {
  if (!isAwsError(thrown)) return false;
  const { httpStatusCode } = Object(thrown.$metadata);
  return httpStatusCode === undefined || httpStatusCode >= 500 || THROTTLED.test(thrown.name);
}

/** Returns whether AWS refused a request because there are too many. The request had no effect. */
export function isThrottling(thrown: unknown): boolean {
  return isAwsError(thrown) && THROTTLED.test(thrown.name);
}

/** The system calls that fail if there is no connection yet. */
const CONNECTING: ReadonlySet<unknown> = new Set(['connect', 'getaddrinfo']);

/** Returns whether a request was not sent, because no connection could be made. It had no effect. */
export function isUnsent(thrown: unknown): boolean {
  if (!(thrown instanceof Error)) return false;
  // Node tries each address of a name.
  if (thrown instanceof AggregateError) return thrown.errors.length > 0 && thrown.errors.every(isUnsent);
  return 'syscall' in thrown && CONNECTING.has(thrown.syscall);
}
