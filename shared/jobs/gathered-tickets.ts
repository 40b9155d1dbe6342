import { setTimeout as sleepFor } from 'node:timers/promises';
import type { Ticket, TicketQueue } from './ports.ts';

/** SQS's limit for a batch request. */
const BATCH_SIZE = 10;
/** The messages of an event reach the sending of their tickets within some milliseconds of each other. */
const GATHER_MS = 10;

/** Tickets that are sent together. */
interface Batch {
  readonly tickets: Ticket[];
  readonly accepted: Promise<readonly boolean[]>;
  /** Ends the wait for further tickets. */
  readonly close: () => void;
}

/**
 * Sends the tickets of concurrent calls together, because a batch of ten costs as much as a single message. A ticket waits up
 * to 10 ms for others. If a request fails, each call whose tickets were in it fails or gets `false`, as if it had made the
 * request alone.
 * @param sleep resolves after `ms`
 */
export function gatherTickets(
  queue: TicketQueue,
  sleep: (ms: number) => Promise<unknown> = (ms) => sleepFor(ms),
): TicketQueue {
  let open: Batch | undefined;

  function openBatch(): Batch {
    const tickets: Ticket[] = [];
    const { promise: closed, resolve: close } = Promise.withResolvers<void>();
    const accepted = Promise.race([closed, sleep(GATHER_MS)]).then(() => {
      if (open?.tickets === tickets) open = undefined;
      return queue.send(tickets);
    });
    return { tickets, accepted, close };
  }

  return {
    async send(tickets) {
      open ??= openBatch();
      const batch = open;
      const from = batch.tickets.length;
      batch.tickets.push(...tickets);
      if (batch.tickets.length >= BATCH_SIZE) {
        open = undefined;
        batch.close();
      }
      return (await batch.accepted).slice(from, from + tickets.length);
    },
  };
}
