import { readSetting, type Variables } from './settings.ts';

/**
 * Days after which the bucket itself removes an object: a day after the last moment at which its job may expire, so that
 * it never goes first.
 */
export async function bucketDays(variables: Variables): Promise<number> {
  const deadlineHours = await readSetting(variables, 'jobDeadlineHours');
  const retentionDays = await readSetting(variables, 'retentionDays');
  return Math.ceil(retentionDays + deadlineHours / 24) + 1;
}
