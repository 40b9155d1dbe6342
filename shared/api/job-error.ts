import { type ErrorCode, isErrorCode, LambentError } from '../core/errors.ts';
import { omitUndefined } from '../core/objects.ts';
import type { Job } from '../jobs/job.ts';
import { findErrorType, parseLimitName } from '../limits/limit-name.ts';
import { OWNERS } from '../limits/owners.ts';

/**
 * Returns the error of a failed or expired job. Jobs store only an error's code, and the name of the limit or the refusal of the
 * policy that caused it: its message may quote the request.
 */
export function jobError(
  job: Pick<Job, 'errorCode' | 'errorLimit' | 'errorRefusal' | 'status' | 'tries'>,
): LambentError {
  const { errorCode, errorRefusal, status, tries } = job;
  const limit = job.errorLimit === undefined ? undefined : parseLimitName(job.errorLimit);
  if (status === 'expired') {
    const message = `The deadline has passed${limit === undefined ? '' : ` while the request waited for ${describeLimit(limit)}`}.`;
    return new LambentError('deadline_exceeded', message, limit && { publicMessage: message });
  }
  const code: ErrorCode = isErrorCode(errorCode) ? errorCode : 'internal';
  // A job fails by a limit only if it can never run under it. Otherwise it waits.
  if (limit !== undefined && LIMITED.has(code)) {
    const publicMessage = `The request is larger than ${describeLimit(limit)} allows.`;
    const details = { publicMessage, isFinal: true, ...omitUndefined({ type: findErrorType(limit.name) }) };
    return new LambentError(code, publicMessage, details);
  }
  const message = errorRefusal ?? MESSAGES[code] ?? `The request failed (${code}).`;
  const error = new LambentError(code, message);
  // Others end a job at its first attempt.
  if (tries === undefined || !error.retryable) return error;
  const limited = `${message} Its limit triesPerJob allows ${tries === 1 ? 'one try' : `${tries} tries`}.`;
  return new LambentError(code, limited, { publicMessage: limited });
}

const LIMITED: ReadonlySet<ErrorCode> = new Set(['rate_limit_exceeded', 'insufficient_quota']);

/** Names a limit to readers of the job, who may have another key than its caller. */
function describeLimit({ level, name }: NonNullable<ReturnType<typeof parseLimitName>>): string {
  return `${name} of ${level === 'key' ? "the caller's key" : OWNERS[level]}`;
}

/** Errors of jobs whose stored items were deleted, or whose project was archived, while they waited. */
const MESSAGES: { readonly [Code in ErrorCode]?: string } = {
  not_found: 'The conversation of this response was deleted before the response was generated.',
  previous_response_not_found: 'A previous response was deleted, or has expired, before this response was generated.',
  project_archived: 'The project was archived before the response was generated.',
};
