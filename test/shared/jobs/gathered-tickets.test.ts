import { describe, expect, it } from 'vitest';
import { gatherTickets } from '../../../shared/jobs/gathered-tickets.ts';
import type { Ticket, TicketQueue } from '../../../shared/jobs/ports.ts';

const ticket = (id: number): Ticket => ({ tenant: 'acme', id: `resp_${id}`, tier: 'default', model: 'm', bytes: 7 });
const tickets = (count: number) => Array.from({ length: count }, (_, id) => ticket(id));

/** A queue that records its requests, gathered over a pause that ends when the test says so. */
function createGatherer(send: TicketQueue['send'] = async (sent) => sent.map(() => true)) {
  const requests: (readonly Ticket[])[] = [];
  const pauses: (() => void)[] = [];
  const recording: TicketQueue = {
    send(sent) {
      requests.push([...sent]);
      return send(sent);
    },
  };
  const queue = gatherTickets(recording, () => new Promise<void>((resolve) => pauses.push(resolve)));
  return { queue, requests, endPauses: () => pauses.splice(0).forEach((end) => void end()) };
}

describe('gathered tickets', () => {
  it('are sent in one request when the pause ends', async () => {
    const { queue, requests, endPauses } = createGatherer();
    const sent = tickets(3).map((each) => queue.send([each]));
    expect(requests).toEqual([]);
    endPauses();
    expect(await Promise.all(sent)).toEqual([[true], [true], [true]]);
    expect(requests).toEqual([tickets(3)]);
  });

  it('are sent without a pause as soon as they fill a batch', async () => {
    const { queue, requests, endPauses } = createGatherer();
    const sent = tickets(12).map((each) => queue.send([each]));
    expect(await Promise.all(sent.slice(0, 10))).toEqual(Array.from({ length: 10 }, () => [true]));
    expect(requests).toEqual([tickets(12).slice(0, 10)]);
    endPauses();
    await Promise.all(sent);
    expect(requests).toEqual([tickets(12).slice(0, 10), tickets(12).slice(10)]);
  });

  it('never join a batch that is being sent', async () => {
    const { queue, requests, endPauses } = createGatherer();
    const first = queue.send([ticket(1)]);
    endPauses();
    await first;
    const second = queue.send([ticket(2)]);
    endPauses();
    await second;
    expect(requests).toEqual([[ticket(1)], [ticket(2)]]);
  });

  it('tell each call which of its own tickets were accepted', async () => {
    const { queue, endPauses } = createGatherer(async (sent) => sent.map(({ id }) => id !== 'resp_1'));
    const sent = [queue.send([ticket(0), ticket(1)]), queue.send([ticket(2)])];
    endPauses();
    expect(await Promise.all(sent)).toEqual([[true, false], [true]]);
  });

  it('fail in every call if their request fails, and later ones are sent again', async () => {
    const broken = { is: true };
    const { queue, endPauses } = createGatherer(async (sent) => {
      if (broken.is) throw new Error('SQS is away');
      return sent.map(() => true);
    });
    const failed = Promise.allSettled([queue.send([ticket(0)]), queue.send([ticket(1)])]);
    endPauses();
    expect((await failed).map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    broken.is = false;
    const sent = queue.send([ticket(0)]);
    endPauses();
    expect(await sent).toEqual([true]);
  });
});
