import * as v from 'valibot';
import { timingsSettings } from '../core/timings.ts';

/** Settings of every function that reads or writes what is stored of jobs. */
export const storeSettings = {
  KMS_KEY_ID: v.string(),
  KEYS_TABLE: v.string(),
  JOBS_TABLE: v.string(),
  BUCKET: v.string(),
  /** Shards of each partition of the jobs' index that are written. */
  JOB_SHARDS: v.optional(v.pipe(v.string(), v.toNumber(), v.integer(), v.minValue(1), v.maxValue(1_000)), '4'),
  ...timingsSettings,
};
export type StoreSettings = v.InferOutput<v.ObjectSchema<typeof storeSettings, undefined>>;

/** Days for which responses and conversations are kept. Jobs are kept for as long after their deadlines. */
export const retentionSettings = {
  RETENTION_DAYS: v.optional(v.pipe(v.string(), v.toNumber(), v.minValue(1)), '30'),
};

/** Settings of every function that sends tickets: the ticket queues of all lanes. */
export const queueSettings = {
  JOBS_QUEUE_URL: v.string(),
  GPU_QUEUE_URL: v.string(),
};

/** Settings of every function that makes jobs. */
export const lifetimeSettings = {
  ...retentionSettings,
  /** Hours in which queued work has to be answered. */
  JOB_DEADLINE_HOURS: v.optional(v.pipe(v.string(), v.toNumber(), v.minValue(0.01)), '24'),
};
export type LifetimeSettings = v.InferOutput<v.ObjectSchema<typeof lifetimeSettings, undefined>>;

/** Settings of every function that knows reply queues. */
export const replySettings = {
  /** JSON: queue URLs by the alias that a message's `replyTo` names. */
  REPLY_QUEUES: v.optional(v.pipe(v.string(), v.parseJson(), v.record(v.string(), v.string())), '{}'),
};
/** Set by Lambda, in MB. */
const AWS_LAMBDA_FUNCTION_MEMORY_SIZE = v.optional(v.pipe(v.string(), v.toNumber()), '1024');

/** Settings of the function that turns messages into jobs. */
export const intakeSettings = {
  ...storeSettings,
  ...queueSettings,
  ...lifetimeSettings,
  GENERATION_QUEUE_URL: v.string(),
  ...replySettings,
  AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
};
export type IntakeSettings = v.InferOutput<v.ObjectSchema<typeof intakeSettings, undefined>>;

/** Settings of every function that works on jobs. */
export const jobSettings = {
  ...storeSettings,
  SESSIONS_TABLE: v.string(),
  ...queueSettings,
  /** Gets the tickets that are no tickets, and the completion steps that were given up. */
  JOBS_DLQ_URL: v.string(),
  ...replySettings,
  ...retentionSettings,
};
export type JobSettings = v.InferOutput<v.ObjectSchema<typeof jobSettings, undefined>>;

/** Settings of every function that runs jobs. */
export const workerSettings = {
  ...jobSettings,
  /** Jobs in hand at once in an invocation. */
  JOB_PLACES: v.optional(v.pipe(v.string(), v.toNumber(), v.integer(), v.minValue(1)), '10'),
  AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
  /** Has the policies of tenants, which jobs are run under. */
  ACCESS_TABLE: v.string(),
};
export type WorkerSettings = v.InferOutput<v.ObjectSchema<typeof workerSettings, undefined>>;

/**
 * Returns how many bytes of inputs a process may have in hand: a 40th of its memory, because a parsed body takes about 12 times
 * its bytes, the process itself about 300 MB, and answers come on top.
 */
export function getMaxBytes(settings: { readonly AWS_LAMBDA_FUNCTION_MEMORY_SIZE: number }): number {
  return (settings.AWS_LAMBDA_FUNCTION_MEMORY_SIZE * 1_000_000) / 40;
}
