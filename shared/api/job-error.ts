import { type ErrorCode, isErrorCode, LambentError } from '../core/errors.ts';
import type { Job } from '../jobs/job.ts';

/** Returns the error with which a job ended. Jobs store its code only: a text may quote the request. */
export function jobError({ errorCode, status }: Pick<Job, 'errorCode' | 'status'>): LambentError {
  if (status === 'expired') return new LambentError('deadline_exceeded', 'The deadline has passed');
  const code: ErrorCode = isErrorCode(errorCode) ? errorCode : 'internal';
  return new LambentError(code, `The request could not be answered (${code}).`);
}
