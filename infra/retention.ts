import { readSetting, type Variables } from './settings.ts';

/** A day more than SQS keeps any message that may point to an object: 14. */
const MESSAGE_DAYS = 15;

/**
 * Days after which the bucket itself removes an object: a day after the last moment at which its job may expire, so that
 * it never goes first, nor before a message that waits to become a job.
 */
export async function bucketDays(variables: Variables): Promise<number> {
  const deadlineHours = await readSetting(variables, 'jobDeadlineHours');
  const retentionDays = await readSetting(variables, 'retentionDays');
  return Math.max(Math.ceil(retentionDays + deadlineHours / 24) + 1, MESSAGE_DAYS);
}
