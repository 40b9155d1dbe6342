import type { Job } from './job.ts';

/** Whether other work waits, as far as one environment knows. */
export interface Yielding {
  /**
   * Records how long a ticket waited. Must be called before the ticket's job is claimed, so that all tickets of a batch are
   * known when the first job is.
   * @param waitedMs milliseconds from its sending to its receive
   */
  recordWait(tier: string, waitedMs: number): void;
  /** Whether a job that was just claimed should be released, because it is flex work and other work waits. */
  shouldDefer(job: Pick<Job, 'tier' | 'createdAt' | 'deadline'>): boolean;
}

/** Where there is room, a ticket is received within a second or two, even if an environment has to start first. */
const LONG_WAIT_MS = 5_000;
/** Tickets that were sent along with one that waited long are received within this time. */
const DEFER_MS = 30_000;
/** The share of a flex job's time in which it may be deferred. The rest is left for its answer. */
const DEFER_SHARE = 0.5;

/**
 * Makes flex work yield to other work. After a ticket of other work has waited long, flex jobs are deferred for half a minute,
 * but never in the second half of their time.
 * @param now epoch milliseconds
 */
export function createYielding(now: () => number): Yielding {
  let until = Number.NEGATIVE_INFINITY;
  return {
    recordWait(tier, waitedMs) {
      if (tier !== 'flex' && waitedMs > LONG_WAIT_MS) until = now() + DEFER_MS;
    },
    shouldDefer({ tier, createdAt, deadline }) {
      return tier === 'flex' && now() < until && now() < createdAt + (deadline - createdAt) * DEFER_SHARE;
    },
  };
}
