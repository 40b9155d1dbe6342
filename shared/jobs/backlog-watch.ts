import type { QueueName } from './index-entry.ts';
import type { Backlog } from './sweep.ts';
import type { JobTimings } from './timings.ts';

/** Compares the jobs that have tickets with the messages that SQS counts. */
export interface BacklogWatch {
  /**
   * Returns how many tickets are missing for certain.
   * @param now epoch milliseconds
   */
  findMissing(queue: QueueName, backlog: Backlog, now: number): Promise<number>;
}

/** What was counted at a time, in epoch milliseconds. */
export interface BacklogSample {
  readonly at: number;
  readonly ticketed: number;
  readonly missing: number;
}

/** Keeps each queue's last sample. Its methods throw the errors of what keeps them. */
export interface BacklogSamples {
  read(queue: QueueName): Promise<BacklogSample | undefined>;
  write(queue: QueueName, sample: BacklogSample): Promise<void>;
}

/** Two samples may lie this share of SQS's lag apart, because runs of the sweep don't begin on the second. */
const LEAST_LAGS = 0.9;
/** A sample that is older than this many lags says nothing about now. */
const MOST_LAGS = 5;

/**
 * Creates a watch that counts a ticket as missing only if two samples, more than SQS's lag apart, both lack it. While a
 * backlog grows the earlier number of jobs is compared, and while it shrinks the later one, so that a late count shows no
 * ticket as missing.
 * @param countTickets returns the messages of a queue: visible, delayed and hidden
 * @param samples outlive the process, because a sweep that is killed would forget what is missing
 */
export function createBacklogWatch(
  countTickets: (queue: QueueName) => Promise<number>,
  { countLagMs }: Pick<JobTimings, 'countLagMs'>,
  samples: BacklogSamples,
): BacklogWatch {
  return {
    async findMissing(queue, { ticketed }, now) {
      if (ticketed === 0) return 0;
      const before = await samples.read(queue);
      if (before !== undefined && now - before.at < LEAST_LAGS * countLagMs) return 0;
      const tickets = await countTickets(queue);
      const isRecent = before !== undefined && now - before.at <= MOST_LAGS * countLagMs;
      const missing = isRecent ? Math.max(0, Math.min(before.ticketed, ticketed) - tickets) : 0;
      await samples.write(queue, { at: now, ticketed, missing });
      return isRecent ? Math.min(before.missing, missing) : 0;
    },
  };
}

/** Creates samples in memory, for the simulation and tests. */
export function createMemorySamples(): BacklogSamples {
  const samples = new Map<QueueName, BacklogSample>();
  return {
    async read(queue) {
      return samples.get(queue);
    },
    async write(queue, sample) {
      samples.set(queue, sample);
    },
  };
}
