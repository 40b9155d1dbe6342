import type { Ticket, TicketQueue } from '../../../shared/jobs/ports.ts';
import { encodeTicket } from '../../../shared/jobs/ticket-message.ts';

/** A ticket queue that records what it is sent. */
export interface RecordedTickets extends TicketQueue {
  readonly tickets: Ticket[];
  /** Ids of the jobs whose tickets were sent. */
  readonly ids: () => readonly string[];
  /** The next tickets for which this returns true are not accepted. */
  refuse: (ticket: Ticket) => boolean;
}

/** Creates a ticket queue that accepts and records every ticket. */
export function recordTickets(): RecordedTickets {
  const tickets: Ticket[] = [];
  const recorded: RecordedTickets = {
    tickets,
    ids: () => tickets.map(({ id }) => id),
    refuse: () => false,
    async send(sent) {
      const accepted = sent.map((ticket) => !recorded.refuse(ticket));
      tickets.push(...sent.filter((_, index) => accepted[index]));
      return accepted;
    },
  };
  return recorded;
}

/** Returns the body of a ticket. */
export function ticketOf(id: string, rest: Partial<Ticket> = {}): string {
  return encodeTicket({ tenant: 'acme', id, tier: 'default', model: 'default', bytes: 100, ...rest });
}
