import * as v from 'valibot';
import { timingsSettings } from '../core/timings.ts';

/** Settings of every function that reads or writes what is stored of jobs. */
export const storeSettings = {
  KMS_KEY_ID: v.string(),
  KEYS_TABLE: v.string(),
  JOBS_TABLE: v.string(),
  BUCKET: v.string(),
  ...timingsSettings,
};
export type StoreSettings = v.InferOutput<v.ObjectSchema<typeof storeSettings, undefined>>;

/** Days for which responses and conversations are kept; a job, so long after its deadline. */
export const retentionSettings = {
  RETENTION_DAYS: v.optional(v.pipe(v.string(), v.toNumber(), v.minValue(1)), '30'),
};

/** Settings of every function that announces jobs: the queues of all lanes. */
export const queueSettings = {
  GENERATION_QUEUE_URL: v.string(),
  GPU_QUEUE_URL: v.string(),
};

/** Settings of every function that makes jobs. */
export const lifetimeSettings = {
  ...retentionSettings,
  /** Hours in which queued work has to be answered. */
  JOB_DEADLINE_HOURS: v.optional(v.pipe(v.string(), v.toNumber(), v.minValue(0.01)), '24'),
};
export type LifetimeSettings = v.InferOutput<v.ObjectSchema<typeof lifetimeSettings, undefined>>;

/** Settings of every function that works on jobs. */
export const jobSettings = {
  ...storeSettings,
  SESSIONS_TABLE: v.string(),
  ...queueSettings,
  /** JSON: queue URLs by the alias that a message's `replyTo` names. */
  REPLY_QUEUES: v.optional(v.pipe(v.string(), v.parseJson(), v.record(v.string(), v.string())), '{}'),
  ...lifetimeSettings,
};
export type JobSettings = v.InferOutput<v.ObjectSchema<typeof jobSettings, undefined>>;
