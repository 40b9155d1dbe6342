import type { Job } from './job.ts';

/** What a function environment knows of work that waits. */
export interface Yielding {
  /**
   * Takes note of a message before anything is done about it, so that its whole batch is known when the first job is claimed.
   * @param waitedMs how long it has waited to be received
   */
  saw(tier: string, waitedMs: number): void;
  /** Whether a job that was claimed just now is to be put off: it is flex work, and other work waits. */
  standsBack(job: Pick<Job, 'tier' | 'createdAt' | 'deadline'>): boolean;
}

/** A message is received within a second or two where there is room, with a cold start in it. */
const LONG_WAIT_MS = 5_000;
/** What was sent along with a message that waited long is received within it. */
const STAND_BACK_MS = 30_000;
/** How much of the time that a job has it may have stood back: the rest is left to be answered in. */
const STAND_BACK_SHARE = 0.5;

/**
 * Makes flex work yield on a queue: once other work was seen to have waited long, flex jobs are put off for half a minute from
 * then on. They aren't for ever: in the second half of its time a job is run like any other.
 * @param now epoch milliseconds
 */
export function createYielding(now: () => number): Yielding {
  let until = Number.NEGATIVE_INFINITY;
  return {
    saw(tier, waitedMs) {
      if (tier !== 'flex' && waitedMs > LONG_WAIT_MS) until = now() + STAND_BACK_MS;
    },
    standsBack({ tier, createdAt, deadline }) {
      return tier === 'flex' && now() < until && now() < createdAt + (deadline - createdAt) * STAND_BACK_SHARE;
    },
  };
}
