import { type ErrorCode, type LambentError, toLambentError } from '../core/errors.ts';
import type { Job, TerminalStatus } from './job.ts';
import type { Stop } from './lease.ts';
import type { JobTimings } from './timings.ts';
import { MAX_ATTEMPTS } from './transitions.ts';

/** What follows from an attempt that came to no answer. */
export type Verdict =
  | { readonly kind: 'end'; readonly status: TerminalStatus; readonly errorCode?: ErrorCode }
  /** Given back with its attempt. */
  | { readonly kind: 'release'; readonly pauseMs: number; readonly errorCode?: ErrorCode }
  /** Tried again, as one of three attempts. */
  | { readonly kind: 'retry'; readonly pauseMs: number; readonly errorCode: ErrorCode }
  /** Somebody else's now. */
  | { readonly kind: 'none' };

/**
 * What is nobody's fault but the moment's: throttling and outages, of models and of what a job is stored in. However
 * long it lasts, it fails no job before its deadline.
 */
const MOMENTARY: ReadonlySet<ErrorCode> = new Set([
  'rate_limit_exceeded',
  'overloaded',
  'upstream_unavailable',
  'vault_unavailable',
]);

/** SQS delays a message no longer than that. */
const LONGEST_ASKED_PAUSE_MS = 900_000;
/** Flex work waits this many times as long as other work, which then finds the room. */
const FLEX_PATIENCE = 4;

export interface Circumstances {
  /** Why the attempt was stopped, if it was. */
  readonly stop: Stop | undefined;
  /** Whether the model was asked. */
  readonly asked: boolean;
  /** Epoch milliseconds. */
  readonly now: number;
  /** 0 up to 1, to spread those who come back. */
  readonly random: number;
  readonly timings: JobTimings;
}

/** Judges what an attempt threw. */
export function verdictOn(thrown: unknown, job: Job, circumstances: Circumstances): Verdict {
  const { stop, asked, now } = circumstances;
  if (stop === 'fenced') return { kind: 'none' };
  if (stop === 'cancelled') return { kind: 'end', status: 'cancelled' };
  if (stop === 'overdue' || now >= job.deadline) {
    return { kind: 'end', status: 'expired', errorCode: 'deadline_exceeded' };
  }
  if (stop === 'shutdown') return shutDown(job, asked);
  const error = failureOf(thrown);
  if (MOMENTARY.has(error.code)) {
    return { kind: 'release', pauseMs: pauseOf(job, job.releases, error, circumstances), errorCode: error.code };
  }
  if (!error.retryable || job.attempts >= MAX_ATTEMPTS) return { kind: 'end', status: 'failed', errorCode: error.code };
  return { kind: 'retry', pauseMs: pauseOf(job, job.attempts - 1, error, circumstances), errorCode: error.code };
}

/**
 * A function that had to stop before it asked gives the attempt back. One that asked has used it: an answer that takes
 * longer than a function may run would be begun and paid for until the deadline.
 */
function shutDown(job: Job, asked: boolean): Verdict {
  if (!asked) return { kind: 'release', pauseMs: 0 };
  if (job.attempts >= MAX_ATTEMPTS) return { kind: 'end', status: 'failed', errorCode: 'deadline_exceeded' };
  return { kind: 'retry', pauseMs: 0, errorCode: 'deadline_exceeded' };
}

/** The error behind what was thrown. What AWS says of itself is an outage of what jobs are stored in. */
function failureOf(thrown: unknown): Pick<LambentError, 'code' | 'retryable' | 'retryAfterMs'> {
  if (isAwsFailure(thrown)) return { code: 'vault_unavailable', retryable: true, retryAfterMs: undefined };
  return toLambentError(thrown);
}

/** Whether the AWS SDK threw it: every exception of a service and every lost connection carries `$metadata`. */
export function isAwsFailure(thrown: unknown): boolean {
  return thrown instanceof Error && '$metadata' in thrown;
}

/** Milliseconds for which a job that stands back for other work does so: as if it had been throttled. */
export function standBackMs(job: Job, chance: Pick<Circumstances, 'random' | 'timings'>): number {
  return pauseOf(job, job.releases, { retryAfterMs: undefined }, chance);
}

function pauseOf(
  job: Job,
  earlier: number,
  { retryAfterMs }: { retryAfterMs: number | undefined },
  { random, timings }: Pick<Circumstances, 'random' | 'timings'>,
): number {
  const patience = job.tier === 'flex' ? FLEX_PATIENCE : 1;
  const grown = Math.min(timings.firstPauseMs * 2 ** earlier, timings.longestPauseMs) * patience;
  const asked = Math.min(retryAfterMs ?? 0, LONGEST_ASKED_PAUSE_MS / 2);
  // At least half of it, so that it is a pause; the rest by chance, so that those who left together don't return so.
  return Math.round(asked + grown * (0.5 + random / 2));
}
