import type { Metrics } from '../core/metrics.ts';
import { createLimitsStore } from './limits-store.ts';
import { StorageLimits } from './storage-limits.ts';

/** Creates the limits on what projects store. Call it once per environment. */
export function openStorageLimits(metrics: Metrics): StorageLimits {
  return new StorageLimits({ ...createLimitsStore(), metrics });
}
