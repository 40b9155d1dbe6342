import type { ErrorCode } from '../core/errors.ts';
import { type BodyRef, FAN_INS, type FanIn, type Job, type Lane, STATUSES, type TerminalStatus } from './job.ts';
import type { Guard, JobChange } from './ports.ts';
import type { JobTimings } from './timings.ts';

/**
 * Every way in which a job changes, as data: what must hold, and what then changes. Nothing else writes to a job that
 * exists. Times are epoch milliseconds.
 */
export interface Transition {
  readonly guard: Guard;
  readonly change: JobChange;
}

/** Claims without a release after which a job fails with the last error. */
export const MAX_ATTEMPTS = 3;

const OPEN = ['queued', 'in_progress'] as const;
const TERMINAL = STATUSES.filter((status) => status !== 'queued' && status !== 'in_progress');

const isOpen = { field: 'status', is: 'oneOf', values: OPEN } as const;
const unheldAt = (now: number) => ({ field: 'leaseExpiresAt', is: 'absentOrAtMost', value: now }) as const;
/** Once its caller was told that it is cancelled, a job becomes nothing else. */
const uncancelled = { field: 'cancelRequested', is: 'equal', value: false } as const;
/** Being the holder: nobody has claimed since, and nothing has ended it. */
const holding = (epoch: number): Guard => [
  { field: 'epoch', is: 'equal', value: epoch },
  { field: 'status', is: 'equal', value: 'in_progress' },
];

/** Takes a job that nobody holds. */
export function claim(owner: string, now: number, { leaseMs }: JobTimings): Transition {
  return {
    guard: [
      isOpen,
      unheldAt(now),
      uncancelled,
      { field: 'deadline', is: 'above', value: now },
      { field: 'notBefore', is: 'absentOrAtMost', value: now },
      { field: 'attempts', is: 'absentOrAtMost', value: MAX_ATTEMPTS - 1 },
    ],
    change: {
      set: { status: 'in_progress', owner, leaseExpiresAt: now + leaseMs, startedAt: now, dueAt: now + leaseMs },
      // What earlier attempts failed of is no word on this one, which may end without leaving any.
      remove: ['notBefore', 'errorCode'],
      add: { epoch: 1, attempts: 1 },
    },
  };
}

/** Keeps a job for another lease. */
export function renew(epoch: number, now: number, { leaseMs }: JobTimings): Transition {
  return { guard: holding(epoch), change: { set: { leaseExpiresAt: now + leaseMs, dueAt: now + leaseMs } } };
}

/** Why and until when a holder lets go of a job that hasn't ended. */
export interface Pause {
  readonly notBefore: number;
  readonly errorCode?: ErrorCode;
  /** Where it goes on, when that is another lane than its own. */
  readonly lane?: Lane;
}

/**
 * Gives a job back with its attempt: it could not be tried at all. Refused once a cancel was asked for, which only its
 * holder can answer.
 */
export function release({ epoch, deadline }: Job, pause: Pause, timings: JobTimings): Transition {
  return letGo(epoch, deadline, pause, timings, { attempts: -1, releases: 1 });
}

/** Gives a job back after an attempt that failed, to be tried again. Refused as `release` is. */
export function retry({ epoch, deadline }: Job, pause: Pause, timings: JobTimings): Transition {
  return letGo(epoch, deadline, pause, timings, {});
}

function letGo(
  epoch: number,
  deadline: number,
  { notBefore, errorCode, lane }: Pause,
  { pickupMs }: JobTimings,
  add: JobChange['add'] & {},
): Transition {
  return {
    guard: [...holding(epoch), uncancelled],
    change: {
      set: {
        status: 'queued',
        notBefore,
        dueAt: Math.min(notBefore + pickupMs, deadline),
        ...(errorCode === undefined ? {} : { errorCode }),
        ...(lane === undefined ? {} : { lane }),
      },
      remove: ['owner', 'leaseExpiresAt'],
      add,
    },
  };
}

/** How a job ended. */
export interface Ending {
  readonly status: TerminalStatus;
  readonly output?: BodyRef;
  readonly usage?: Job['usage'];
  readonly endSequence?: number;
  readonly errorCode?: ErrorCode;
}

/**
 * Ends a job as its holder; once a cancel was asked for, as cancelled alone. `owner` stays, so that a holder who never
 * heard the answer can tell that it was its own.
 */
export function commit(job: Job, ending: Ending, now: number, timings: JobTimings): Transition {
  const held = holding(job.epoch);
  return {
    guard: ending.status === 'cancelled' ? held : [...held, uncancelled],
    change: ended(job, ending, now, timings),
  };
}

/** Ends a job that waits, on its caller's word. */
export function cancelQueued(job: Job, now: number, timings: JobTimings): Transition {
  return {
    guard: [{ field: 'status', is: 'equal', value: 'queued' }],
    change: ended(job, { status: 'cancelled' }, now, timings),
  };
}

/** Asks the holder of a running job to end it. From here on it can only end as cancelled. */
export function requestCancel(): Transition {
  return {
    guard: [{ field: 'status', is: 'equal', value: 'in_progress' }],
    change: { set: { cancelRequested: true } },
  };
}

/** Ends a job whose cancel its dead holder can't answer. */
export function endCancelled(job: Job, now: number, timings: JobTimings): Transition {
  return {
    guard: [isOpen, unheldAt(now), { field: 'cancelRequested', is: 'equal', value: true }],
    change: ended(job, { status: 'cancelled' }, now, timings),
  };
}

/** Ends a job whose time is over, once nobody holds it. */
export function expire(job: Job, now: number, timings: JobTimings): Transition {
  return {
    guard: [isOpen, unheldAt(now), uncancelled, { field: 'deadline', is: 'absentOrAtMost', value: now }],
    change: ended(job, { status: 'expired', errorCode: 'deadline_exceeded' }, now, timings),
  };
}

/** Ends a job that has been tried as often as it may, with what it failed of last; a crash leaves no word of itself. */
export function giveUp(job: Job, now: number, timings: JobTimings): Transition {
  return {
    guard: [isOpen, unheldAt(now), uncancelled, { field: 'attempts', is: 'above', value: MAX_ATTEMPTS - 1 }],
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
  { status, output, usage, endSequence, errorCode }: Ending,
  now: number,
  { completionMs }: JobTimings,
): JobChange {
  const fanIn = fanInOf(job, status, output);
  return {
    set: {
      status,
      completedAt: now,
      ...(output === undefined ? {} : { output }),
      ...(usage === undefined ? {} : { usage }),
      ...(endSequence === undefined ? {} : { endSequence }),
      ...(errorCode === undefined ? {} : { errorCode }),
      ...(fanIn.length === 0 ? {} : { fanIn, dueAt: now + completionMs }),
    },
    remove: [
      'leaseExpiresAt',
      'notBefore',
      ...(fanIn.length === 0 ? (['dueAt'] as const) : []),
      // What an earlier attempt failed of is no property of a job that got its answer.
      ...(errorCode === undefined && output !== undefined ? (['errorCode'] as const) : []),
    ],
  };
}

/** What has to be told of a job that ended so. */
function fanInOf(job: Job, status: TerminalStatus, output: BodyRef | undefined): readonly FanIn[] {
  const wanted: Readonly<Record<FanIn, boolean>> = {
    conversation: job.conversation !== undefined && (status === 'completed' || status === 'incomplete'),
    reply: job.replyTo !== undefined,
    usage: false,
    bodies: job.attempts > 1 || (job.attempts > 0 && output === undefined),
    forget: !job.stored,
  };
  return FAN_INS.filter((step) => wanted[step]);
}

/** All has been told of an ended job. */
export function told(): Transition {
  return {
    guard: [{ field: 'status', is: 'oneOf', values: TERMINAL }],
    change: { remove: ['fanIn', 'dueAt'] },
  };
}

/** Looks again later: set before an announcement or a telling is repeated, so that one sweep at a time repeats it. */
export function postpone(job: Job, dueAt: number): Transition {
  return {
    guard: [
      { field: 'epoch', is: 'equal', value: job.epoch },
      { field: 'status', is: 'equal', value: job.status },
      job.dueAt === undefined ? { field: 'dueAt', is: 'absent' } : { field: 'dueAt', is: 'equal', value: job.dueAt },
    ],
    change: { set: { dueAt } },
  };
}
