import { describe, expect, it } from 'vitest';
import { deriveResponseId } from '../../../shared/api/queue-message.ts';
import { receive } from '../../../shared/api/receive.ts';
import { receiveTicket } from '../../../shared/api/receive-ticket.ts';
import { type ErrorCode, LambentError } from '../../../shared/core/errors.ts';
import type { GenerationEvent, GenerationRequest } from '../../../shared/inference/generation.ts';
import { type Recovery, UpstreamError } from '../../../shared/inference/model.ts';
import { parseModelRegistry } from '../../../shared/inference/registry.ts';
import type { GenerateOptions } from '../../../shared/inference/router.ts';
import { createBodies } from '../../../shared/jobs/bodies.ts';
import { cancelJob } from '../../../shared/jobs/control.ts';
import { createEventLog } from '../../../shared/jobs/event-log.ts';
import { queueOf } from '../../../shared/jobs/index-entry.ts';
import type { Job } from '../../../shared/jobs/job.ts';
import { createMemoryStore } from '../../../shared/jobs/memory-store.ts';
import { fallbackLaneOf, laneOf } from '../../../shared/jobs/queue-routing.ts';
import { answerWith } from '../api/answer-with.ts';
import { createReceiverPorts, createWorkerPorts } from '../api/receiver-ports.ts';
import { recordTelemetry } from '../core/recorded-telemetry.ts';
import { makeAnswer } from '../inference/requests.ts';
import { aJob, anInput, HOUR_MS, START } from './jobs.ts';
import { createMemoryBlobs } from './memory-blobs.ts';
import { recordTickets, ticketOf } from './recorded-tickets.ts';
import { aVault } from './services.ts';
import { sweepOnce } from './sweep-once.ts';

const hosted = { provider: 'openai-compatible', model: 'm', baseUrl: 'http://127.0.0.1/v1' };
const gpu = { provider: 'gpu', model: 'm', fleet: 'f' };
const registry = parseModelRegistry(
  JSON.stringify({
    models: {
      hosted: { targets: [hosted] },
      gpu: { targets: [gpu], fallbacks: ['hosted'] },
      both: { targets: [hosted, gpu] },
      helped: { targets: [hosted], fallbacks: ['gpu'] },
      farther: { targets: [hosted], fallbacks: ['hosted', 'helped'] },
      circular: { targets: [hosted], fallbacks: ['circle'] },
      circle: { targets: [hosted], fallbacks: ['circular'] },
    },
    fleets: { f: {} },
  }),
  'models.json',
);

type Behaviour = (options: GenerateOptions) => AsyncGenerator<GenerationEvent>;
const answers: Behaviour = async function* () {
  yield* makeAnswer('Hello');
};
const cuts: Behaviour = async function* () {
  yield { type: 'text', text: 'Hel' };
  throw new UpstreamError('upstream_cut', 'cut', { recovery: 'retry' });
};
const fails = (code: ErrorCode, recovery: Recovery): Behaviour =>
  // biome-ignore lint/correctness/useYield: it fails before its first event
  async function* () {
    throw new UpstreamError(code, 'told to', { recovery });
  };

/** Intake, generate and dispatch around one table, with the tickets on each queue. */
async function aHouse() {
  const clock = { now: START };
  const vault = aVault();
  const blobs = createMemoryBlobs();
  const jobs = createMemoryStore(() => clock.now);
  const recorded = recordTickets();
  const behaviours: Behaviour[] = [];
  const requests: GenerationRequest[] = [];
  const ports = {
    ...createReceiverPorts(clock),
    ...createWorkerPorts(clock),
    jobs,
    bodies: createBodies(vault, blobs),
    events: createEventLog(vault, blobs),
    queue: recorded,
    shards: 1,
    answerJob: answerWith(
      async (request, options) => {
        requests.push(request);
        return { events: (behaviours.shift() ?? answers)(options) };
      },
      () => clock.now,
    ),
    random: () => 0.5,
    onError: () => {},
    registry,
  };
  const recordOf = (body: string) => ({
    messageId: 'm1',
    receiptHandle: 'r1',
    body,
    attributes: { SenderId: 'AROA', ApproximateReceiveCount: '1' },
  });
  const callFor = (ms: number) => ({
    signal: new AbortController().signal,
    deadlineAt: clock.now + ms,
    requestId: 'request',
    isWhole: () => true,
    runAlone: <T>(run: () => Promise<T>) => run(),
    mayHide: () => true,
    telemetry: recordTelemetry(),
  });
  const id = deriveResponseId('acme', 'order-1');
  return {
    clock,
    /** Ids of the jobs whose tickets were sent to each queue. */
    sent: () => ({
      jobs: recorded.tickets.filter(({ lane }) => lane !== 'gpu').map(({ id }) => id),
      gpu: recorded.tickets.filter(({ lane }) => lane === 'gpu').map(({ id }) => id),
    }),
    behaviours,
    requests,
    ports,
    id,
    job: () => jobs.read('acme', id),
    /** Puts a job there as if it had been submitted, by this version or an earlier one. */
    async put(changes: Partial<Job>, purpose: 'wake' | 'wait' = 'wait') {
      const { tenant, expiresAt } = aJob();
      const { tenant: _, ...generation } = anInput().generation;
      const asked = {
        body: { model: changes.model, input: 'Hello' },
        generation: { ...generation, model: changes.model },
      };
      const input = await ports.bodies.write({ tenant, id, kind: 'input', epoch: 0, expiresAt }, asked);
      const index = { purpose, queue: queueOf(changes), dueAt: clock.now } as const;
      await jobs.create(aJob({ id, input, ...changes }), index);
    },
    message: (model: string) =>
      JSON.stringify({
        version: 1,
        type: 'generate',
        tenant: 'acme',
        idempotencyKey: 'order-1',
        endpoint: '/v1/responses',
        body: { model, input: 'Hello' },
      }),
    ticket: ticketOf(id),
    intake: (body: string) => receive(recordOf(body), ports, callFor(HOUR_MS)),
    generate: (body: string) =>
      receiveTicket(
        recordOf(body),
        {
          ...ports,
          otherLane: (model) => laneOf(model, registry),
          fallbackLane: (model, thrown) => fallbackLaneOf(model, thrown, registry),
        },
        callFor(HOUR_MS),
      ),
    dispatch: (body: string, timeMs = HOUR_MS) =>
      receiveTicket(
        recordOf(body),
        { ...ports, lane: 'gpu', movesOnAfter: new Set<ErrorCode>(['upstream_cut']) },
        callFor(timeMs),
      ),
    sweep: () => sweepOnce(ports),
  };
}

it.each([
  ['hosted', undefined],
  ['gpu', 'gpu'],
  ['both', 'gpu'],
  ['helped', undefined],
  ['constructor', undefined],
])('a job that asks for %s is on the lane %s', (model, lane) => {
  expect(laneOf(model, registry)).toBe(lane);
});

it.each([
  ['helped', 'gpu'],
  ['farther', 'gpu'],
  ['hosted', undefined],
  ['circular', undefined],
  ['constructor', undefined],
])('a job that asks for %s and got no answer may still get one on the lane %s', (model, lane) => {
  const full = new UpstreamError('rate_limit_exceeded', 'full', { recovery: 'retry' });
  expect(fallbackLaneOf(model, full, registry)).toBe(lane);
});

it.each([
  ['all targets are given a rest', new LambentError('overloaded', 'resting'), 'gpu'],
  ['a key is missing', new UpstreamError('upstream_misconfigured', 'no key', { recovery: 'nextTarget' }), 'gpu'],
  [
    'the request is at fault',
    new UpstreamError('context_length_exceeded', 'too long', { recovery: 'fail' }),
    undefined,
  ],
  ['an answer stopped in the middle', new UpstreamError('upstream_cut', 'cut', { recovery: 'retry' }), undefined],
  ['a table is away', new Error('away'), undefined],
])('because %s, it goes on on its lane or not', (_, thrown, lane) => {
  expect(fallbackLaneOf('helped', thrown, registry)).toBe(lane);
});

describe('intake', () => {
  it("sends the ticket of a program's job to the queue of its model's lane", async () => {
    const house = await aHouse();
    expect(await house.intake(house.message('gpu'))).toEqual({ kind: 'delete' });
    expect(await house.job()).toMatchObject({ status: 'queued', lane: 'gpu', epoch: 0, duePartition: 'wait#gpu#0' });
    expect(house.sent()).toEqual({ jobs: [], gpu: [house.id] });
    expect(await house.dispatch(house.ticket)).toMatchObject({ kind: 'ended', job: { status: 'completed', epoch: 1 } });
  });

  it('creates one job for a message that is delivered again, also after the job has ended', async () => {
    const house = await aHouse();
    await house.intake(house.message('gpu'));
    house.clock.now += 1;
    await house.intake(house.message('gpu'));
    expect(await house.dispatch(house.ticket)).toMatchObject({ kind: 'ended' });
    expect(await house.intake(house.message('gpu'))).toEqual({ kind: 'delete' });
    expect(await house.dispatch(house.ticket)).toEqual({ kind: 'unneeded', status: 'completed' });
    expect(house.requests).toHaveLength(1);
    expect(house.sent()).toEqual({ jobs: [], gpu: [house.id] });
  });
});

describe('generate', () => {
  it.each<ErrorCode>(['overloaded', 'upstream_misconfigured'])(
    'hands a job over that failed of %s where a fallback is on GPU workers, with its attempt',
    async (code) => {
      const house = await aHouse();
      await house.put({ model: 'helped' });
      house.behaviours.push(fails(code, 'nextTarget'));
      expect(await house.generate(house.ticket)).toMatchObject({ kind: 'forwarded' });
      expect(await house.job()).toMatchObject({ status: 'queued', lane: 'gpu', attempts: 0 });
      expect(house.sent()).toEqual({ jobs: [], gpu: [house.id] });
      expect(await house.dispatch(house.ticket)).toMatchObject({ kind: 'ended', job: { status: 'completed' } });
    },
  );

  it('keeps a job that was at fault itself, or that has no such fallback', async () => {
    const house = await aHouse();
    await house.put({ model: 'helped' });
    house.behaviours.push(fails('context_length_exceeded', 'fail'));
    expect(await house.generate(house.ticket)).toMatchObject({ kind: 'ended', job: { status: 'failed' } });
    const other = await aHouse();
    await other.put({ model: 'hosted' });
    other.behaviours.push(fails('overloaded', 'nextTarget'));
    expect(await other.generate(other.ticket)).toMatchObject({ kind: 'released', ticket: true });
    expect(other.sent()).toEqual({ jobs: [], gpu: [] });
  });

  it('does not hand over a job that is cancelled while it fails', async () => {
    const house = await aHouse();
    await house.put({ model: 'helped' });
    // biome-ignore lint/correctness/useYield: it fails before its first event
    house.behaviours.push(async function* () {
      await cancelJob(house.ports, 'acme', house.id);
      throw new UpstreamError('overloaded', 'full', { recovery: 'nextTarget' });
    });
    expect(await house.generate(house.ticket)).toMatchObject({ kind: 'ended', job: { status: 'cancelled' } });
    expect(house.sent().gpu).toEqual([]);
  });

  it('runs the jobs of its own lane', async () => {
    const house = await aHouse();
    await house.intake(house.message('hosted'));
    expect(house.sent()).toEqual({ jobs: [house.id], gpu: [] });
    expect(await house.generate(house.ticket)).toMatchObject({ kind: 'ended', job: { status: 'completed' } });
    expect((await house.job())?.lane).toBeUndefined();
  });

  it.each([
    ['whose ticket was sent to the wrong queue', 'gpu' as const],
    ['whose model was moved to GPU workers since', undefined],
  ])('forwards a job %s, at no attempt and no ask', async (_name, lane) => {
    const house = await aHouse();
    await house.put({ model: 'gpu', ...(lane === undefined ? {} : { lane }) });
    expect(await house.generate(house.ticket)).toMatchObject({ kind: 'forwarded' });
    expect(await house.job()).toMatchObject({
      ...{ status: 'queued', lane: 'gpu', attempts: 0, asks: 0, duePartition: 'wait#gpu#0' },
    });
    expect(house.sent()).toEqual({ jobs: [], gpu: [house.id] });
    expect(house.requests).toEqual([]);
    expect(await house.dispatch(house.ticket)).toMatchObject({ kind: 'ended', job: { status: 'completed' } });
    // The stored request has no tenant, like one of an earlier version.
    expect(house.requests).toMatchObject([{ tenant: 'acme' }]);
  });

  it('leaves a job to the sweep whose ticket for the other lane is not accepted', async () => {
    const house = await aHouse();
    await house.put({ model: 'gpu' });
    house.ports.queue.refuse = () => true;
    expect(await house.generate(house.ticket)).toMatchObject({ kind: 'forwarded' });
    expect((await house.job())?.duePartition).toBe('wake#gpu#0');
    house.ports.queue.refuse = () => false;
    expect((await house.sweep()).wake).toMatchObject({ ticketsSent: 1 });
    expect(house.sent()).toEqual({ jobs: [], gpu: [house.id] });
  });

  it('ends a job that is cancelled while it is handed over', async () => {
    const house = await aHouse();
    await house.put({ model: 'gpu' });
    const { update } = house.ports.jobs;
    let updates = 0;
    house.ports.jobs.update = async (...args) => {
      updates += 1;
      const job = await update(...args);
      if (updates === 1) await cancelJob({ ...house.ports, jobs: { ...house.ports.jobs, update } }, 'acme', house.id);
      return job;
    };
    expect(await house.generate(house.ticket)).toMatchObject({ kind: 'ended', job: { status: 'cancelled' } });
    expect(house.sent().gpu).toEqual([]);
  });
});

describe('dispatch', () => {
  it('begins the next attempt at once when a worker stops in the middle', async () => {
    const house = await aHouse();
    await house.put({ model: 'gpu', lane: 'gpu' });
    house.behaviours.push(cuts);
    expect(await house.dispatch(house.ticket)).toMatchObject({
      kind: 'ended',
      job: { status: 'completed', epoch: 2, attempts: 2 },
    });
    expect(house.sent()).toEqual({ jobs: [], gpu: [] });
  });

  it('gives up after three', async () => {
    const house = await aHouse();
    await house.put({ model: 'gpu', lane: 'gpu' });
    house.behaviours.push(cuts, cuts, cuts);
    expect(await house.dispatch(house.ticket)).toMatchObject({
      kind: 'ended',
      job: { status: 'failed', errorCode: 'upstream_cut', epoch: 3 },
    });
    expect(house.requests).toHaveLength(3);
  });

  it('leaves the next attempt to another invocation when its own time is short', async () => {
    const house = await aHouse();
    await house.put({ model: 'gpu', lane: 'gpu' });
    house.behaviours.push(cuts);
    expect(await house.dispatch(house.ticket, 20_000)).toMatchObject({ kind: 'released', ticket: true });
    expect(await house.job()).toMatchObject({ status: 'queued', epoch: 1 });
  });

  it('hides the ticket of a job that found no slot, at no attempt', async () => {
    const house = await aHouse();
    await house.put({ model: 'gpu', lane: 'gpu' });
    // biome-ignore lint/correctness/useYield: it fails before its first event
    house.behaviours.push(async function* () {
      throw new UpstreamError('overloaded', 'full', { recovery: 'nextTarget', retryAfterMs: 5_000 });
    });
    const outcome = await house.dispatch(house.ticket);
    expect(outcome).toMatchObject({ kind: 'released', errorCode: 'overloaded', ticket: true });
    expect(await house.job()).toMatchObject({ attempts: 0, releases: 1, lane: 'gpu', duePartition: 'wait#gpu#0' });
    expect((await house.job())?.notBefore).toBeGreaterThanOrEqual(house.clock.now + 5_000);
  });

  it('leaves a ticket on its own queue when the table can not be reached', async () => {
    const house = await aHouse();
    house.ports.jobs.update = () => Promise.reject(new Error('away'));
    await expect(house.dispatch(house.ticket)).rejects.toThrow('away');
    expect(house.sent()).toEqual({ jobs: [], gpu: [] });
  });

  it('runs a job whose model is on no GPU any more', async () => {
    const house = await aHouse();
    await house.put({ model: 'hosted', lane: 'gpu' });
    expect(await house.dispatch(house.ticket)).toMatchObject({ kind: 'ended', job: { status: 'completed' } });
  });

  it("refuses a program's message", async () => {
    const house = await aHouse();
    await expect(house.dispatch(house.message('gpu'))).rejects.toMatchObject({
      name: 'MessageRejectedError',
      reason: { code: 'unsupported_value' },
    });
  });
});

it.each([
  ['gpu', { jobs: 0, gpu: 1 }],
  [undefined, { jobs: 1, gpu: 0 }],
] as const)('the sweep sends the ticket of a job of the lane %s there', async (lane, counts) => {
  const house = await aHouse();
  await house.put({ model: 'gpu', ...(lane === undefined ? {} : { lane }) }, 'wake');
  expect((await house.sweep()).wake).toMatchObject({ ticketsSent: 1 });
  expect({ jobs: house.sent().jobs.length, gpu: house.sent().gpu.length }).toEqual(counts);
});
