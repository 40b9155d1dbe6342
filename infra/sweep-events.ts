import { readSetting, type Variables } from './settings.ts';

/** Returns the sweep's schedules: one each minute, or one for each part of the shards, which its event names. */
export async function createSweepEvents(variables: Variables): Promise<object[]> {
  const parts = await readSetting(variables, 'sweepParts');
  if (parts === 1) return [{ schedule: 'rate(1 minute)' }];
  return Array.from({ length: parts }, (_, part) => ({
    schedule: { rate: 'rate(1 minute)', input: { part, parts } },
  }));
}
