import { LambentError } from './errors.ts';

/** Returns the error of a call that no model was sent, for a job that has asked a model before it: the job counts an ask. */
export function toAskedError(thrown: unknown): unknown {
  if (!(thrown instanceof LambentError)) return thrown;
  const { isUnasked, ...details } = thrown.details;
  return isUnasked ? new LambentError(thrown.code, thrown.message, details) : thrown;
}
