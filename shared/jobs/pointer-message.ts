import * as v from 'valibot';

/** The queue message that points to a job. Unknown fields are ignored: a newer version, side by side, may send more. */
export const pointerSchema = v.object({
  version: v.literal(1),
  type: v.literal('job'),
  tenant: v.pipe(v.string(), v.regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, 'a tenant')),
  id: v.pipe(v.string(), v.regex(/^resp_[A-Za-z0-9]{1,64}$/, 'a response id')),
  tier: v.exactOptional(v.string()),
  /** Seconds for which SQS was asked to delay the message. */
  delaySeconds: v.exactOptional(v.number()),
});
export type JobPointer = v.InferOutput<typeof pointerSchema>;

/** Encodes a pointer to a job as the text of a queue message. */
export function pointerMessage({ tenant, id, tier, delaySeconds }: Omit<JobPointer, 'version' | 'type'>): string {
  // `JSON.stringify` leaves out fields that are undefined.
  return JSON.stringify({ version: 1, type: 'job', tenant, id, tier, delaySeconds });
}
