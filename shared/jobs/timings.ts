/** Intervals of the job engine, in milliseconds. They keep their proportions when all are divided by the same number. */
export interface JobTimings {
  /** How long a claim holds a job. A lease survives two missed heartbeats. */
  readonly leaseMs: number;
  /** Between two renewals of a lease. */
  readonly heartbeatMs: number;
  /** A job that no worker has claimed by then is enqueued again. Twice the worst cold start and poll. */
  readonly pickupMs: number;
  /** The longest time between two such enqueues: a job that waits long is most likely behind many others. */
  readonly longestPickupMs: number;
  /** Completion steps that the job's last holder has not done by then are done by the sweep. */
  readonly completionMs: number;
  /** The first pause after a throttled or failed attempt; it doubles with each further one. */
  readonly firstPauseMs: number;
  /** The longest such pause. */
  readonly longestPauseMs: number;
  /** A job whose table could not be reached is enqueued again after it. */
  readonly unreachableMs: number;
}

/** What runs in AWS. */
export const JOB_TIMINGS: JobTimings = {
  leaseMs: 45_000,
  heartbeatMs: 15_000,
  pickupMs: 60_000,
  longestPickupMs: 900_000,
  completionMs: 60_000,
  firstPauseMs: 2_000,
  longestPauseMs: 60_000,
  unreachableMs: 30_000,
};
