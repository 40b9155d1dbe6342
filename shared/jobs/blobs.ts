import type { BodyRef, Job } from './job.ts';

/** The name of sealed bytes of a job. `part` names them within their attempt. */
export interface BlobName {
  readonly tenant: string;
  readonly id: string;
  readonly part: 'input' | 'output' | 'result' | 'compaction' | 'replay' | 'event';
  readonly epoch: number;
  /** First sequence number of an event chunk; 0 for bodies. */
  readonly sequence: number;
}

/** Stores sealed bytes beside a job: small ones in its table, large ones, results and compactions in the bucket. Never opens them. */
export interface Blobs {
  /** @param expiresAt epoch seconds */
  put(name: BlobName, bytes: Uint8Array, expiresAt: number): Promise<BodyRef['place']>;
  /** As `put`, unless that place has such bytes already. Those in the other place don't count. */
  putNew(
    name: BlobName,
    bytes: Uint8Array,
    expiresAt: number,
  ): Promise<{ readonly place: BodyRef['place']; readonly isNew: boolean }>;
  /** @returns undefined if there are none, or if they have expired */
  get(name: BlobName, place: BodyRef['place']): Promise<Uint8Array | undefined>;
  /** Events of a job in the order of their numbers, from the chunk on that begins with `from` or later. */
  events(tenant: string, id: string, from: number): Promise<readonly Blob[]>;
  /** The first number of the chunk that begins last at or before `sequence`; undefined when none does. */
  chunkBefore(tenant: string, id: string, sequence: number): Promise<number | undefined>;
  /** Removes the bytes of one name from one place. */
  removeOne(name: BlobName, place: BodyRef['place']): Promise<void>;
  /** Removes everything of a job, or only its results, compactions and the outputs of other attempts than `keepEpoch`. */
  remove(tenant: string, id: string, keepEpoch?: number): Promise<void>;
}

export interface Blob {
  readonly name: BlobName;
  readonly bytes: Uint8Array;
}

/**
 * How many sequence numbers an attempt has. The next attempt begins above all of them, because a fenced one may go on writing
 * until its next heartbeat.
 */
export const SEQUENCES_PER_EPOCH = 1_000_000;

/** Returns the first sequence number of an attempt. Epoch 0 has the events that say that the job was accepted. */
export function firstSequenceOf(epoch: number): number {
  return epoch <= 1 ? epoch * ACCEPTED_EVENTS : (epoch - 1) * SEQUENCES_PER_EPOCH;
}

/** `response.created` and `response.queued`. */
export const ACCEPTED_EVENTS = 2;

/**
 * Returns the number of the event that says how a job ended, the same for every reader. After a complete answer it is the next
 * number. Otherwise it is the attempt's last possible one, above all events that a holder may still write after its
 * job was recovered.
 */
export function endSequenceOf({ epoch, endSequence }: Pick<Job, 'epoch' | 'endSequence'>): number {
  return endSequence ?? (epoch === 0 ? ACCEPTED_EVENTS : epoch * SEQUENCES_PER_EPOCH - 1);
}
