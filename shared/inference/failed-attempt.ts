import type { ErrorCode, LambentError } from '../core/errors.ts';
import { describeError } from '../core/logger.ts';
import type { Telemetry } from '../core/telemetry.ts';
import type { Candidate } from './candidates.ts';
import { describeDestination } from './destinations.ts';

/** An attempt that failed before or during its answer. */
export interface FailedAttempt {
  readonly candidate: Candidate;
  readonly error: LambentError;
  readonly ms: number;
}

/** Errors that only an operator can repair. */
const OPERATORS: ReadonlySet<ErrorCode> = new Set(['configuration', 'upstream_misconfigured']);

/**
 * Logs a failed attempt. A target that only the operator can repair is counted: if a fallback answers instead, nothing else shows it.
 */
export function logFailedAttempt(
  { logger, metrics }: Telemetry,
  { candidate: { aliasName, target }, error, ms }: FailedAttempt,
): void {
  const fields = { model: aliasName, ...describeDestination(target), ms: Math.round(ms), ...describeError(error) };
  if (OPERATORS.has(error.code)) {
    logger.error('target not usable', fields);
    metrics.publish({ TargetsUnusable: [1, 'Count'] }, 'stage');
  } else logger.warn('attempt failed', fields);
}
