import { isAwsError } from '../aws/outage.ts';
import { type ErrorCode, type LambentError, toLambentError } from '../core/errors.ts';
import { omitUndefined } from '../core/objects.ts';
import type { Job, TerminalStatus } from './job.ts';
import type { Stop } from './lease.ts';
import type { JobTimings } from './timings.ts';
import { MAX_ASKS, MAX_ATTEMPTS } from './transitions.ts';

/** What follows from an attempt that has no complete answer. */
export type Verdict =
  | {
      readonly kind: 'end';
      readonly status: TerminalStatus;
      readonly errorCode?: ErrorCode;
      readonly errorLimit?: string;
      readonly errorRefusal?: string;
    }
  /** The job is released, to be tried again. */
  | {
      readonly kind: 'release';
      readonly pauseMs: number;
      readonly errorCode?: ErrorCode;
      readonly errorLimit?: string;
      /** True if the attempt counts as one of three although its model has not begun to answer. */
      readonly counts?: boolean;
      /** True if the end of the invocation cut the attempt off. */
      readonly cutOff?: boolean;
      /** True if the attempt saved a complete answer for the next one. */
      readonly saved?: boolean;
    }
  /** The job has another holder, or has ended. */
  | { readonly kind: 'none' };

/** Errors of throttling and outages, of models and of stores. Before a model has begun to answer they count no attempt. */
const MOMENTARY: ReadonlySet<ErrorCode> = new Set([
  'rate_limit_exceeded',
  'overloaded',
  'upstream_unavailable',
  'vault_unavailable',
]);

/** The longest pause that an upstream's `retry-after` is followed for. */
const LONGEST_ASKED_PAUSE_MS = 450_000;
/** Flex work waits this many times as long as other work, which then finds free capacity. */
const FLEX_PATIENCE = 4;

export interface Circumstances {
  /** Why the attempt was stopped, if it was. */
  readonly stop: Stop | undefined;
  /** How far the attempt came with its model. */
  readonly progress: Progress;
  /** Epoch milliseconds. */
  readonly now: number;
  /** From 0 up to 1: spreads the retries of jobs that failed together. */
  readonly random: number;
  readonly timings: JobTimings;
}

/** How far an attempt came: its model was not asked, was asked, or began to answer. */
export type Progress = 'unasked' | 'asked' | 'begun';

/** Decides what follows from what an attempt threw. */
export function verdictOn(thrown: unknown, job: Job, circumstances: Circumstances): Verdict {
  const { stop, progress, now } = circumstances;
  if (stop === 'fenced') return { kind: 'none' };
  if (stop === 'cancelled') return { kind: 'end', status: 'cancelled' };
  if (stop === 'overdue' || now >= job.deadline) {
    return { kind: 'end', status: 'expired', errorCode: 'deadline_exceeded' };
  }
  if (stop === 'shutdown') return verdictOnShutdown(job, progress);
  const error = toFailure(thrown);
  const { code } = error;
  const reason = { errorCode: code, ...omitUndefined({ errorLimit: error.details?.limit }) };
  const isMomentary = MOMENTARY.has(code);
  if (!error.retryable || isLast(job, progress, !isMomentary)) {
    const refusal = omitUndefined({ errorRefusal: error.details?.refusal });
    return { kind: 'end', status: 'failed', ...reason, ...refusal };
  }
  const pauseMs = pauseOf(job, error, circumstances);
  return { kind: 'release', pauseMs, ...reason, counts: !isMomentary && progress !== 'begun' };
}

/** An attempt that the end of the invocation cut off is repeated where a whole invocation remains. */
function verdictOnShutdown(job: Job, progress: Progress): Verdict {
  if (progress === 'unasked') return { kind: 'release', pauseMs: 0 };
  // An answer that takes longer than an invocation would otherwise be begun and paid for until the deadline.
  if (isLast(job, progress, true)) return { kind: 'end', status: 'failed', errorCode: 'deadline_exceeded' };
  return {
    kind: 'release',
    pauseMs: 0,
    errorCode: 'deadline_exceeded',
    cutOff: true,
    counts: progress !== 'begun',
  };
}

/**
 * Whether the attempt was the job's last.
 * @param job as it was claimed. The beginning of an answer has counted since
 * @param counts whether the attempt counts even if its model has not begun to answer
 */
function isLast({ attempts, asks = 0 }: Job, progress: Progress, counts: boolean): boolean {
  const used = attempts + (counts || progress === 'begun' ? 1 : 0);
  return used >= MAX_ATTEMPTS || (progress !== 'unasked' && asks >= MAX_ASKS);
}

type Failure = Pick<LambentError, 'code' | 'retryable' | 'retryAfterMs'> & Partial<Pick<LambentError, 'details'>>;

/** Returns the error to judge. An error of AWS itself is an outage of a store. */
function toFailure(thrown: unknown): Failure {
  if (isAwsError(thrown)) return { code: 'vault_unavailable', retryable: true, retryAfterMs: undefined };
  return toLambentError(thrown);
}

/** Whether a store of jobs or keys is not available. A request that AWS refuses counts, too: a wrong policy delays jobs. */
export function isOutage(thrown: unknown): boolean {
  return toFailure(thrown).code === 'vault_unavailable';
}

/** Returns the milliseconds for which a job yields to other work: as if it had been throttled. */
export function yieldPauseMs(job: Job, chance: Pick<Circumstances, 'random' | 'timings'>): number {
  return pauseOf(job, { retryAfterMs: undefined }, chance);
}

function pauseOf(
  job: Job,
  { retryAfterMs }: { retryAfterMs: number | undefined },
  { random, timings }: Pick<Circumstances, 'random' | 'timings'>,
): number {
  const patience = job.tier === 'flex' ? FLEX_PATIENCE : 1;
  const grown = Math.min(timings.firstPauseMs * 2 ** job.releases, timings.longestPauseMs / patience) * patience;
  const asked = Math.min(retryAfterMs ?? 0, LONGEST_ASKED_PAUSE_MS);
  // At least half of it, so that it is a pause. The rest is random, so that jobs that left together don't return together.
  return Math.round(asked + grown * (0.5 + random / 2));
}
