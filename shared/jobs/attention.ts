import { isTerminal, type Job } from './job.ts';
import type { JobTimings } from './timings.ts';
import { endCancelled, expire, giveUp, MAX_ATTEMPTS, postpone, type Transition } from './transitions.ts';

/** What a job needs of whoever looks at it. */
export type Need =
  /** Nothing: somebody holds it, it waits for its time, or it has ended and all has been told. */
  | { readonly kind: 'nothing' }
  /** To be ended, since no holder can do it any more. */
  | { readonly kind: 'end'; readonly by: Transition }
  /** To be announced again, once `by` has put off the next look. */
  | { readonly kind: 'announce'; readonly by: Transition }
  /** To be told of, once `by` has put off the next look. */
  | { readonly kind: 'tell'; readonly by: Transition };

/** What `job` needs at `now` (epoch milliseconds). */
export function needOf(job: Job, now: number, timings: JobTimings): Need {
  if (isTerminal(job.status)) {
    const endedAt = job.completedAt ?? now;
    return job.fanIn === undefined
      ? NOTHING
      : { kind: 'tell', by: postpone(job, now + pauseAfter(now - endedAt, timings)) };
  }
  if (job.leaseExpiresAt !== undefined && job.leaseExpiresAt > now) return NOTHING;
  if (job.cancelRequested) return { kind: 'end', by: endCancelled(job, now, timings) };
  if (job.deadline <= now) return { kind: 'end', by: expire(job, now, timings) };
  if (job.attempts >= MAX_ATTEMPTS) return { kind: 'end', by: giveUp(job, now, timings) };
  if (job.notBefore !== undefined && job.notBefore > now) return NOTHING;
  const idleSince = job.leaseExpiresAt ?? job.notBefore ?? job.createdAt;
  const next = Math.min(now + pauseAfter(now - idleSince, timings), job.deadline);
  return { kind: 'announce', by: postpone(job, next) };
}

const NOTHING: Need = { kind: 'nothing' };

/** Twice as long each time: what has waited long most likely waits behind others, and every look costs requests. */
function pauseAfter(idleMs: number, { pickupMs, longestPickupMs }: JobTimings): number {
  return Math.min(Math.max(pickupMs, idleMs), longestPickupMs);
}
