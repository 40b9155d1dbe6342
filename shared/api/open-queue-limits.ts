import type { JobStore } from '../jobs/ports.ts';
import { createLimitsStore } from './limits-store.ts';
import { QueueLimits } from './queue-limits.ts';

/** Creates the limits of queued work. Call it once per environment. */
export function openQueueLimits(jobs: JobStore): QueueLimits {
  return new QueueLimits({ ...createLimitsStore(), jobs });
}
