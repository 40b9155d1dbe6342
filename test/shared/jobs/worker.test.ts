import { expect, it } from 'vitest';
import type { ErrorCode } from '../../../shared/core/errors.ts';
import type { GenerationEvent } from '../../../shared/inference/generation.ts';
import { type Recovery, UpstreamError } from '../../../shared/inference/model.ts';
import type { GenerateOptions } from '../../../shared/inference/router.ts';
import { createBodies } from '../../../shared/jobs/bodies.ts';
import { cancelJob } from '../../../shared/jobs/control.ts';
import { createEventLog } from '../../../shared/jobs/event-log.ts';
import type { Job } from '../../../shared/jobs/job.ts';
import { createMemoryStore } from '../../../shared/jobs/memory-store.ts';
import { sweepDue } from '../../../shared/jobs/sweep.ts';
import { JOB_TIMINGS } from '../../../shared/jobs/timings.ts';
import { runJob } from '../../../shared/jobs/worker.ts';
import { answerWith } from '../api/answer-with.ts';
import { makeAnswer } from '../inference/requests.ts';
import { aJob, anInput, HOUR_MS, START } from './jobs.ts';
import { createMemoryBlobs } from './memory-blobs.ts';
import { aVault } from './services.ts';

type Behaviour = (options: GenerateOptions) => AsyncGenerator<GenerationEvent>;

const answers: Behaviour = async function* () {
  yield* makeAnswer('Hello');
};
const fails = (code: ErrorCode, recovery: Recovery, retryAfterMs?: number): Behaviour =>
  // biome-ignore lint/correctness/useYield: it fails before its first event
  async function* () {
    throw new UpstreamError(code, code, { recovery, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) });
  };
/** Says a word and then nothing, until it is stopped. */
const hangs: Behaviour = async function* ({ signal }) {
  yield { type: 'text', text: 'Well' };
  await new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
};

/** A worker's surroundings, with a clock that tests move: whoever sleeps wakes when its time has come. */
async function aRoom(changes: Partial<Job> = {}) {
  const clock = { now: START };
  const sleepers = new Set<{ at: number; wake: () => void }>();
  const blobs = createMemoryBlobs();
  const vault = aVault();
  const jobs = createMemoryStore(() => clock.now);
  const bodies = createBodies(vault, blobs);
  const sent: { id: string; delaySeconds: number }[] = [];
  const told: string[] = [];
  let behaviours: Behaviour[] = [answers];
  let ids = 0;
  let asked = 0;
  const { tenant, id, expiresAt } = aJob();
  const input = await bodies.write({ tenant, id, kind: 'input', epoch: 0, expiresAt }, anInput());
  await jobs.create(aJob({ input, ...changes }));
  const ports = {
    jobs,
    bodies,
    timings: JOB_TIMINGS,
    events: createEventLog(vault, blobs),
    queue: {
      send: async (pointer: { id: string }, delaySeconds: number) => void sent.push({ id: pointer.id, delaySeconds }),
    },
    answerJob: answerWith(
      async (_request, options) => {
        const behaviour = behaviours[Math.min(asked, behaviours.length - 1)] ?? answers;
        asked += 1;
        return { events: behaviour(options) };
      },
      () => clock.now,
    ),
    listeners: { reply: async ({ job }: { job: Job }) => void told.push(job.status) },
    ids: () => `id${ids++}`,
    random: () => 1,
    onError: () => {},
    now: () => clock.now,
    sleep: (ms: number, signal: AbortSignal) =>
      new Promise<void>((resolve) => {
        const sleeper = { at: clock.now + ms, wake: resolve };
        sleepers.add(sleeper);
        signal.addEventListener('abort', () => {
          sleepers.delete(sleeper);
          resolve();
        });
      }),
  };
  return {
    ports,
    sent,
    told,
    clock,
    behave: (...next: Behaviour[]) => {
      behaviours = next;
      asked = 0;
    },
    run: (shutdown = new AbortController().signal) =>
      runJob({ tenant, id }, ports, { shutdown, deadlineAt: START + HOUR_MS, extendVisibility: async () => {} }),
    job: () => jobs.read(tenant, id),
    async pass(ms: number) {
      clock.now += ms;
      for (const sleeper of [...sleepers]) {
        if (sleeper.at > clock.now) continue;
        sleepers.delete(sleeper);
        sleeper.wake();
      }
      await settled();
    },
    sweep: () => sweepDue(ports, { until: Number.POSITIVE_INFINITY, perPartition: 10 }),
    events: async () => (await ports.events.read(tenant, id, -1)).flatMap((chunk) => chunk.events),
  };
}

const settled = () => new Promise((resolve) => setTimeout(resolve, 5));

it('answers a job and commits it', async () => {
  const room = await aRoom();
  expect(await room.run()).toMatchObject({ kind: 'ended', job: { status: 'completed', usage: { outputTokens: 2 } } });
  expect(await room.run()).toEqual({ kind: 'refused', status: 'completed' });
});

it('never counts throttling as an attempt, however long it lasts, and waits longer each time', async () => {
  const room = await aRoom();
  room.behave(fails('rate_limit_exceeded', 'retry'));
  const delays: number[] = [];
  for (let round = 0; round < 12; round += 1) {
    expect(await room.run()).toMatchObject({ kind: 'paused', errorCode: 'rate_limit_exceeded' });
    expect(await room.job()).toMatchObject({ status: 'queued', attempts: 0, releases: round + 1 });
    delays.push(room.sent.at(-1)?.delaySeconds ?? 0);
    expect(await room.run()).toEqual({ kind: 'refused', status: 'queued' });
    await room.pass(61_000);
  }
  expect(delays.slice(0, 6)).toEqual([2, 4, 8, 16, 32, 60]);
  room.behave(answers);
  expect(await room.run()).toMatchObject({ kind: 'ended', job: { status: 'completed' } });
  expect((await room.job())?.errorCode).toBeUndefined();
});

it('waits as long as the upstream asks for', async () => {
  const room = await aRoom();
  room.behave(fails('rate_limit_exceeded', 'retry', 30_000));
  await room.run();
  expect(room.sent[0]?.delaySeconds).toBe(32);
});

it('lets flex work wait four times as long as other work', async () => {
  const room = await aRoom({ tier: 'flex' });
  room.behave(fails('overloaded', 'retry'));
  await room.run();
  expect(room.sent[0]?.delaySeconds).toBe(8);
});

it('fails a job at its third attempt, with the last error', async () => {
  const room = await aRoom({ replyTo: 'answers' });
  room.behave(fails('upstream_cut', 'retry'), fails('upstream_cut', 'retry'), fails('upstream_malformed', 'retry'));
  for (const _ of [1, 2]) {
    expect(await room.run()).toMatchObject({ kind: 'paused' });
    await room.pass(60_000);
  }
  expect(await room.run()).toMatchObject({ kind: 'ended', job: { status: 'failed', errorCode: 'upstream_malformed' } });
  expect(room.told).toEqual(['failed']);
});

it('fails a job at once where a repetition can not help', async () => {
  const room = await aRoom();
  room.behave(fails('content_filter', 'fail'));
  expect(await room.run()).toMatchObject({ kind: 'ended', job: { status: 'failed', attempts: 1 } });
});

it('aborts the model within a heartbeat of a cancel, and commits cancelled', async () => {
  const room = await aRoom();
  room.behave(hangs);
  const running = room.run();
  await settled();
  expect(await cancelJob(room.ports, 'acme', 'resp_1')).toMatchObject({ ended: false, job: { cancelRequested: true } });
  await room.pass(15_000);
  expect(await running).toMatchObject({ kind: 'ended', job: { status: 'cancelled' } });
});

it('commits no answer once a cancel was asked for, however soon after it the answer is there', async () => {
  const room = await aRoom({ replyTo: 'answers' });
  room.behave(async function* () {
    await cancelJob(room.ports, 'acme', 'resp_1');
    yield* makeAnswer('Hello');
  });
  expect(await room.run()).toMatchObject({ kind: 'ended', job: { status: 'cancelled' } });
  expect((await room.job())?.output).toBeUndefined();
  expect(room.told).toEqual(['cancelled']);
});

it('forgets what an earlier attempt failed of when the next one begins', async () => {
  const room = await aRoom();
  room.behave(fails('upstream_cut', 'retry'), hangs);
  await room.run();
  expect((await room.job())?.errorCode).toBe('upstream_cut');
  await room.pass(60_000);
  const running = room.run();
  await settled();
  expect(await room.job()).toMatchObject({ status: 'in_progress', attempts: 2 });
  expect((await room.job())?.errorCode).toBeUndefined();
  await cancelJob(room.ports, 'acme', 'resp_1');
  await room.pass(15_000);
  await running;
  expect((await room.job())?.status).toBe('cancelled');
  expect((await room.job())?.errorCode).toBeUndefined();
});

it('ends a waiting job at once when it is cancelled, and never runs it', async () => {
  const room = await aRoom();
  expect(await cancelJob(room.ports, 'acme', 'resp_1')).toMatchObject({ ended: true, job: { status: 'cancelled' } });
  expect(await room.run()).toEqual({ kind: 'refused', status: 'cancelled' });
});

it('stops by itself when its job was deleted', async () => {
  const room = await aRoom();
  room.behave(hangs);
  const running = room.run();
  await settled();
  await room.ports.jobs.delete('acme', 'resp_1');
  await room.pass(15_000);
  expect(await running).toMatchObject({ kind: 'fenced' });
});

it('expires at its deadline, while it runs and while it waits', async () => {
  const running = await aRoom({ deadline: START + 20_000 });
  running.behave(hangs);
  const outcome = running.run();
  await settled();
  await running.pass(15_000);
  await running.pass(5_000);
  expect(await outcome).toMatchObject({ kind: 'ended', job: { status: 'expired' } });

  const waiting = await aRoom({ deadline: START + 20_000, dueAt: START + 20_000 });
  await waiting.pass(20_000);
  expect(await waiting.sweep()).toMatchObject({ ended: 1 });
  expect((await waiting.job())?.status).toBe('expired');
});

it('counts an attempt whose function ran out of time while the model answered', async () => {
  const room = await aRoom();
  room.behave(hangs);
  const shutdown = new AbortController();
  const running = room.run(shutdown.signal);
  await settled();
  shutdown.abort();
  expect(await running).toMatchObject({ kind: 'paused', job: { status: 'queued', attempts: 1 } });
});

it("keeps a takeover's events above those of the attempt before, which says nothing more that counts", async () => {
  const room = await aRoom({ streamed: true });
  room.behave(hangs, answers);
  const dead = room.run();
  await settled();
  // Its lease runs out unseen: nothing wakes its heartbeat.
  room.clock.now += 46_000;
  expect(await room.run()).toMatchObject({ kind: 'ended', job: { status: 'completed', epoch: 2 } });
  await room.pass(0);
  expect(await dead).toMatchObject({ kind: 'fenced' });
  const events = await room.events();
  const numbers = events.map(({ sequence_number }) => sequence_number);
  expect(numbers).toEqual([...new Set(numbers)].sort((a, b) => a - b));
  const second = events.filter(({ sequence_number }) => sequence_number >= 1_000_000);
  expect(second[0]).toMatchObject({ type: 'response.in_progress', response: { output: [] } });
  expect(second.map(({ type }) => type)).toContain('response.output_text.delta');
});

it('announces a job again whose message was lost, at growing distances', async () => {
  const room = await aRoom();
  await room.pass(60_000);
  expect(await room.sweep()).toMatchObject({ due: 1, announced: 1 });
  expect(await room.sweep()).toMatchObject({ due: 0 });
  await room.pass(60_000);
  expect(await room.sweep()).toMatchObject({ announced: 1 });
  await room.pass(60_000);
  expect(await room.sweep()).toMatchObject({ due: 0 });
});
