import type { HttpRequest } from '../access/route.ts';
import type { Sleep } from '../core/heartbeat.ts';
import type { Bodies, JobStore } from '../jobs/ports.ts';
import type { Vault } from '../vault/vault.ts';
import type { IdempotencyRecords } from './idempotency-records.ts';
import type { ClaimTimings } from './key-lease.ts';
import type { Reference } from './replay.ts';

/** The stores of idempotent calls. */
export interface Idempotency {
  readonly records: IdempotencyRecords;
  readonly bodies: Bodies;
  /** Returns whether a stored response still exists. */
  readonly jobs: Pick<JobStore, 'read'>;
  readonly vault: Vault;
  readonly timings: ClaimTimings;
  /** Returns epoch milliseconds. */
  readonly now?: () => number;
  /** Pauses between renewals. Default: real time. */
  readonly sleep?: Sleep;
}

export interface IdempotentOptions {
  /** Name of the route. The same key on another route is another key. */
  readonly name: string;
  /** Loads the stores. Called only for requests with a key. */
  readonly open: () => Promise<Idempotency>;
  /** Rejects if the caller may not make a request. Another caller of the tenant may have made the first one. */
  readonly checkCaller?: (request: HttpRequest) => Promise<void>;
  /** Returns whether the response to a request may be stored. If not, a repetition is refused. Default: true. */
  readonly mayStore?: (request: HttpRequest) => boolean;
  /** Replays responses that show objects stored elsewhere. */
  readonly reference?: Reference;
  /** Returns whether the route can show the result of a call that still runs, so that a repetition needn't wait. */
  readonly showsRunning?: (body: unknown) => boolean;
  /** Returns whether a frame may be the last of its stream. Such frames are sent after the result is recorded. */
  readonly isFinalFrame?: (frame: string) => boolean;
}
