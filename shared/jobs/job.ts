import type { Usage } from '../inference/generation.ts';

/** Where a job stands. The last five are terminal: nothing leaves them. */
export const STATUSES = ['queued', 'in_progress', 'completed', 'failed', 'incomplete', 'cancelled', 'expired'] as const;
export type JobStatus = (typeof STATUSES)[number];
export type TerminalStatus = Exclude<JobStatus, 'queued' | 'in_progress'>;

/**
 * What a job's caller is told of it. One that was cancelled while it ran is cancelled at once, as at OpenAI, though its
 * holder has yet to end it: it can't end otherwise any more.
 */
export function shownStatus({ status, cancelRequested }: Job): JobStatus {
  return status === 'in_progress' && cancelRequested ? 'cancelled' : status;
}

/** Whether a job has ended. */
export function isTerminal(status: JobStatus): status is TerminalStatus {
  return status !== 'queued' && status !== 'in_progress';
}

/**
 * The queue that a job waits on, where that is not the generation queue: work for GPU workers has one of its own, whose
 * function reaches them. A lane that only a newer version knows, side by side with this one, is the generation queue to it.
 */
export type Lane = 'gpu' | (string & {});

export type JobTier = 'interactive' | 'default' | 'flex';

/** Where a body lies. Small ones are items of their own in the job's table, large ones objects in the bucket. */
export interface BodyRef {
  readonly place: 'table' | 's3';
  /** The attempt that wrote it; 0 for what the caller sent. */
  readonly epoch: number;
  readonly sizeBytes: number;
}

/**
 * A job: the one place where safety lives. Small (under 4 KB), since a heartbeat rewrites it; what was asked and answered
 * are sealed bodies beside it. All times are epoch milliseconds.
 */
export interface Job {
  readonly tenant: string;
  /** `resp_…`. */
  readonly id: string;
  /** The path of the API's endpoint that the request was made for, such as `/v1/responses`. The engine doesn't interpret it. */
  readonly endpoint: string;
  readonly model: string;
  readonly status: JobStatus;
  /** Rises with every claim; only the holder of the current one may renew, release or commit. */
  readonly epoch: number;
  /** Who holds the lease. */
  readonly owner?: string;
  readonly leaseExpiresAt?: number;
  /** Attempts whose model began to answer, or that failed in another way that counts. The job fails after the third. */
  readonly attempts: number;
  /** Attempts that asked the model, answered or not. An item of an earlier version has none. */
  readonly asks?: number;
  /** Attempts that ended with a release. The pause before the next attempt grows with it. */
  readonly releases: number;
  /** Attempts whose worker died. After the first, the job runs only alone in its environment. */
  readonly crashes?: number;
  /** True if the current attempt's model began to answer. */
  readonly begun?: boolean;
  /** True if the current attempt runs alone in its environment. */
  readonly alone?: boolean;
  /** True if the end of an invocation cut off the last attempt. The next one needs a whole invocation. */
  readonly cutOff?: boolean;
  readonly tier: JobTier;
  readonly lane?: Lane;
  /** After it the job expires instead of running. */
  readonly deadline: number;
  /** Not to be claimed before. */
  readonly notBefore?: number;
  readonly cancelRequested: boolean;
  readonly background: boolean;
  /** Whether its events are logged, so that a stream of it can be resumed. */
  readonly streamed: boolean;
  /** Whether `GET /v1/responses/{id}` shows it; a job of a program that stores nothing is not shown when it has ended. */
  readonly stored: boolean;
  readonly createdAt: number;
  readonly startedAt?: number;
  readonly completedAt?: number;
  readonly input: BodyRef;
  /** Bytes of the messages that are added to the input when an attempt begins. Absent if there are none. */
  readonly contextBytes?: number;
  readonly output?: BodyRef;
  readonly usage?: Usage;
  /** Number of its stream's last event, where its holder knows it: see `endSequenceOf`. */
  readonly endSequence?: number;
  /** Why the last attempt failed, or the job did: a code, never a text. */
  readonly errorCode?: string;
  readonly conversation?: string;
  readonly previousResponse?: string;
  /** Alias of the queue that gets the answer. */
  readonly replyTo?: string;
  /**
   * What remains to be told of a terminal job; absent when all has been. A newer version, side by side with this one, may
   * have steps of its own among them.
   */
  readonly fanIn?: readonly (FanIn | UnknownStep)[];
  /** The job's partition of the index: see `IndexEntry`. Absent once nothing remains to be done for the job. */
  readonly duePartition?: string;
  /** The job's place in that partition, in epoch milliseconds. Absent if `duePartition` is. */
  readonly dueAt?: number;
  /** Epoch seconds after which it is gone, by DynamoDB's TTL and, before that, for every reader. */
  readonly expiresAt: number;
}

/**
 * What is told of a terminal job, each at least once under the job's id, in this order. Batches and webhooks join here.
 * `bodies` sweeps away what fenced attempts answered; `forget` deletes the job of a program that stores nothing.
 */
export const FAN_INS = ['conversation', 'reply', 'usage', 'bodies', 'forget'] as const;
export type FanIn = (typeof FAN_INS)[number];
/** A step that this version doesn't know. */
type UnknownStep = string & {};

/** Whether this version knows a step. */
export function isFanIn(step: string): step is FanIn {
  return FAN_INS.some((known) => known === step);
}
