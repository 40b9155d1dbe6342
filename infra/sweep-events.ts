import type { Settings } from './settings-schema.ts';

/** Returns the sweep's schedules: one each minute, or one for each part of the shards, which its event names. */
export function createSweepEvents({ sweepParts: parts }: Pick<Settings, 'sweepParts'>): object[] {
  if (parts === 1) return [{ schedule: 'rate(1 minute)' }];
  return Array.from({ length: parts }, (_, part) => ({
    schedule: { rate: 'rate(1 minute)', input: { part, parts } },
  }));
}
