import type { BodyRef, Job } from './job.ts';

/** Where sealed bytes of a job lie: `part` names them within their attempt. */
export interface BlobName {
  readonly tenant: string;
  readonly id: string;
  readonly part: 'input' | 'output' | 'replay' | 'event';
  readonly epoch: number;
  /** First sequence number of an event chunk; 0 for bodies. */
  readonly sequence: number;
}

/** Keeps sealed bytes beside a job: small ones in its table, large ones in the bucket. Knows nothing of what is in them. */
export interface Blobs {
  /** @param expiresAt epoch seconds */
  put(name: BlobName, bytes: Uint8Array, expiresAt: number): Promise<BodyRef['place']>;
  /** As `put`, unless there is something in that place already. What is in the other place doesn't count. */
  putNew(
    name: BlobName,
    bytes: Uint8Array,
    expiresAt: number,
  ): Promise<{ readonly place: BodyRef['place']; readonly isNew: boolean }>;
  /** @returns undefined when nothing is there, or what was has expired */
  get(name: BlobName, place: BodyRef['place']): Promise<Uint8Array | undefined>;
  /** Events of a job in the order of their numbers, from the chunk on that begins with `from` or later. */
  events(tenant: string, id: string, from: number): Promise<readonly Blob[]>;
  /** The first number of the chunk that begins last at or before `sequence`; undefined when none does. */
  chunkBefore(tenant: string, id: string, sequence: number): Promise<number | undefined>;
  /** Removes what lies under one name, in one place. */
  removeOne(name: BlobName, place: BodyRef['place']): Promise<void>;
  /** Removes everything of a job, or only the outputs of other attempts than `keepEpoch`. */
  remove(tenant: string, id: string, keepEpoch?: number): Promise<void>;
}

export interface Blob {
  readonly name: BlobName;
  readonly bytes: Uint8Array;
}

/**
 * Sequence numbers of one attempt. The next attempt begins above all of them, so that a fenced one, which may write for
 * another heartbeat, shares no number with its successor.
 */
export const SEQUENCES_PER_EPOCH = 1_000_000;

/** The first number of an attempt. Those of epoch 0 are the ones that say that the job was accepted. */
export function firstSequenceOf(epoch: number): number {
  return epoch <= 1 ? epoch * ACCEPTED_EVENTS : (epoch - 1) * SEQUENCES_PER_EPOCH;
}

/** `response.created` and `response.queued`. */
export const ACCEPTED_EVENTS = 2;

/**
 * The number of the event that tells how a job ended, the same for every reader. It follows the events of a whole answer. Where
 * there is none, or whoever ended the job wasn't its holder, it is the last that the attempt could have: above whatever a holder
 * that is taken for dead may still write.
 */
export function endSequenceOf({ epoch, endSequence }: Pick<Job, 'epoch' | 'endSequence'>): number {
  return endSequence ?? (epoch === 0 ? ACCEPTED_EVENTS : epoch * SEQUENCES_PER_EPOCH - 1);
}
