import { describe, expect, it } from 'vitest';
import { deriveResponseId } from '../../../shared/api/queue-message.ts';
import { receive } from '../../../shared/api/receive.ts';
import { receiveOnLane } from '../../../shared/api/receive-pointer.ts';
import { type ErrorCode, LambentError } from '../../../shared/core/errors.ts';
import type { GenerationEvent, GenerationRequest } from '../../../shared/inference/generation.ts';
import { type Recovery, UpstreamError } from '../../../shared/inference/model.ts';
import { parseModelRegistry } from '../../../shared/inference/registry.ts';
import type { GenerateOptions } from '../../../shared/inference/router.ts';
import { createBodies } from '../../../shared/jobs/bodies.ts';
import { cancelJob } from '../../../shared/jobs/control.ts';
import { createEventLog } from '../../../shared/jobs/event-log.ts';
import type { Job } from '../../../shared/jobs/job.ts';
import { createMemoryStore } from '../../../shared/jobs/memory-store.ts';
import { pointerMessage } from '../../../shared/jobs/pointer-message.ts';
import { fallbackLaneOf, laneOf } from '../../../shared/jobs/queue-routing.ts';
import { sweepDue } from '../../../shared/jobs/sweep.ts';
import { answerWith } from '../api/answer-with.ts';
import { createReceiverPorts } from '../api/receiver-ports.ts';
import { recordTelemetry } from '../core/recorded-telemetry.ts';
import { makeAnswer } from '../inference/requests.ts';
import { aJob, anInput, HOUR_MS, START } from './jobs.ts';
import { createMemoryBlobs } from './memory-blobs.ts';
import { aVault } from './services.ts';

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

/** Generate and dispatch around one table, with the pointers on each queue. */
async function aHouse() {
  const clock = { now: START };
  const vault = aVault();
  const blobs = createMemoryBlobs();
  const jobs = createMemoryStore(() => clock.now);
  const queues = { generation: [] as string[], gpu: [] as string[] };
  const delays: number[] = [];
  const behaviours: Behaviour[] = [];
  const requests: GenerationRequest[] = [];
  const ports = {
    ...createReceiverPorts(clock),
    jobs,
    bodies: createBodies(vault, blobs),
    events: createEventLog(vault, blobs),
    queue: {
      send: async ({ tenant, id, lane }: Pick<Job, 'tenant' | 'id' | 'lane'>, delaySeconds: number) => {
        queues[lane === 'gpu' ? 'gpu' : 'generation'].push(pointerMessage({ tenant, id }));
        delays.push(delaySeconds);
      },
    },
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
    extendVisibility: async () => {},
    telemetry: recordTelemetry(),
  });
  const id = deriveResponseId('acme', 'order-1');
  return {
    clock,
    queues,
    delays,
    behaviours,
    requests,
    ports,
    id,
    job: () => jobs.read('acme', id),
    /** Puts a job there as if it had been submitted, by this version or an earlier one. */
    async put(changes: Partial<Job>) {
      const { tenant, expiresAt } = aJob();
      const { tenant: _, ...generation } = anInput().generation;
      const asked = {
        body: { model: changes.model, input: 'Hello' },
        generation: { ...generation, model: changes.model },
      };
      const input = await ports.bodies.write({ tenant, id, kind: 'input', epoch: 0, expiresAt }, asked);
      await jobs.create(aJob({ id, input, ...changes }));
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
    pointer: pointerMessage({ tenant: 'acme', id }),
    generate: (body: string) =>
      receive(
        recordOf(body),
        {
          ...ports,
          otherLane: (model) => laneOf(model, registry),
          fallbackLane: (model, thrown) => fallbackLaneOf(model, thrown, registry),
        },
        callFor(HOUR_MS),
      ),
    dispatch: (body: string, timeMs = HOUR_MS) =>
      receiveOnLane(
        'gpu',
        recordOf(body),
        { ...ports, movesOnAfter: new Set<ErrorCode>(['upstream_cut']) },
        callFor(timeMs),
      ),
    sweep: () => sweepDue(ports, { until: Number.POSITIVE_INFINITY, perPartition: 10 }),
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

describe('generate', () => {
  it.each<ErrorCode>(['overloaded', 'upstream_misconfigured'])(
    'hands a job over that failed of %s where a fallback is on GPU workers, with its attempt',
    async (code) => {
      const house = await aHouse();
      await house.put({ model: 'helped' });
      house.behaviours.push(fails(code, 'nextTarget'));
      expect(await house.generate(house.pointer)).toMatchObject({ kind: 'forwarded' });
      expect(await house.job()).toMatchObject({ status: 'queued', lane: 'gpu', attempts: 0 });
      expect(house.queues).toEqual({ generation: [], gpu: [house.pointer] });
      expect(await house.dispatch(house.pointer)).toMatchObject({ kind: 'ended', job: { status: 'completed' } });
    },
  );

  it('keeps a job that was at fault itself, or that has no such fallback', async () => {
    const house = await aHouse();
    await house.put({ model: 'helped' });
    house.behaviours.push(fails('context_length_exceeded', 'fail'));
    expect(await house.generate(house.pointer)).toMatchObject({ kind: 'ended', job: { status: 'failed' } });
    const other = await aHouse();
    await other.put({ model: 'hosted' });
    other.behaviours.push(fails('overloaded', 'nextTarget'));
    expect(await other.generate(other.pointer)).toMatchObject({ kind: 'paused' });
    expect(other.queues).toEqual({ generation: [other.pointer], gpu: [] });
  });

  it('does not hand over a job that is cancelled while it fails', async () => {
    const house = await aHouse();
    await house.put({ model: 'helped' });
    // biome-ignore lint/correctness/useYield: it fails before its first event
    house.behaviours.push(async function* () {
      await cancelJob(house.ports, 'acme', house.id);
      throw new UpstreamError('overloaded', 'full', { recovery: 'nextTarget' });
    });
    expect(await house.generate(house.pointer)).toMatchObject({ kind: 'ended', job: { status: 'cancelled' } });
    expect(house.queues.gpu).toEqual([]);
  });

  it("makes a job of a program's message and announces it to dispatch, which runs it", async () => {
    const house = await aHouse();
    expect(await house.generate(house.message('gpu'))).toMatchObject({ kind: 'forwarded' });
    expect(await house.job()).toMatchObject({ status: 'queued', lane: 'gpu', epoch: 0 });
    expect(house.queues).toEqual({ generation: [], gpu: [house.pointer] });
    expect(await house.dispatch(house.pointer)).toMatchObject({
      kind: 'ended',
      job: { status: 'completed', epoch: 1 },
    });
  });

  it('runs what is its own', async () => {
    const house = await aHouse();
    expect(await house.generate(house.message('hosted'))).toMatchObject({
      kind: 'ended',
      job: { status: 'completed' },
    });
    expect((await house.job())?.lane).toBeUndefined();
  });

  it.each([
    ['that a sweep of an earlier version announced here', 'gpu' as const],
    ['that an earlier version made, which knew no lanes', undefined],
  ])('hands over a job %s, with its attempt', async (_name, lane) => {
    const house = await aHouse();
    await house.put({ model: 'gpu', ...(lane === undefined ? {} : { lane }) });
    expect(await house.generate(house.pointer)).toMatchObject({ kind: 'forwarded' });
    expect(await house.job()).toMatchObject({ status: 'queued', lane: 'gpu', attempts: 0 });
    expect(house.queues).toEqual({ generation: [], gpu: [house.pointer] });
    expect(house.requests).toEqual([]);
    expect(await house.dispatch(house.pointer)).toMatchObject({ kind: 'ended', job: { status: 'completed' } });
    // Nor did that version say whose request it is.
    expect(house.requests).toMatchObject([{ tenant: 'acme' }]);
  });

  it('hands over what comes twice no more than once at a time', async () => {
    const house = await aHouse();
    await house.generate(house.message('gpu'));
    await house.generate(house.message('gpu'));
    expect(await house.dispatch(house.pointer)).toMatchObject({ kind: 'ended' });
    expect(await house.generate(house.message('gpu'))).toEqual({ kind: 'refused', status: 'completed' });
    expect(await house.dispatch(house.pointer)).toEqual({ kind: 'refused', status: 'completed' });
    expect(house.requests).toHaveLength(1);
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
    expect(await house.generate(house.pointer)).toMatchObject({ kind: 'ended', job: { status: 'cancelled' } });
    expect(house.queues.gpu).toEqual([]);
  });
});

describe('dispatch', () => {
  it('begins the next attempt at once when a worker stops in the middle', async () => {
    const house = await aHouse();
    await house.put({ model: 'gpu', lane: 'gpu' });
    house.behaviours.push(cuts);
    expect(await house.dispatch(house.pointer)).toMatchObject({
      kind: 'ended',
      job: { status: 'completed', epoch: 2, attempts: 2 },
    });
    expect(house.queues).toEqual({ generation: [], gpu: [] });
  });

  it('gives up after three', async () => {
    const house = await aHouse();
    await house.put({ model: 'gpu', lane: 'gpu' });
    house.behaviours.push(cuts, cuts, cuts);
    expect(await house.dispatch(house.pointer)).toMatchObject({
      kind: 'ended',
      job: { status: 'failed', errorCode: 'upstream_cut', epoch: 3 },
    });
    expect(house.requests).toHaveLength(3);
  });

  it('leaves the next attempt to another invocation when its own time is short', async () => {
    const house = await aHouse();
    await house.put({ model: 'gpu', lane: 'gpu' });
    house.behaviours.push(cuts);
    expect(await house.dispatch(house.pointer, 20_000)).toMatchObject({ kind: 'paused', job: { epoch: 1 } });
    expect(house.queues).toEqual({ generation: [], gpu: [house.pointer] });
  });

  it('puts a job that found no slot back on its own queue, with its attempt', async () => {
    const house = await aHouse();
    await house.put({ model: 'gpu', lane: 'gpu' });
    // biome-ignore lint/correctness/useYield: it fails before its first event
    house.behaviours.push(async function* () {
      throw new UpstreamError('overloaded', 'full', { recovery: 'nextTarget', retryAfterMs: 5_000 });
    });
    expect(await house.dispatch(house.pointer)).toMatchObject({ kind: 'paused', errorCode: 'overloaded' });
    expect(await house.job()).toMatchObject({ attempts: 0, releases: 1 });
    expect(house.queues).toEqual({ generation: [], gpu: [house.pointer] });
    expect(house.delays[0]).toBeGreaterThanOrEqual(5);
  });

  it('announces a job on its own queue when the table can not be reached', async () => {
    const house = await aHouse();
    house.ports.jobs.update = () => Promise.reject(new Error('away'));
    await house.dispatch(house.pointer);
    expect(house.queues).toEqual({ generation: [], gpu: [house.pointer] });
  });

  it('runs a job whose model is on no GPU any more', async () => {
    const house = await aHouse();
    await house.put({ model: 'hosted', lane: 'gpu' });
    expect(await house.dispatch(house.pointer)).toMatchObject({ kind: 'ended', job: { status: 'completed' } });
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
  ['gpu', { generation: 0, gpu: 1 }],
  [undefined, { generation: 1, gpu: 0 }],
] as const)('the sweep announces a job of the lane %s there', async (lane, counts) => {
  const house = await aHouse();
  await house.put({ model: 'gpu', ...(lane === undefined ? {} : { lane }) });
  house.clock.now += 120_000;
  await house.sweep();
  expect({ generation: house.queues.generation.length, gpu: house.queues.gpu.length }).toEqual(counts);
});
