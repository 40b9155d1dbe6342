import * as v from 'valibot';
import type { Ticket } from './ports.ts';

/** The queue message that is a job's ticket. Unknown fields are ignored: a newer version, side by side, may send more. */
export const ticketSchema = v.object({
  version: v.literal(1),
  type: v.literal('job'),
  tenant: v.pipe(v.string(), v.regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, 'a tenant')),
  id: v.pipe(v.string(), v.regex(/^resp_[A-Za-z0-9]{1,64}$/, 'a response id')),
  tier: v.exactOptional(v.string()),
  model: v.exactOptional(v.string()),
  /** The size of the job's input. */
  bytes: v.exactOptional(v.pipe(v.number(), v.safeInteger(), v.minValue(0))),
  /** Seconds for which the previous version asked SQS to delay the message. */
  delaySeconds: v.exactOptional(v.number()),
});
export type TicketMessage = v.InferOutput<typeof ticketSchema>;

/** Encodes a ticket as the text of a queue message. */
export function encodeTicket({ tenant, id, tier, model, bytes }: Ticket): string {
  return JSON.stringify({ version: 1, type: 'job', tenant, id, tier, model, bytes });
}
