import type { ErrorCode } from '../core/errors.ts';
import type { Telemetry } from '../core/telemetry.ts';
import type { AnswerJob } from './answer-job.ts';
import type { CallPermit } from './call-permit.ts';
import type { CompletionPorts } from './completion.ts';
import type { Job, JobStatus, Lane } from './job.ts';
import type { LeasePorts } from './lease.ts';
import type { Pace } from './pace.ts';
import type { EventLog, JobInput, TicketQueue } from './ports.ts';
import type { Yielding } from './yielding.ts';

export interface WorkerPorts extends LeasePorts, CompletionPorts {
  readonly events: EventLog;
  readonly queue: TicketQueue;
  readonly answerJob: AnswerJob;
  /** Completes a job's input before its model is asked: adds what is not stored with it. */
  readonly prepareInput?: (job: Job, input: JobInput) => Promise<JobInput>;
  /** Returns when the table was last not available, in epoch milliseconds: see `watchOutages`. */
  readonly lastOutageAt?: () => number;
  /** Returns a new id, never the same twice. */
  readonly ids: () => string;
  /** Returns a number from 0 up to 1. */
  readonly random: () => number;
  /** The lane that this worker serves. Absent for the default lane. */
  readonly lane?: Lane;
  /** Returns the lane of a model's jobs if another function serves it: they are forwarded instead of being run. */
  readonly otherLane?: (model: string) => Lane | undefined;
  /** Returns the lane on which a job may still be answered after this error. The job then continues there. */
  readonly fallbackLane?: (model: string, thrown: unknown) => Lane | undefined;
  /** Makes flex jobs yield to other work. Absent if they don't. */
  readonly yielding?: Yielding;
  /** Returns the most milliseconds that a model's answer may take; undefined for a model that is not known. */
  readonly longestAnswerMs?: (model: string) => number | undefined;
  /** Limits how often a throttled model is asked. */
  readonly pace?: Pace;
  /** Errors after which the next attempt follows at once in the same invocation, because it runs on another machine. */
  readonly movesOnAfter?: ReadonlySet<ErrorCode>;
}

export interface WorkerCall {
  /** Aborts when the function is about to time out. */
  readonly shutdown: AbortSignal;
  /** Epoch milliseconds by which the function must have let go of the job. */
  readonly deadlineAt: number;
  /** Whether a whole invocation remains. It doesn't after a long wait. */
  readonly isWhole: () => boolean;
  /** Runs a function while this environment runs nothing else. Waits for that first. */
  readonly runAlone: <T>(run: () => Promise<T>) => Promise<T>;
  /** Whether the ticket may be hidden for this long; otherwise the sweep sends a new one. */
  readonly mayHide: (ms: number) => boolean;
  /** The telemetry of the ticket. */
  readonly telemetry?: Telemetry | undefined;
}

/** The result of working on a ticket. `ticketAction` says what becomes of the ticket. */
export type Outcome =
  | { readonly kind: 'ended'; readonly job: Job }
  /** The job waits again. With `ticket`, this ticket serves it; otherwise the sweep sends another. */
  | {
      readonly kind: 'released';
      readonly job: Job;
      readonly errorCode: ErrorCode | undefined;
      readonly ticket: boolean;
    }
  /** The job waits on the queue of another lane. */
  | { readonly kind: 'forwarded'; readonly job: Job }
  /** The job needs no ticket: it has ended, or doesn't exist. */
  | { readonly kind: 'unneeded'; readonly status: JobStatus | 'absent' }
  /** The job can't be claimed before `until` (epoch milliseconds). */
  | { readonly kind: 'deferred'; readonly reason: DeferReason; readonly until: number }
  /** Another worker took the job over, or it ended otherwise, while this one worked on it. */
  | { readonly kind: 'fenced'; readonly job: Job };
export type DeferReason = 'held' | 'not before' | 'cut off' | 'resting model' | 'contended' | 'shutdown';

/** The call of a ticket, with its permit to call a model. */
export interface TicketCall extends WorkerCall {
  readonly permit: CallPermit;
}

/** The job has changed so that it can be claimed now. */
export interface Again {
  readonly kind: 'again';
}
