import { type ErrorCode, isErrorCode, LambentError } from '../core/errors.ts';
import type { Job } from '../jobs/job.ts';

/** Returns the error of a failed or expired job. Jobs store only an error's code: its message may quote the request. */
export function jobError({ errorCode, status, tries }: Pick<Job, 'errorCode' | 'status' | 'tries'>): LambentError {
  if (status === 'expired') return new LambentError('deadline_exceeded', 'The deadline has passed.');
  const code: ErrorCode = isErrorCode(errorCode) ? errorCode : 'internal';
  const message = MESSAGES[code] ?? `The request failed (${code}).`;
  const error = new LambentError(code, message);
  // Others end a job at its first attempt.
  if (tries === undefined || !error.retryable) return error;
  const limited = `${message} Its limit triesPerJob allows ${tries === 1 ? 'one try' : `${tries} tries`}.`;
  return new LambentError(code, limited, { publicMessage: limited });
}

/** Errors of jobs whose stored items were deleted, or whose project was archived, while they waited. */
const MESSAGES: { readonly [Code in ErrorCode]?: string } = {
  not_found: 'The conversation of this response was deleted before the response was generated.',
  previous_response_not_found: 'A previous response was deleted, or has expired, before this response was generated.',
  project_archived: 'The project was archived before the response was generated.',
};
