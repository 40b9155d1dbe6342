import * as v from 'valibot';
import { LambentError } from '../core/errors.ts';
import { type TicketMessage, ticketSchema } from '../jobs/ticket-message.ts';
import { runJob } from '../jobs/worker.ts';
import type { Outcome, WorkerPorts } from '../jobs/worker-ports.ts';
import type { QueueRecord } from '../lambda/queue-event.ts';
import { type MessageContext, MessageRejectedError } from '../lambda/queue-pipeline.ts';

/**
 * Works on the job of a ticket. Tickets need no authorization: a forged ticket only makes a worker look at a job that
 * waits anyway.
 * @throws MessageRejectedError for a message that is not a ticket, and the table's errors before the job is claimed
 */
export async function receiveTicket(record: QueueRecord, ports: WorkerPorts, call: MessageContext): Promise<Outcome> {
  const ticket = parseTicket(record);
  if (ticket === undefined) {
    throw new MessageRejectedError(
      new LambentError('unsupported_value', 'Requests must be sent to the generation queue, for every model.', {
        param: 'type',
      }),
    );
  }
  recordQueueWait(ticket, record, ports);
  const { signal: shutdown, ...rest } = call;
  return runJob(ticket, ports, { ...rest, shutdown });
}

/** Returns the size of the input of a ticket's job; 0 if the ticket doesn't say it. */
export function getTicketBytes(record: QueueRecord): number {
  return parseTicket(record)?.bytes ?? 0;
}

function parseTicket({ body }: QueueRecord): TicketMessage | undefined {
  const result = v.safeParse(v.pipe(v.string(), v.parseJson(), ticketSchema), body);
  return result.success ? result.output : undefined;
}

/**
 * Records how long a ticket has waited in its queue. Flex jobs yield when waits are long. Tickets that are delivered again or
 * late are ignored, because they were hidden meanwhile.
 */
function recordQueueWait(
  { tier, delaySeconds }: TicketMessage,
  { attributes: { SentTimestamp: sentAt, ApproximateReceiveCount: received } }: QueueRecord,
  { yielding, now }: WorkerPorts,
): void {
  if (tier === undefined || delaySeconds !== undefined || sentAt === undefined || received !== '1') return;
  yielding?.recordWait(tier, now() - Number(sentAt));
}
