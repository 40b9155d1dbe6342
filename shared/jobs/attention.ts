import { purposeOf } from './index-entry.ts';
import { isTerminal, type Job } from './job.ts';
import type { JobTimings } from './timings.ts';
import { deadAt, endCancelled, expire, giveUp, isExhausted, recover, type Transition } from './transitions.ts';

/** What has to be done for a job that nothing else happens to. */
export type Need =
  /** Nothing: a living worker holds it, it waits and has a ticket, or it has ended and its completion steps are done. */
  | { readonly kind: 'nothing' }
  /** Its holder is dead: `by` makes it wait again. */
  | { readonly kind: 'recover'; readonly by: Transition }
  /** It has to be ended, because no holder can end it. */
  | { readonly kind: 'end'; readonly by: Transition }
  /** It waits and needs a ticket. */
  | { readonly kind: 'ticket' }
  /** It has ended, with completion steps left. */
  | { readonly kind: 'complete' };

const NOTHING: Need = { kind: 'nothing' };

/**
 * Returns what `job` needs at `now` (epoch milliseconds).
 * @param lastOutageAt when the table was last not available: until a grace period later, holders may not have renewed yet
 * @param hasTicket true if the caller holds a ticket of the job
 */
export function needOf(
  job: Job,
  now: number,
  timings: JobTimings,
  lastOutageAt = Number.NEGATIVE_INFINITY,
  hasTicket = false,
): Need {
  if (isTerminal(job.status)) return job.fanIn === undefined ? NOTHING : { kind: 'complete' };
  if (job.status === 'in_progress' && deadAt(job, timings, lastOutageAt) > now) return NOTHING;
  if (job.cancelRequested) return { kind: 'end', by: endCancelled(job, now, timings) };
  if (job.deadline <= now) return { kind: 'end', by: expire(job, now, timings) };
  if (isExhausted(job)) return { kind: 'end', by: giveUp(job, now, timings) };
  if (job.status === 'in_progress') return { kind: 'recover', by: recover(job, now, timings, lastOutageAt, hasTicket) };
  // A job of the previous version has a message of its own, or needs one. Either way a ticket does no harm.
  return purposeOf(job) === 'wait' ? NOTHING : { kind: 'ticket' };
}

/** Returns the time of the next look at something that has been left undone since `since`: each time twice as late. */
export function nextLook(since: number, now: number, firstMs: number, longestMs: number): number {
  return now + Math.min(Math.max(firstMs, now - since), longestMs);
}
