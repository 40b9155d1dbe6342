import type { Settings } from './settings-schema.ts';

/** One more than the 14 days for which SQS keeps a message that may point to an object. */
const MESSAGE_DAYS = 15;

/**
 * Returns the days after which the bucket's lifecycle rule deletes an object: at least a day after its job has expired,
 * and never while a message that points to it may still become a job.
 */
export function computeBucketDays({
  jobDeadlineHours,
  retentionDays,
}: Pick<Settings, 'jobDeadlineHours' | 'retentionDays'>): number {
  return Math.max(Math.ceil(retentionDays + jobDeadlineHours / 24) + 1, MESSAGE_DAYS);
}
