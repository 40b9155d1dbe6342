/** Intervals of the job engine, in milliseconds. They keep their proportions when all are divided by the same number. */
export interface JobTimings {
  /** How long a claim or a renewal holds a job. */
  readonly leaseMs: number;
  /** Between two renewals of a lease. */
  readonly heartbeatMs: number;
  /** Between two tries of a renewal, or of storing an answer, that failed. */
  readonly retryMs: number;
  /** How long after the end of its lease a job is taken over: a holder that an outage kept from renewing can still do it. */
  readonly graceMs: number;
  /** A job whose ticket is not confirmed as sent by then gets one from the sweep. */
  readonly wakeMs: number;
  /** The sweep first looks at a waiting job after this time, then each time after twice as long. */
  readonly firstLookMs: number;
  /** The longest time between two such looks. */
  readonly longestLookMs: number;
  /** Completion steps that the job's last holder has not done by then are done by the sweep. */
  readonly completionMs: number;
  /** Completion steps that still fail after this time are given up. */
  readonly stepsEndMs: number;
  /** Between two comparisons of jobs and tickets. SQS's counts follow its messages within this time. */
  readonly countLagMs: number;
  /** The first pause after a throttled or failed attempt. It doubles with each further one. */
  readonly firstPauseMs: number;
  /** The longest such pause. */
  readonly longestPauseMs: number;
}

/**
 * The intervals in AWS. A holder renews every 15 s and others wait for 75 s: an outage of up to 45 s that begins just before a
 * renewal leaves it 15 s to retry.
 */
export const JOB_TIMINGS: JobTimings = {
  leaseMs: 60_000,
  heartbeatMs: 15_000,
  retryMs: 2_000,
  graceMs: 15_000,
  wakeMs: 30_000,
  firstLookMs: 900_000,
  longestLookMs: 6 * 3_600_000,
  completionMs: 60_000,
  stepsEndMs: 24 * 3_600_000,
  countLagMs: 60_000,
  firstPauseMs: 2_000,
  longestPauseMs: 900_000,
};
