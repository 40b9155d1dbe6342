import * as v from 'valibot';
import { MAX_CONCURRENCY, MIN_CONCURRENCY } from './dispatch-concurrency.ts';

/** Settings of the `fleet` function. */
export const fleetSettings = {
  FLEET_TABLE: v.string(),
  JOBS_TABLE: v.string(),
  /** Shards of the jobs' index that are read. */
  JOB_SHARDS_READ: v.optional(v.pipe(v.string(), v.toNumber(), v.integer(), v.minValue(1)), '4'),
  /** Id of the event source mapping that invokes `dispatch` with the queue's messages. Absent on a laptop. */
  GPU_MAPPING_ID: v.optional(v.string()),
  /** Maximum number of messages per invocation of `dispatch`. */
  GPU_BATCH_SIZE: v.optional(v.pipe(v.string(), v.toNumber(), v.integer(), v.minValue(1)), '1'),
  /** Maximum number of invocations of `dispatch` at once, however many slots there are. */
  DISPATCH_CONCURRENCY_MAX: v.optional(
    v.pipe(v.string(), v.toNumber(), v.integer(), v.minValue(MIN_CONCURRENCY), v.maxValue(MAX_CONCURRENCY)),
    String(MAX_CONCURRENCY),
  ),
};
