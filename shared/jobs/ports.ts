import type { GenerationRequest } from '../inference/generation.ts';
import type { BodyRef, Job } from './job.ts';

/**
 * The jobs' table. Two real implementations: DynamoDB, and the one in memory that the model check walks. One contract
 * suite runs on both. Every method is one conditional write or one read; nothing else keeps a job safe.
 */
export interface JobStore {
  /** Writes a new job, unless there is one under its id, or was one that has been deleted. */
  create(job: Job): Promise<Created>;
  /** The job, strongly read; undefined when it isn't there or has expired. */
  read(tenant: string, id: string): Promise<Job | undefined>;
  /**
   * Applies `change` if `guard` holds at that moment.
   * @returns the job as it is after it, or undefined when it isn't there or the guard did not hold
   */
  update(tenant: string, id: string, guard: Guard, change: JobChange): Promise<Job | undefined>;
  /**
   * Replaces the job by a tombstone, whatever its state, so that a later commit fails and a message that comes twice
   * doesn't bring it back. The tombstone is due until `settle`. False when the job wasn't there.
   */
  delete(tenant: string, id: string): Promise<boolean>;
  /** Whether there is a tombstone under this id: what comes for it comes too late. */
  wasDeleted(tenant: string, id: string): Promise<boolean>;
  /** Ends what is due of a job that no reader sees any more (deleted, or past its time): its bodies have been swept. */
  settle(tenant: string, id: string): Promise<void>;
  /** Keys of jobs whose `dueAt` is at or before `now`, oldest first, from one of the index's 16 partitions. */
  due(
    partition: number,
    now: number,
    limit: number,
  ): Promise<readonly { readonly tenant: string; readonly id: string }[]>;
}

/** What became of `create`. `deleted`: there was a job of this id, and it stays deleted. */
export type Created =
  | { readonly created: true; readonly job: Job }
  | { readonly created: false; readonly job: Job }
  | { readonly created: false; readonly job?: undefined };

/** A condition on a job, as data: what DynamoDB evaluates, and what the model check evaluates, is the same. All must hold. */
export type Guard = readonly Condition[];
export type Condition =
  | { readonly field: keyof Job; readonly is: 'equal'; readonly value: string | number | boolean }
  | { readonly field: keyof Job; readonly is: 'oneOf'; readonly values: readonly string[] }
  | { readonly field: keyof Job; readonly is: 'absent' }
  /** Absent counts as at most anything. */
  | { readonly field: keyof Job; readonly is: 'absentOrAtMost'; readonly value: number }
  | { readonly field: keyof Job; readonly is: 'above'; readonly value: number };

export interface JobChange {
  readonly set?: Partial<Omit<Job, 'tenant' | 'id'>>;
  readonly remove?: readonly (keyof Job)[];
  /** Adds to numbers; safe here, since every change is conditional and a repeated one fails its guard. */
  readonly add?: { readonly epoch?: number; readonly attempts?: number; readonly releases?: number };
}

/** What a job was asked, sealed. Only what is needed to run it and to show it. */
export interface JobInput {
  /** The caller's own body, as it was accepted. */
  readonly body: unknown;
  /** What is sent to the model: with the conversation, or the chain before it, in front. */
  readonly generation: GenerationRequest;
  /** Whether reasoning items carry what the caller has to bring back. */
  readonly continuations?: boolean;
  /** The key under which a program sent it. */
  readonly idempotencyKey?: string;
}

/** What a job answered, sealed: the final object of its API, and the items that chains and conversations go on from. */
export interface JobOutput {
  /** The Response (or ChatCompletion) object as the API shows it. */
  readonly answer: unknown;
  /** What the model's provider wants back in the next turn, by the id of its reasoning item. */
  readonly continuations?: Readonly<Record<string, string>>;
}

/** Bodies of jobs: sealed, beside the job in its table up to 300 KB, in the bucket above. */
export interface Bodies {
  /** Writes a body, over what the same attempt has written under that name before. */
  write(name: BodyName, body: unknown): Promise<BodyRef>;
  /** Writes a body unless there is one under that name: undefined then. */
  writeNew(name: BodyName, body: unknown): Promise<BodyRef | undefined>;
  /** @throws LambentError `record_unreadable` */
  read(name: Omit<BodyName, 'expiresAt'>, ref: Pick<BodyRef, 'place'>): Promise<unknown>;
  /** Reads a body whose reference isn't known: one that `writeNew` found. Undefined when there is none after all. */
  find(name: Omit<BodyName, 'expiresAt'>): Promise<unknown>;
  /** Removes one body. */
  remove(name: Omit<BodyName, 'expiresAt'>, ref: Pick<BodyRef, 'place'>): Promise<void>;
  /**
   * Removes what a job has besides its item. With `keepEpoch` only what other attempts answered: the input stays, and
   * so do the events, which a reader may be in the middle of.
   */
  sweep(tenant: string, id: string, keepEpoch?: number): Promise<void>;
}
export interface BodyName {
  readonly tenant: string;
  readonly id: string;
  /** `replay`: the answer to a call with an idempotency key, as it was given; its epoch is the call's attempt. */
  readonly kind: 'input' | 'output' | 'replay';
  readonly epoch: number;
  /** Epoch seconds, for DynamoDB's TTL and the bucket's. */
  readonly expiresAt: number;
}

/** The events of a streamed job, in sealed chunks. Sequence numbers go on rising over epochs. */
export interface EventLog {
  /** Appends a chunk that begins at `firstSequence`. Never rewrites one. */
  append(chunk: EventChunk): Promise<void>;
  /**
   * Chunks that hold events after `startingAfter` (-1: all), in order. The first may begin with earlier ones. No two
   * attempts share a number, so that a fenced one's late chunk can't stand for another's.
   * @param atBoundary whether `startingAfter` ended a chunk: saves the look for the chunk around it
   */
  read(tenant: string, id: string, startingAfter: number, atBoundary?: boolean): Promise<readonly EventChunk[]>;
}
export interface EventChunk {
  readonly tenant: string;
  readonly id: string;
  readonly epoch: number;
  readonly firstSequence: number;
  /** OpenAI's events, each with its `sequence_number`. */
  readonly events: readonly { readonly sequence_number: number; readonly type: string }[];
  readonly expiresAt: number;
}

/** Sends a pointer to a job onto its lane's queue. A hint: a lost one is found again by the sweep. */
export interface JobQueue {
  send(pointer: Pointer, delaySeconds: number): Promise<void>;
}
export interface Pointer extends Pick<Job, 'tenant' | 'id' | 'lane'> {
  /** The job's tier. A newer version may know more of them. */
  readonly tier?: string;
}
