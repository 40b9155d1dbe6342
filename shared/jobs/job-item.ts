import * as v from 'valibot';
import { type Item, marshall, unmarshall } from '../aws/attributes.ts';
import { LambentError } from '../core/errors.ts';
import { type Job, STATUSES } from './job.ts';
import { jobKey } from './keys.ts';

/** The sort key of a job's own item. */
export const JOB_SORT_KEY = 'job';

/** The table's key of a job. */
export function itemKey(tenant: string, id: string): Item {
  return marshall({ pk: jobKey(tenant, id), sk: JOB_SORT_KEY });
}

/** Returns the table item of a job: its fields under their own names. */
export function jobItem(job: Job): Item {
  return { ...itemKey(job.tenant, job.id), ...marshall({ ...job }) };
}

const bodyRef = v.object({ place: v.picklist(['table', 's3']), epoch: v.number(), sizeBytes: v.number() });

const jobSchema = v.object({
  tenant: v.string(),
  id: v.string(),
  endpoint: v.string(),
  model: v.string(),
  status: v.picklist(STATUSES),
  epoch: v.number(),
  owner: v.exactOptional(v.string()),
  leaseExpiresAt: v.exactOptional(v.number()),
  attempts: v.number(),
  tries: v.exactOptional(v.number()),
  asks: v.exactOptional(v.number()),
  releases: v.number(),
  crashes: v.exactOptional(v.number()),
  begun: v.exactOptional(v.boolean()),
  alone: v.exactOptional(v.boolean()),
  cutOff: v.exactOptional(v.boolean()),
  // A claim succeeds before its result is parsed: a tier of a newer version must not make the job unreadable.
  tier: v.fallback(v.picklist(['interactive', 'default', 'flex']), 'default'),
  lane: v.exactOptional(v.string()),
  deadline: v.number(),
  notBefore: v.exactOptional(v.number()),
  cancelRequested: v.boolean(),
  background: v.boolean(),
  streamed: v.boolean(),
  stored: v.boolean(),
  createdAt: v.number(),
  startedAt: v.exactOptional(v.number()),
  completedAt: v.exactOptional(v.number()),
  input: bodyRef,
  contextBytes: v.exactOptional(v.number()),
  output: v.exactOptional(bodyRef),
  usage: v.exactOptional(
    v.object({
      inputTokens: v.number(),
      cachedInputTokens: v.number(),
      cacheWriteTokens: v.exactOptional(v.number()),
      hourCacheWriteTokens: v.exactOptional(v.number()),
      outputTokens: v.number(),
      reasoningTokens: v.number(),
    }),
  ),
  endSequence: v.exactOptional(v.number()),
  errorCode: v.exactOptional(v.string()),
  errorLimit: v.exactOptional(v.string()),
  errorRefusal: v.exactOptional(v.string()),
  storedBytes: v.exactOptional(v.number()),
  turnBytes: v.exactOptional(v.number()),
  turnItems: v.exactOptional(v.number()),
  conversation: v.exactOptional(v.string()),
  previousResponse: v.exactOptional(v.string()),
  replyTo: v.exactOptional(v.string()),
  fanIn: v.exactOptional(v.array(v.string())),
  duePartition: v.exactOptional(v.string()),
  dueAt: v.exactOptional(v.number()),
  expiresAt: v.number(),
});

/**
 * Reads a job's item. Attributes that this version doesn't know are left out; a newer one, side by side with it, may
 * have written them, and an update leaves them as they are. What it has to tell that this version doesn't know stays.
 * @throws LambentError `record_unreadable` for an item that is no job
 */
export function parseJobItem(item: Item): Job {
  const result = v.safeParse(jobSchema, unmarshall(item));
  if (result.success) return result.output;
  throw new LambentError(
    'record_unreadable',
    `A job's item is not one: ${result.issues.map((issue) => v.getDotPath(issue)).join(', ')}`,
  );
}
