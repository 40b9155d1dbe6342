/**
 * What happens to a job besides being answered:
 * - `plain`: nothing;
 * - `repeated`: its request is repeated with the same idempotency key;
 * - `turn`: it belongs to a conversation, together with other jobs that run at the same time;
 * - `cancelled`, `deleted`: some time after it was accepted;
 * - `crashing`: the process that asks its model is killed each time;
 * - `unparsable`, `unknownModel`, `oversize`: its message can't become a job, and belongs in the dead-letter queue.
 */
export type JobKind =
  | 'plain'
  | 'repeated'
  | 'turn'
  | 'cancelled'
  | 'deleted'
  | 'crashing'
  | 'unparsable'
  | 'unknownModel'
  | 'oversize';

/** The kinds of every 25 jobs by HTTP, and of every 100 by the queue. The others are `plain`. */
const HTTP_KINDS: readonly JobKind[] = ['cancelled', 'deleted', 'turn', 'turn', 'repeated', 'repeated', 'repeated'];
const QUEUE_KINDS: readonly JobKind[] = ['unparsable', 'unknownModel', 'oversize', 'repeated', 'repeated'];
/** Few, because each is killed with all other jobs of its process. */
const CRASHING_EVERY = 500;

/** Returns whether a job is submitted by HTTP rather than by the queue. */
export const isByHttp = (job: number): boolean => job % 2 === 0;

/**
 * Returns the kind of a job.
 * @param crashes whether jobs may be `crashing`
 */
export function chooseKind(job: number, crashes: boolean): JobKind {
  if (isByHttp(job)) return HTTP_KINDS[(job / 2) % 25] ?? 'plain';
  if (crashes && job % CRASHING_EVERY === 151) return 'crashing';
  return QUEUE_KINDS[((job - 1) / 2) % 100] ?? 'plain';
}

/** Every tenth job has a long answer. */
export const isLong = (job: number): boolean => Math.floor(job / 7) % 10 === 0;
/** Every tenth job has a prompt that is stored as an object of the bucket. */
export const isLarge = (job: number): boolean => Math.floor(job / 11) % 10 === 0;

/** Returns whether a repetition of a job's request finds the same job. */
export const hasKey = (job: number, kind: JobKind): boolean => !isByHttp(job) || kind !== 'plain';
/** Returns whether a job may only fail if its attempts were spoiled. */
export const mustComplete = (kind: JobKind): boolean => kind === 'plain' || kind === 'repeated' || kind === 'turn';
