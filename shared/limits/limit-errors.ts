import { LambentError } from '../core/errors.ts';
import { omitUndefined } from '../core/objects.ts';
import { formatDollars } from '../inference/cost.ts';
import type { QueueRefusal } from './job-ledger.ts';
import { encodeLimitName, findErrorType } from './limit-name.ts';
import type { Refusal } from './limiter.ts';
import { OWNERS } from './owners.ts';
import type { StorageRefusal } from './stored-amounts.ts';

/** A call in flight ends after some seconds, mostly. */
const IN_FLIGHT_RETRY_MS = 1_000;

/**
 * Returns the error of a call that a limit refuses: `insufficient_quota` for money, else `rate_limit_exceeded`. It is final if the
 * call is larger than the limit itself, as any is for a limit of 0. Otherwise a queued call waits also for money, because its
 * budget is renewed, with `rate_limit_exceeded`.
 * @param headers the limits' own headers
 */
export function limitError(
  refusal: Refusal,
  model: string,
  now: number,
  { queued, headers }: { readonly queued: boolean; readonly headers: Readonly<Record<string, string>> },
): LambentError {
  const { cap, left, requested, resetAt } = refusal;
  const isMoney = cap.metric === 'spend';
  const code = isMoney ? 'insufficient_quota' : 'rate_limit_exceeded';
  const limit = encodeLimitName(cap);
  const details = { headers, limit, ...omitUndefined({ type: findErrorType(cap.name) }), isUnasked: true } as const;
  const format = (amount: bigint): string => (isMoney ? `$${formatDollars(amount)}` : String(amount));
  const owned = `${cap.name} of ${OWNERS[cap.level]}`;
  if (requested > cap.max) {
    const size = `limit ${format(cap.max)}, requested ${format(requested)}.`;
    const hint = isMoney || cap.metric === 'tokens' ? ' Lower the maximum of output tokens or the input.' : '';
    const message =
      cap.max === 0n
        ? `Calls of \`${model}\` are not permitted: ${owned} is 0.`
        : `Request too large for \`${model}\` by ${owned}: ${size}${hint}`;
    return new LambentError(code, message, { ...details, publicMessage: message, isFinal: true });
  }
  const used = `${owned}: limit ${format(cap.max)}, left ${format(left)}, requested ${format(requested)}.`;
  const retryAfterMs = resetAt === undefined ? IN_FLIGHT_RETRY_MS : Math.max(0, resetAt - now);
  if (isMoney && !queued) {
    const until = resetAt === undefined ? '' : ` It is available again at ${new Date(resetAt).toISOString()}.`;
    const message = `You exceeded your current quota: ${used}${until}`;
    return new LambentError(code, message, { ...details, publicMessage: message });
  }
  const message = `Rate limit reached for \`${model}\` on ${used} Please try again in ${formatSeconds(retryAfterMs)}.`;
  return new LambentError('rate_limit_exceeded', message, { ...details, retryAfterMs });
}

/** An ended job frees its place at once, but an environment looks for ended jobs at most once in this time. */
const QUEUE_RETRY_MS = 1_000;

/**
 * Returns the error of a job that a limit on queued work refuses: `rate_limit_exceeded`. It has no `retryAfterMs` if the limit can never
 * allow the job.
 */
export function queueLimitError({ cap, left, requested }: QueueRefusal): LambentError {
  const subject = `${cap.name} of ${OWNERS[cap.level]}: limit ${cap.max}`;
  if (requested > cap.max) {
    const message =
      cap.max === 0n
        ? `Queued jobs are not permitted: ${cap.name} of ${OWNERS[cap.level]} is 0.`
        : `Job too large by ${subject}, requested ${requested}.`;
    return new LambentError('rate_limit_exceeded', message, { isFinal: true });
  }
  const message = `Limit reached for queued jobs on ${subject}, left ${left}, requested ${requested}. Please try again when jobs have ended.`;
  return new LambentError('rate_limit_exceeded', message, { retryAfterMs: QUEUE_RETRY_MS });
}

/** Returns the error of a request whose records a limit on what a project stores doesn't allow: `storage_limit_exceeded`. */
export function storageLimitError({ name, max, left, requested }: StorageRefusal): LambentError {
  const way = 'Delete stored responses, chat completions or conversations, or send requests that store nothing.';
  const rest = left === undefined ? '' : `left ${left}, `;
  const message = `Storage limit reached on ${name} of ${OWNERS.project}: limit ${max}, ${rest}requested ${requested}. ${way}`;
  return new LambentError('storage_limit_exceeded', message, { isUnasked: true });
}

/** Formats milliseconds as OpenAI does: `20s`, `1.5s`, `6m0s`. From a minute on, seconds are rounded up. */
export function formatSeconds(ms: number): string {
  const whole = Math.ceil(ms);
  if (whole < 60_000) return `${whole / 1000}s`;
  const seconds = Math.ceil(whole / 1000);
  const minutes = Math.floor(seconds / 60);
  const rest = `${minutes % 60}m${seconds % 60}s`;
  return minutes < 60 ? rest : `${Math.floor(minutes / 60)}h${rest}`;
}
