import type { Restrictions } from '../access/policy.ts';
import type { GenerationRequest } from '../inference/generation.ts';
import type { IndexEntry } from './index-entry.ts';
import type { BodyRef, Job } from './job.ts';

/**
 * The jobs' table. It has two implementations: DynamoDB, and one in memory for the model check and the simulation. One
 * contract suite runs on both. Each method is one conditional write or one read; nothing else keeps a job safe.
 */
export interface JobStore {
  /** Writes a new job with its index entry, unless a job or the tombstone of one has its id. */
  create(job: Job, index?: IndexEntry): Promise<Created>;
  /** Reads a job, strongly consistent. Undefined if it doesn't exist or has expired. */
  read(tenant: string, id: string): Promise<Job | undefined>;
  /**
   * Reads several jobs, strongly consistent.
   * @param keys 100 at most
   * @returns those that exist and can be read, in no particular order
   */
  readMany(keys: readonly JobKey[]): Promise<readonly Job[]>;
  /**
   * Applies `change` if `guard` holds.
   * @returns the job after the change, or undefined if it doesn't exist or the guard does not hold
   */
  update(tenant: string, id: string, guard: Guard, change: JobChange): Promise<Job | undefined>;
  /**
   * Replaces a job, whatever its state, by a tombstone, so that a later commit fails and a duplicate message doesn't
   * create it again. The tombstone stays in the index until `settle`.
   * @returns what the job's project counts for it; undefined if the job didn't exist
   */
  delete(tenant: string, id: string): Promise<DeletedJob | undefined>;
  /** Whether this id has a tombstone. */
  wasDeleted(tenant: string, id: string): Promise<boolean>;
  /** Removes a deleted or expired job from the index, after its bodies have been removed. */
  settle(tenant: string, id: string): Promise<void>;
  /**
   * Lists the entries of an index partition up to a time, oldest first.
   * @param partition see `partitionKey`
   * @param until epoch milliseconds, inclusive
   */
  list(partition: string, until: number, page: PageRequest): Promise<IndexPage>;
  /** Counts the entries of an index partition. */
  count(partition: string): Promise<number>;
  /**
   * Moves an entry within its partition, if it is still where it was seen. Works for every item, readable or not.
   * @returns false if the entry has moved or gone
   */
  postpone(entry: ListedEntry, dueAt: number): Promise<boolean>;
}

/**
 * Of a deleted job. Its `turnBytes` and `turnItems` are absent if it had an output: the turn may be in its conversation then.
 * Without one it never will be, because no attempt can commit any more.
 */
export type DeletedJob = Pick<Job, 'storedBytes' | 'turnBytes' | 'turnItems' | 'expiresAt'>;

/** Gives back what a project's limits count for something that was deleted. Never throws. */
export type GiveBackStorage = (
  tenant: string,
  stored: { readonly bytes: number; readonly items: number },
  expiresAt: number,
) => Promise<void>;

export interface JobKey {
  readonly tenant: string;
  readonly id: string;
}
export interface PageRequest {
  readonly limit: number;
  /** The `next` of the page before. */
  readonly after?: unknown;
}
export interface IndexPage {
  readonly entries: readonly ListedEntry[];
  /** Absent on the last page. */
  readonly next?: unknown;
}
/** An entry as the index shows it, which follows the table with a lag. */
export interface ListedEntry extends JobKey {
  readonly partition: string;
  readonly dueAt: number;
}

/** The result of `create`. Without a job: one had this id and was deleted, or is deleted now. */
export type Created =
  | { readonly created: true; readonly job: Job }
  | { readonly created: false; readonly job: Job }
  | { readonly created: false; readonly job?: undefined };

/** A condition on a job, as data, so that DynamoDB and the model check evaluate the same. All parts must hold. */
export type Guard = readonly Condition[];
export type Condition =
  | { readonly field: keyof Job; readonly is: 'equal'; readonly value: string | number | boolean }
  | { readonly field: keyof Job; readonly is: 'oneOf'; readonly values: readonly string[] }
  | { readonly field: keyof Job; readonly is: 'absent' }
  /** An absent field counts as 0. */
  | { readonly field: keyof Job; readonly is: 'absentOrAtMost'; readonly value: number }
  | { readonly field: keyof Job; readonly is: 'above'; readonly value: number };

export interface JobChange {
  readonly set?: Partial<Omit<Job, 'tenant' | 'id' | 'duePartition' | 'dueAt'>>;
  readonly remove?: readonly Exclude<keyof Job, 'tenant' | 'id' | 'duePartition' | 'dueAt'>[];
  /** Adds to numbers. Safe although requests may be repeated: the guard of every such change fails once it is made. */
  readonly add?: {
    readonly epoch?: number;
    readonly attempts?: number;
    readonly asks?: number;
    readonly releases?: number;
    readonly crashes?: number;
  };
  /** The job's new index entry, or `none` to remove it. Unchanged if absent. */
  readonly index?: IndexEntry | 'none';
}

/** What a job was asked, sealed. Only what is needed to run it and to show it. */
export interface JobInput {
  /** The caller's own body, as it was accepted. */
  readonly body: unknown;
  /** What is sent to the model. With a `context` it has no messages until an attempt begins. */
  readonly generation: GenerationRequest;
  /** The items of the body's input as the caller sent them, for native requests. */
  readonly rawInput?: readonly unknown[];
  /** Present if stored items precede the request. */
  readonly context?: InputContext;
  /** Whether reasoning items carry what the caller has to bring back. */
  readonly continuations?: boolean;
  /** The client's name of the session; absent if it sent none. Earlier versions don't store it. */
  readonly session?: string;
  /** The key under which a program sent it. */
  readonly idempotencyKey?: string;
  /** Who sent it. Earlier versions don't store it. */
  readonly caller?: JobCaller;
}

/** The caller whose request a job was accepted from, with the restrictions that its key had then. */
export interface JobCaller {
  readonly keyId: string;
  readonly restrictions?: Restrictions;
}

/**
 * The stored items that precede a request: of the job's conversation, or of its previous responses. The messages are built of
 * them when an attempt begins, and never stored, so that deleted content is in no other record. An earlier version stored them.
 */
export interface InputContext {
  /** Position in the conversation after the last item that precedes the request. Absent without a conversation. */
  readonly end?: number;
}

/** What a job answered, sealed: the final object of its API, and the items that chains and conversations go on from. */
export interface JobOutput {
  /** The Response (or ChatCompletion) object as the API shows it. */
  readonly answer: unknown;
  /** What the model's provider wants back in the next turn, by the id of its reasoning item. */
  readonly continuations?: Readonly<Record<string, string>>;
  /** The ids by which the model's provider knows the items of the answer, by item id. */
  readonly upstreamIds?: Readonly<Record<string, string>>;
}

/**
 * Bodies of jobs: sealed, beside the job in its table up to 8 KB, in the bucket above. A result or a compaction is always in the
 * bucket.
 */
export interface Bodies {
  /** Writes a body, over what the same attempt has written under that name before. */
  write(name: BodyName, body: unknown): Promise<BodyRef>;
  /**
   * Writes a body unless there is one under that name in the place that follows from its size.
   * @returns where this body belongs, and whether it was written there
   */
  writeNew(name: BodyName, body: unknown): Promise<{ readonly ref: BodyRef; readonly isNew: boolean }>;
  /**
   * Prepares to write a body later, when keys may not be available.
   * @returns a function that writes the body. It may be called again to repeat the write, and throws for another body
   */
  prepare(name: BodyName): Promise<(body: unknown) => Promise<BodyRef>>;
  /** @throws LambentError `record_unreadable` */
  read(name: Omit<BodyName, 'expiresAt'>, ref: Pick<BodyRef, 'place'>): Promise<unknown>;
  /**
   * Reads a body that may not exist: in the place of `ref`, or in either. Undefined if there is none. An earlier version may
   * have left one in the other place, because it had another limit for items.
   */
  find(name: Omit<BodyName, 'expiresAt'>, ref?: Pick<BodyRef, 'place'>): Promise<unknown>;
  /** Removes one body. */
  remove(name: Omit<BodyName, 'expiresAt'>, ref: Pick<BodyRef, 'place'>): Promise<void>;
  /**
   * Removes what a job has besides its item. With `keepEpoch` only results and what other attempts answered: the input stays,
   * and so do the events, which a reader may be in the middle of.
   */
  sweep(tenant: string, id: string, keepEpoch?: number): Promise<void>;
}
export interface BodyName {
  readonly tenant: string;
  readonly id: string;
  /**
   * `result`: a complete answer that its attempt could not commit, of any attempt; its epoch is 0. `compaction`: the compacted
   * context of an attempt that has failed after it, for the next one; its epoch is 0. `replay`: the answer to a call with an
   * idempotency key, as it was given; its epoch is the call's attempt.
   */
  readonly kind: 'input' | 'output' | 'result' | 'compaction' | 'replay';
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

/** Sends tickets to the queues of their lanes. */
export interface TicketQueue {
  /**
   * Sends tickets, in as few requests as possible.
   * @param onFailed called for each request of which tickets were not accepted
   * @returns whether each was accepted, in order
   */
  send(tickets: readonly Ticket[], onFailed?: (thrown: unknown) => void): Promise<readonly boolean[]>;
}
/** What a ticket says of its job. All but the key are hints that save a read. */
export type Ticket = Pick<Job, 'tenant' | 'id' | 'lane' | 'tier' | 'model'> & { readonly bytes: number };
