import type { Usage } from '../inference/generation.ts';

/** The statuses of a job. The last five are terminal: they never change. */
export const STATUSES = ['queued', 'in_progress', 'completed', 'failed', 'incomplete', 'cancelled', 'expired'] as const;
export type JobStatus = (typeof STATUSES)[number];
export type TerminalStatus = Exclude<JobStatus, 'queued' | 'in_progress'>;

/**
 * Returns the status that callers see. A running job is shown as cancelled as soon as its cancel is requested, as at OpenAI: it
 * can't end in any other way.
 */
export function getShownStatus({ status, cancelRequested }: Job): JobStatus {
  return status === 'in_progress' && cancelRequested ? 'cancelled' : status;
}

/** Returns whether a status is terminal. */
export function isTerminal(status: JobStatus): status is TerminalStatus {
  return status !== 'queued' && status !== 'in_progress';
}

/**
 * The ticket queue of a job, unless it is the default one. Jobs for GPU workers have their own, because only its function
 * reaches those workers. A lane that only a newer version knows counts as the default one.
 */
export type Lane = 'gpu' | (string & {});

export type JobTier = 'interactive' | 'default' | 'flex';

/** The location of a body. A small one is an item of its own in the jobs' table, a large one an object in the bucket. */
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
   * Attempts that count: those whose model began to answer, or that failed in another way that counts. The job fails when there
   * are three. With `tries`, this begins at three less `tries`.
   */
  readonly attempts: number;
  /** How many attempts its caller's limits allow. Absent if they don't limit them. */
  readonly tries?: number;
  /** Attempts that called the model, whether it answered or not. Absent in items of earlier versions. */
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
  /** After this time the job expires instead of running. */
  readonly deadline: number;
  /** No worker claims the job before this time. */
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
  /** The error code of the last attempt, or of the job. It is never a message, which could quote content. */
  readonly errorCode?: string;
  /** The limit that refused the last attempt, if one did, as `level.name`. */
  readonly errorLimit?: string;
  /** Why a policy refused the request, if one did and says so: a kind of data and a parameter, never content. */
  readonly errorRefusal?: string;
  /** Sealed bytes that its project's limits count for it. Absent if they count nothing. Until it has ended, an upper bound. */
  readonly storedBytes?: number;
  /** Upper bounds of what these limits count for the turn that the job will add to its conversation. Absent once the turn is known. */
  readonly turnBytes?: number;
  readonly turnItems?: number;
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
  /** Epoch seconds after which readers treat the job as deleted. DynamoDB's TTL deletes it later. */
  readonly expiresAt: number;
}

/**
 * The completion steps of an ended job, in their order. Each runs at least once. `storage` counts what was stored instead of its
 * upper bound; `bodies` removes the outputs of fenced
 * attempts; `forget` deletes a job that is not to be stored.
 */
export const FAN_INS = ['conversation', 'reply', 'usage', 'storage', 'bodies', 'forget'] as const;
export type FanIn = (typeof FAN_INS)[number];
/** A step that this version doesn't know. */
type UnknownStep = string & {};

/** Returns whether this version knows a step. */
export function isFanIn(step: string): step is FanIn {
  return FAN_INS.some((known) => known === step);
}
