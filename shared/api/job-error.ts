import { type ErrorCode, isErrorCode, LambentError } from '../core/errors.ts';
import type { Job } from '../jobs/job.ts';

/** Returns the error of a failed or expired job. Jobs store only an error's code: its message may quote the request. */
export function jobError({ errorCode, status }: Pick<Job, 'errorCode' | 'status'>): LambentError {
  if (status === 'expired') return new LambentError('deadline_exceeded', 'The deadline has passed.');
  const code: ErrorCode = isErrorCode(errorCode) ? errorCode : 'internal';
  return new LambentError(code, `The request failed (${code}).`);
}
