import { describe, expect, it } from 'vitest';
import { receiveTicket } from '../../../shared/api/receive-ticket.ts';
import { createBodies } from '../../../shared/jobs/bodies.ts';
import { createEventLog } from '../../../shared/jobs/event-log.ts';
import type { Job } from '../../../shared/jobs/job.ts';
import { createMemoryStore } from '../../../shared/jobs/memory-store.ts';
import { createYielding } from '../../../shared/jobs/yielding.ts';
import { answerWith } from '../api/answer-with.ts';
import { createWorkerPorts } from '../api/receiver-ports.ts';
import { recordTelemetry } from '../core/recorded-telemetry.ts';
import { makeAnswer } from '../inference/requests.ts';
import { aJob, anInput, HOUR_MS, START } from './jobs.ts';
import { createMemoryBlobs } from './memory-blobs.ts';
import { recordTickets, ticketOf } from './recorded-tickets.ts';
import { aVault } from './services.ts';

async function* events() {
  yield* makeAnswer('Hello');
}

/** One function environment, and jobs by their ids, `flex…` in the flex tier. */
function anEnvironment() {
  const clock = { now: START };
  const blobs = createMemoryBlobs();
  const jobs = createMemoryStore(() => clock.now);
  const bodies = createBodies(aVault(), blobs);
  const ports = {
    ...createWorkerPorts(clock),
    jobs,
    bodies,
    events: createEventLog(aVault(), blobs),
    queue: recordTickets(),
    answerJob: answerWith(
      async () => ({ events: events() }),
      () => clock.now,
    ),
    random: () => 1,
    yielding: createYielding(() => clock.now),
    onError: (_what: string, thrown: unknown) => expect.unreachable(String(thrown)),
  };
  const tierOf = (id: string) => (id.startsWith('resp_flex') ? 'flex' : 'default');

  /** A message as SQS hands it over. */
  interface Received {
    readonly body: string;
    readonly waitedMs?: number;
    readonly received?: string;
  }
  const recordOf = ({ body, waitedMs = 0, received = '1' }: Received) => ({
    messageId: 'm',
    receiptHandle: 'r',
    body,
    attributes: {
      SenderId: 'AROA',
      ApproximateReceiveCount: received,
      SentTimestamp: String(clock.now - waitedMs),
    },
  });
  const call = {
    signal: new AbortController().signal,
    deadlineAt: START + 24 * HOUR_MS,
    requestId: 'request',
    isWhole: () => true,
    runAlone: <T>(run: () => Promise<T>) => run(),
    mayHide: () => true,
    telemetry: recordTelemetry(),
  };
  return {
    clock,
    ticketTo: (id: string) => ticketOf(id, { tier: tierOf(id) }),
    job: (id: string) => jobs.read('acme', id),
    async put(id: string, changes: Partial<Job> = {}) {
      const { tenant, expiresAt } = aJob();
      const input = await bodies.write({ tenant, id, kind: 'input', epoch: 0, expiresAt }, anInput());
      await jobs.create(aJob({ id, input, tier: tierOf(id), ...changes }));
    },
    /** A batch: its messages are served side by side. */
    batch: (...messages: Received[]) => Promise.all(messages.map((each) => receiveTicket(recordOf(each), ports, call))),
  };
}

const WAITED = 5_001;

describe('flex work', () => {
  it('stands back for work of its batch that has waited, at no attempt and no ask', async () => {
    const environment = anEnvironment();
    await Promise.all(['resp_flex', 'resp_other'].map((id) => environment.put(id)));
    const [flex, other] = await environment.batch(
      { body: environment.ticketTo('resp_flex'), waitedMs: WAITED },
      { body: environment.ticketTo('resp_other'), waitedMs: WAITED },
    );
    expect(other).toMatchObject({ kind: 'ended', job: { status: 'completed' } });
    const job = { status: 'queued', attempts: 0, asks: 0, releases: 1, notBefore: START + 8_000 };
    expect(flex).toMatchObject({ kind: 'released', ticket: true, job });
  });

  it('stands back for half a minute more, and then runs', async () => {
    const environment = anEnvironment();
    await Promise.all(['resp_flex', 'resp_other'].map((id) => environment.put(id)));
    await environment.batch({ body: environment.ticketTo('resp_other'), waitedMs: WAITED });
    const flex = { body: environment.ticketTo('resp_flex'), waitedMs: 60_000 };
    environment.clock.now += 29_999;
    expect(await environment.batch(flex)).toMatchObject([{ kind: 'released' }]);
    environment.clock.now += 8_000;
    expect(await environment.batch(flex)).toMatchObject([{ kind: 'ended', job: { attempts: 1, status: 'completed' } }]);
  });

  it('is not put off for ever: in the second half of its time it runs', async () => {
    const environment = anEnvironment();
    await Promise.all(['resp_flex', 'resp_other'].map((id) => environment.put(id)));
    environment.clock.now += HOUR_MS / 2 - 1;
    const other = { body: environment.ticketTo('resp_other'), waitedMs: WAITED };
    const flex = { body: environment.ticketTo('resp_flex') };
    expect(await environment.batch(flex, other)).toMatchObject([{ kind: 'released' }, { kind: 'ended' }]);
    environment.clock.now += 8_000;
    expect(await environment.batch(flex, other)).toMatchObject([{ kind: 'ended' }, { kind: 'unneeded' }]);
  });

  it.each([
    ['is received at once', { waitedMs: 5_000 }],
    ['was hidden, or comes again after its function died', { waitedMs: 61_000, received: '2' }],
  ])('runs beside work that %s', async (_name, how) => {
    const environment = anEnvironment();
    await Promise.all(['resp_flex', 'resp_other'].map((id) => environment.put(id)));
    const outcomes = await environment.batch(
      { body: environment.ticketTo('resp_flex'), waitedMs: 60_000 },
      { body: environment.ticketTo('resp_other'), ...how },
    );
    expect(outcomes.map(({ kind }) => kind)).toEqual(['ended', 'ended']);
  });
});
