import type { Usage } from '../inference/generation.ts';

/** Where a job stands. The last five are terminal: nothing leaves them. */
export const STATUSES = ['queued', 'in_progress', 'completed', 'failed', 'incomplete', 'cancelled', 'expired'] as const;
export type JobStatus = (typeof STATUSES)[number];
export type TerminalStatus = Exclude<JobStatus, 'queued' | 'in_progress'>;

/**
 * Returns the status that callers see. A running job whose cancel was requested is shown as cancelled, as at OpenAI, although
 * its holder has yet to end it, because it can't end in any other way.
 */
export function shownStatus({ status, cancelRequested }: Job): JobStatus {
  return status === 'in_progress' && cancelRequested ? 'cancelled' : status;
}

/** Whether a status is one of an ended job. */
export function isTerminal(status: JobStatus): status is TerminalStatus {
  return status !== 'queued' && status !== 'in_progress';
}

/**
 * The ticket queue of a job, unless it is the default one. Jobs for GPU workers have their own, because only its function
 * reaches those workers. A lane that only a newer version knows counts as the default one.
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
 * A job's item. Conditional writes to it are all that keeps a job safe. It stays under 4 KB, because each heartbeat rewrites
 * it; its input and output are sealed bodies beside it. All times are epoch milliseconds.
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
  /**
   * Attempts whose model began to answer, or that failed in another way that counts, and those that `tries` takes from the job. It
   * fails after the third.
   */
  readonly attempts: number;
  /** How many attempts its caller's limits allow. Absent if they don't limit them. */
  readonly tries?: number;
  /** Attempts that asked the model, answered or not. An item of an earlier version has none. */
  readonly asks?: number;
  /** Attempts that ended with a release and saved no answer. The pause before the next attempt grows with it. */
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
  /** Whether `GET /v1/responses/{id}` shows it. A job that is not stored is deleted when it has ended. */
  readonly stored: boolean;
  readonly createdAt: number;
  readonly startedAt?: number;
  readonly completedAt?: number;
  readonly input: BodyRef;
  /** Bytes of the messages that are added to the input when an attempt begins. Absent if there are none. */
  readonly contextBytes?: number;
  readonly output?: BodyRef;
  readonly usage?: Usage;
  /** The number of its stream's last event, if its holder recorded it: see `endSequenceOf`. */
  readonly endSequence?: number;
  /** Why the last attempt failed, or the job did: a code, never a text. */
  readonly errorCode?: string;
  readonly conversation?: string;
  readonly previousResponse?: string;
  /** Alias of the queue that gets the answer. */
  readonly replyTo?: string;
  /** Completion steps that an ended job has left. Absent if there are none. A newer version may have added steps of its own. */
  readonly fanIn?: readonly (FanIn | UnknownStep)[];
  /** The job's partition of the index: see `IndexEntry`. Absent once nothing remains to be done for the job. */
  readonly duePartition?: string;
  /** The job's place in that partition, in epoch milliseconds. Absent if `duePartition` is. */
  readonly dueAt?: number;
  /** Epoch seconds after which it is gone, by DynamoDB's TTL and, before that, for every reader. */
  readonly expiresAt: number;
}

/**
 * The completion steps of an ended job, in their order. Each runs at least once. `bodies` removes the outputs of fenced
 * attempts; `forget` deletes a job that is not to be stored.
 */
export const FAN_INS = ['conversation', 'reply', 'usage', 'bodies', 'forget'] as const;
export type FanIn = (typeof FAN_INS)[number];
/** A step that this version doesn't know. */
type UnknownStep = string & {};

/** Whether this version knows a step. */
export function isFanIn(step: string): step is FanIn {
  return FAN_INS.some((known) => known === step);
}
