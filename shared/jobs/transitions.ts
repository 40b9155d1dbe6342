import type { ErrorCode } from '../core/errors.ts';
import { omitUndefined } from '../core/objects.ts';
import { type IndexEntry, purposeOf, queueOf } from './index-entry.ts';
import { type BodyRef, FAN_INS, type FanIn, type Job, type Lane, STATUSES, type TerminalStatus } from './job.ts';
import type { Guard, JobChange } from './ports.ts';
import type { JobTimings } from './timings.ts';

/**
 * Every way in which a job changes, as data: the guard that must hold, and the change. Nothing else writes to an existing
 * job. Each transition that changes what remains to be done also writes the index entry. Times are epoch milliseconds.
 */
export interface Transition {
  readonly guard: Guard;
  readonly change: JobChange;
}

/** A job fails after this many attempts whose model began to answer, or that failed in another way that counts. */
export const MAX_ATTEMPTS = 3;
/**
 * A job fails after it has asked its model this often, whatever came of it. With pauses of up to 15 minutes a model may be
 * throttled for a day before.
 */
export const MAX_ASKS = 128;

const OPEN = ['queued', 'in_progress'] as const;
const TERMINAL = STATUSES.filter((status) => status !== 'queued' && status !== 'in_progress');

const isOpen = { field: 'status', is: 'oneOf', values: OPEN } as const;
const isQueued = { field: 'status', is: 'equal', value: 'queued' } as const;
/** After a cancel was requested, a job can end only as cancelled. */
const uncancelled = { field: 'cancelRequested', is: 'equal', value: false } as const;
const isCurrent = ({ epoch }: Pick<Job, 'epoch'>) => ({ field: 'epoch', is: 'equal', value: epoch }) as const;

/** Holds for the current holder only: no later claim, and the job has not ended. */
const holding = (job: Pick<Job, 'epoch'>): Guard => [
  isCurrent(job),
  { field: 'status', is: 'equal', value: 'in_progress' },
];

/** Holds if the lease, if any, ended so long ago that its holder counts as dead. */
const unheldAt = (now: number, { graceMs }: JobTimings) =>
  ({ field: 'leaseExpiresAt', is: 'absentOrAtMost', value: now - graceMs }) as const;

/**
 * Returns the time at which the current holder, if it stays silent, counts as dead.
 * @param lastOutageAt when the table was last not available
 */
export function deadAt(
  { leaseExpiresAt = 0 }: Job,
  { graceMs }: JobTimings,
  lastOutageAt = Number.NEGATIVE_INFINITY,
): number {
  return Math.max(leaseExpiresAt, lastOutageAt) + graceMs;
}

/** Under which conditions a worker claims. */
export interface ClaimTerms {
  readonly owner: string;
  /** True if the environment runs nothing else: required for jobs whose earlier worker died. */
  readonly alone: boolean;
  /** True if the end of the invocation can't cut the attempt off: required for jobs that one cut off before. */
  readonly whole: boolean;
  /** The lane that the worker serves. */
  readonly lane?: Lane | undefined;
}

/** Claims a waiting job. */
export function claim({ owner, alone, whole, lane }: ClaimTerms, now: number, { leaseMs }: JobTimings): Transition {
  return {
    guard: [
      isQueued,
      uncancelled,
      { field: 'deadline', is: 'above', value: now },
      { field: 'notBefore', is: 'absentOrAtMost', value: now },
      { field: 'attempts', is: 'absentOrAtMost', value: MAX_ATTEMPTS - 1 },
      { field: 'asks', is: 'absentOrAtMost', value: MAX_ASKS - 1 },
      ...(alone ? [] : [{ field: 'crashes', is: 'absentOrAtMost', value: 0 } as const]),
      ...(whole ? [] : [{ field: 'cutOff', is: 'absent' } as const]),
    ],
    change: {
      set: {
        status: 'in_progress',
        owner,
        leaseExpiresAt: now + leaseMs,
        startedAt: now,
        ...(alone ? { alone } : {}),
      },
      // The error of an earlier attempt says nothing of this one, which may end without writing any.
      remove: ['notBefore', 'errorCode', 'errorLimit', 'begun', 'cutOff', ...(alone ? [] : (['alone'] as const))],
      add: { epoch: 1, asks: 1 },
      index: { purpose: 'run', queue: queueOf({ lane }), dueAt: now },
    },
  };
}

/** Extends a job's lease. */
export function renew(job: Pick<Job, 'epoch'>, now: number, { leaseMs }: JobTimings): Transition {
  return { guard: holding(job), change: { set: { leaseExpiresAt: now + leaseMs } } };
}

/** Counts the attempt, because its model begins to answer. Also extends the lease. */
export function begin(job: Pick<Job, 'epoch'>, now: number, { leaseMs }: JobTimings): Transition {
  return {
    guard: [...holding(job), { field: 'begun', is: 'absent' }],
    change: { set: { begun: true, leaseExpiresAt: now + leaseMs }, add: { attempts: 1 } },
  };
}

/** Why and until when a holder releases a job that hasn't ended. */
export interface Pause {
  readonly notBefore: number;
  readonly errorCode?: ErrorCode;
  readonly errorLimit?: string;
  /** The lane on which the job goes on, if it changes. */
  readonly lane?: Lane;
  /** True if the model was asked. */
  readonly asked: boolean;
  /** True if the attempt counts although its model has not begun to answer. */
  readonly counts?: boolean;
  /** True if the end of the invocation cut the attempt off. */
  readonly cutOff?: boolean;
  /** True if the attempt saved a complete answer for the next one. The release is then not counted, and shows it. */
  readonly saved?: boolean;
  /** False if the job has no ticket afterwards, and the sweep has to send one. */
  readonly ticket: boolean;
}

/** Releases a job, to be tried again. Refused after a cancel was requested, which its holder must carry out. */
export function release(job: Job, pause: Pause, timings: JobTimings): Transition {
  const {
    notBefore,
    errorCode,
    errorLimit,
    lane,
    asked,
    counts = false,
    cutOff = false,
    saved = false,
    ticket,
  } = pause;
  return {
    guard: [...holding(job), uncancelled],
    change: {
      set: {
        ...{ status: 'queued', notBefore },
        ...omitUndefined({ errorCode, errorLimit, lane }),
        ...(cutOff ? { cutOff } : {}),
      },
      remove: ['owner', 'leaseExpiresAt', 'begun', 'alone'],
      add: { ...(saved ? {} : { releases: 1 }), ...(asked ? {} : { asks: -1 }), ...(counts ? { attempts: 1 } : {}) },
      index: waiting({ ...job, ...omitUndefined({ lane }) }, notBefore, ticket, timings),
    },
  };
}

/**
 * Makes a job whose holder is dead wait again. It becomes a suspect, whose next attempt runs alone, unless an outage explains
 * why the holder was silent.
 * @param lastOutageAt when the table was last not available
 * @param hasTicket true if the caller holds a ticket of the job
 */
export function recover(
  job: Job,
  now: number,
  timings: JobTimings,
  lastOutageAt = Number.NEGATIVE_INFINITY,
  hasTicket = false,
): Transition {
  const crashed = lastOutageAt < (job.leaseExpiresAt ?? 0);
  // An attempt whose model began to answer is counted already. One that ran alone is itself the cause of the crash.
  const counts = crashed && job.alone === true && job.begun !== true;
  // Its ticket comes back by itself, unless its worker died before it had shortened the queue's long visibility timeout. A
  // job that an earlier version claimed has none.
  const from = hasTicket || purposeOf(job) !== 'run' ? now : now + timings.wakeMs;
  return {
    guard: [...holding(job), unheldAt(now, timings), uncancelled],
    change: {
      set: { status: 'queued' },
      remove: ['owner', 'leaseExpiresAt', 'begun', 'alone'],
      add: { ...(crashed ? { crashes: 1 } : {}), ...(counts ? { attempts: 1 } : {}) },
      index: waiting(job, from, hasTicket, timings),
    },
  };
}

/** Records that a waiting job's ticket was sent, unless something has happened to the job since `job` was read. */
export function ticketSent(job: Job, now: number, timings: JobTimings): Transition {
  return {
    guard: [isCurrent(job), isQueued, dueAtUnchanged(job)],
    change: { index: waiting(job, Math.max(now, job.notBefore ?? 0), true, timings) },
  };
}

/**
 * Gives a waiting job back to the sweep, because its ticket is going to be deleted.
 * @param until the time of its next ticket: before it, a worker could only drop that one too
 */
export function ticketDropped(job: Job, until: number, timings: JobTimings): Transition {
  return {
    guard: [isCurrent(job), isQueued],
    change: { index: waiting(job, Math.max(until, job.notBefore ?? 0), false, timings) },
  };
}

/** The index entry of a job that waits from `from` on, with or without a ticket. */
function waiting(job: Job, from: number, ticket: boolean, timings: JobTimings): IndexEntry {
  const queue = queueOf(job);
  if (!ticket) return { purpose: 'wake', queue, dueAt: Math.min(from, job.deadline) };
  return { purpose: 'wait', queue, dueAt: Math.min(from + timings.firstLookMs, job.deadline) };
}

const dueAtUnchanged = ({ dueAt }: Job) =>
  dueAt === undefined
    ? ({ field: 'dueAt', is: 'absent' } as const)
    : ({ field: 'dueAt', is: 'equal', value: dueAt } as const);

/** How a job ended. */
export interface Ending {
  readonly status: TerminalStatus;
  readonly output?: BodyRef;
  readonly usage?: Job['usage'];
  readonly endSequence?: number;
  readonly errorCode?: ErrorCode;
  readonly errorLimit?: string;
  readonly errorRefusal?: string;
}

/**
 * Ends a job as its holder; after a cancel was requested, as cancelled only. `owner` stays, so that a holder whose request
 * lost its response recognises its own commit.
 */
export function commit(job: Job, ending: Ending, now: number, timings: JobTimings): Transition {
  const held = holding(job);
  return {
    guard: ending.status === 'cancelled' ? held : [...held, uncancelled],
    change: ended(job, ending, now, timings),
  };
}

/** Ends a waiting job at its caller's request. */
export function cancelQueued(job: Job, now: number, timings: JobTimings): Transition {
  return { guard: [isQueued], change: ended(job, { status: 'cancelled' }, now, timings) };
}

/** Asks the holder of a running job to end it. From here on it can end only as cancelled. */
export function requestCancel(): Transition {
  return {
    guard: [{ field: 'status', is: 'equal', value: 'in_progress' }],
    change: { set: { cancelRequested: true } },
  };
}

/** Ends a job whose cancel was requested and whose holder is dead. */
export function endCancelled(job: Job, now: number, timings: JobTimings): Transition {
  return {
    guard: [isOpen, unheldAt(now, timings), { field: 'cancelRequested', is: 'equal', value: true }],
    change: ended(job, { status: 'cancelled' }, now, timings),
  };
}

/** Ends a job after its deadline, if it has no living holder. */
export function expire(job: Job, now: number, timings: JobTimings): Transition {
  return {
    guard: [isOpen, unheldAt(now, timings), uncancelled, { field: 'deadline', is: 'absentOrAtMost', value: now }],
    change: ended(job, { status: 'expired', errorCode: 'deadline_exceeded' }, now, timings),
  };
}

/** Whether a job has used all of its attempts or asks. */
export function isExhausted({ attempts, asks = 0 }: Job): boolean {
  return attempts >= MAX_ATTEMPTS || asks >= MAX_ASKS;
}

/** Fails an exhausted job with its last error, if it has no living holder. A crash leaves no error: `internal` then. */
export function giveUp(job: Job, now: number, timings: JobTimings): Transition {
  const isUsedUp =
    job.attempts >= MAX_ATTEMPTS
      ? ({ field: 'attempts', is: 'above', value: MAX_ATTEMPTS - 1 } as const)
      : ({ field: 'asks', is: 'above', value: MAX_ASKS - 1 } as const);
  return {
    guard: [isOpen, unheldAt(now, timings), uncancelled, isUsedUp],
    change: ended(
      job,
      { status: 'failed', ...(job.errorCode === undefined ? { errorCode: 'internal' } : {}) },
      now,
      timings,
    ),
  };
}

function ended(
  job: Job,
  { status, output, usage, endSequence, errorCode, errorLimit, errorRefusal }: Ending,
  now: number,
  { completionMs }: JobTimings,
): JobChange {
  const fanIn = fanInOf(job, status, output);
  return {
    set: {
      status,
      completedAt: now,
      ...omitUndefined({ output, usage, endSequence, errorCode, errorLimit, errorRefusal }),
      ...(fanIn.length === 0 ? {} : { fanIn }),
    },
    remove: [
      'leaseExpiresAt',
      'notBefore',
      'begun',
      'alone',
      'cutOff',
      // The error of an earlier attempt doesn't belong to a job that got its answer.
      ...(errorCode === undefined && output !== undefined ? (['errorCode', 'errorLimit'] as const) : []),
    ],
    index: fanIn.length === 0 ? 'none' : { purpose: 'step', dueAt: now + completionMs },
  };
}

/** Returns the completion steps of a job that ended with `status`. */
function fanInOf(job: Job, status: TerminalStatus, output: BodyRef | undefined): readonly FanIn[] {
  const wanted: Readonly<Record<FanIn, boolean>> = {
    conversation: job.conversation !== undefined && (status === 'completed' || status === 'incomplete'),
    reply: job.replyTo !== undefined,
    usage: false,
    storage: job.storedBytes !== undefined,
    bodies: job.epoch > 1 || (job.epoch > 0 && output === undefined),
    forget: !job.stored,
  };
  return FAN_INS.filter((step) => wanted[step]);
}

/** Replaces the upper bound of what is counted for an ended job by what it has stored. Holds once. */
export function countStored(
  { storedBytes, turnBytes }: Pick<Job, 'turnBytes'> & { readonly storedBytes: number },
  stored: number,
): Transition {
  return {
    guard: [
      { field: 'storedBytes', is: 'equal', value: storedBytes },
      turnBytes === undefined
        ? { field: 'turnBytes', is: 'absent' }
        : { field: 'turnBytes', is: 'equal', value: turnBytes },
    ],
    change: { set: { storedBytes: stored }, remove: ['turnBytes', 'turnItems'] },
  };
}

/** Records that all completion steps of an ended job are done. */
export function completed(): Transition {
  return {
    guard: [{ field: 'status', is: 'oneOf', values: TERMINAL }],
    change: { remove: ['fanIn'], index: 'none' },
  };
}

/**
 * Moves a job that an earlier version placed in the index, or the sweep's next look at it, to `dueAt`. An ended job that needs
 * nothing leaves the index.
 */
export function lookAgain(job: Job, dueAt: number, timings: JobTimings): Transition {
  // Another transition may have given the job the same time by chance: hence also the status.
  const isUnchanged = { field: 'status', is: 'equal', value: job.status } as const;
  return { guard: [isCurrent(job), isUnchanged, dueAtUnchanged(job)], change: { index: entryAt(job, dueAt, timings) } };
}

function entryAt(job: Job, dueAt: number, { leaseMs }: JobTimings): IndexEntry | 'none' {
  const queue = queueOf(job);
  switch (job.status) {
    case 'queued':
      return { purpose: purposeOf(job) === 'wake' ? 'wake' : 'wait', queue, dueAt };
    case 'in_progress':
      return { purpose: 'run', queue, dueAt: job.startedAt ?? dueAt - leaseMs };
    default:
      return job.fanIn === undefined ? 'none' : { purpose: 'step', dueAt };
  }
}
