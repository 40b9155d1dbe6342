import { describe, expect, it } from 'vitest';
import { type ErrorCode, LambentError } from '../../../shared/core/errors.ts';
import type { GenerationEvent } from '../../../shared/inference/generation.ts';
import { type Recovery, UpstreamError } from '../../../shared/inference/model.ts';
import type { GenerateOptions } from '../../../shared/inference/router.ts';
import { createBodies } from '../../../shared/jobs/bodies.ts';
import { readOutput } from '../../../shared/jobs/completion.ts';
import { cancelJob } from '../../../shared/jobs/control.ts';
import { createEventLog } from '../../../shared/jobs/event-log.ts';
import type { Job } from '../../../shared/jobs/job.ts';
import { createMemoryStore } from '../../../shared/jobs/memory-store.ts';
import { observeOutcome } from '../../../shared/jobs/observe.ts';
import type { Pace } from '../../../shared/jobs/pace.ts';
import type { BodyName } from '../../../shared/jobs/ports.ts';
import { JOB_TIMINGS } from '../../../shared/jobs/timings.ts';
import { claim, requestCancel } from '../../../shared/jobs/transitions.ts';
import { runJob, type TicketAction, ticketAction } from '../../../shared/jobs/worker.ts';
import type { Outcome, WorkerCall } from '../../../shared/jobs/worker-ports.ts';
import { answerWith } from '../api/answer-with.ts';
import { recordTelemetry } from '../core/recorded-telemetry.ts';
import { makeAnswer } from '../inference/requests.ts';
import { aJob, anInput, HOUR_MS, START } from './jobs.ts';
import { createMemoryBlobs } from './memory-blobs.ts';
import { recordTickets } from './recorded-tickets.ts';
import { aVault } from './services.ts';
import { sweepOnce } from './sweep-once.ts';
import { makeWorkerCall } from './worker-call.ts';

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

/** Says a word and fails. */
const beginsAndFails = (code: ErrorCode): Behaviour =>
  async function* () {
    yield { type: 'text', text: 'Well' };
    throw new UpstreamError(code, code, { recovery: 'retry' });
  };

/** A worker's surroundings, with a clock that tests move: whoever sleeps wakes when its time has come. */
async function aRoom(changes: Partial<Job> = {}) {
  const clock = { now: START };
  const sleepers = new Set<{ at: number; wake: () => void }>();
  const blobs = createMemoryBlobs();
  const vault = aVault();
  const jobs = createMemoryStore(() => clock.now);
  const bodies = createBodies(vault, blobs);
  const queue = recordTickets();
  const replies: string[] = [];
  let behaviours: Behaviour[] = [answers];
  let ids = 0;
  let asked = 0;
  const { tenant, id, expiresAt } = aJob();
  const input = await bodies.write({ tenant, id, kind: 'input', epoch: 0, expiresAt }, anInput());
  const created = aJob({ input, ...changes });
  await jobs.create(created, { purpose: 'wait', queue: 'jobs', dueAt: created.deadline });
  const ports = {
    jobs,
    bodies,
    timings: JOB_TIMINGS,
    events: createEventLog(vault, blobs),
    queue,
    shards: 1,
    answerJob: answerWith(
      async (_request, options) => {
        const behaviour = behaviours[Math.min(asked, behaviours.length - 1)] ?? answers;
        asked += 1;
        return { events: behaviour(options) };
      },
      () => clock.now,
    ),
    steps: { reply: async ({ job }: { job: Job }) => void replies.push(job.status) },
    onStepFailed: async () => {},
    ids: () => `id${ids++}`,
    random: () => 1,
    onError: (_what: string) => {},
    now: () => clock.now,
    sleep: (ms: number, signal: AbortSignal) =>
      new Promise<void>((resolve) => {
        if (signal.aborted) return resolve();
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
    blobs,
    queue,
    replies,
    clock,
    behave: (...next: Behaviour[]) => {
      behaviours = next;
      asked = 0;
    },
    run: (call: Partial<WorkerCall> = {}) => runJob({ tenant, id }, ports, makeWorkerCall(call)),
    /** Milliseconds until the job may be claimed. */
    pauseMs: async () => ((await jobs.read(tenant, id))?.notBefore ?? 0) - clock.now,
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
    sweep: () => sweepOnce(ports),
    events: async () => (await ports.events.read(tenant, id, -1)).flatMap((chunk) => chunk.events),
  };
}

const settled = () => new Promise((resolve) => setTimeout(resolve, 5));

it('answers a job and commits it', async () => {
  const room = await aRoom();
  expect(await room.run()).toMatchObject({ kind: 'ended', job: { status: 'completed', usage: { outputTokens: 2 } } });
  expect(await room.run()).toEqual({ kind: 'unneeded', status: 'completed' });
});

it('counts the cost of each attempt from zero', async () => {
  const room = await aRoom();
  const telemetry = recordTelemetry();
  telemetry.logger.annotate({ costUsd: '0.5', serviceTier: 'flex' });
  observeOutcome(await room.run({ telemetry }), { startedAt: START, now: START }, telemetry);
  expect(telemetry.lines.at(-1)).toMatchObject({ message: 'job', outputTokens: 2 });
  expect(telemetry.lines.at(-1)).not.toHaveProperty('costUsd');
  expect(telemetry.lines.at(-1)).not.toHaveProperty('serviceTier');
});

it('counts no attempt for throttling before an answer begins, and waits longer each time', async () => {
  const room = await aRoom({ deadline: START + 24 * HOUR_MS });
  room.behave(fails('rate_limit_exceeded', 'retry'));
  const delays: number[] = [];
  for (let round = 0; round < 12; round += 1) {
    expect(await room.run()).toMatchObject({ kind: 'released', errorCode: 'rate_limit_exceeded', ticket: true });
    expect(await room.job()).toMatchObject({ status: 'queued', attempts: 0, asks: round + 1, releases: round + 1 });
    delays.push((await room.pauseMs()) / 1000);
    expect(await room.run()).toMatchObject({ kind: 'deferred', reason: 'not before' });
    await room.pass(900_000);
  }
  expect(delays).toEqual([2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900]);
  room.behave(answers);
  expect(await room.run()).toMatchObject({ kind: 'ended', job: { status: 'completed' } });
  expect((await room.job())?.errorCode).toBeUndefined();
});

it('waits as long as the upstream asks for', async () => {
  const room = await aRoom();
  room.behave(fails('rate_limit_exceeded', 'retry', 30_000));
  await room.run();
  expect(await room.pauseMs()).toBe(32_000);
});

it('lets flex work wait four times as long as other work', async () => {
  const room = await aRoom({ tier: 'flex' });
  room.behave(fails('overloaded', 'retry'));
  await room.run();
  expect(await room.pauseMs()).toBe(8_000);
});

it('fails a job at its third attempt, with the last error', async () => {
  const room = await aRoom({ replyTo: 'answers' });
  room.behave(fails('upstream_cut', 'retry'), fails('upstream_cut', 'retry'), fails('upstream_malformed', 'retry'));
  for (const _ of [1, 2]) {
    expect(await room.run()).toMatchObject({ kind: 'released' });
    await room.pass(60_000);
  }
  expect(await room.run()).toMatchObject({ kind: 'ended', job: { status: 'failed', errorCode: 'upstream_malformed' } });
  expect(room.replies).toEqual(['failed']);
});

it('fails a job at once where a repetition can not help', async () => {
  const room = await aRoom();
  room.behave(fails('content_filter', 'fail'));
  expect(await room.run()).toMatchObject({ kind: 'ended', job: { status: 'failed', attempts: 0, asks: 1 } });
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
  expect(room.replies).toEqual(['cancelled']);
});

it('forgets what an earlier attempt failed of when the next one begins', async () => {
  const room = await aRoom();
  room.behave(fails('upstream_cut', 'retry'), hangs);
  await room.run();
  expect((await room.job())?.errorCode).toBe('upstream_cut');
  await room.pass(60_000);
  const running = room.run();
  await settled();
  expect(await room.job()).toMatchObject({ status: 'in_progress', attempts: 2, begun: true });
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
  expect(await room.run()).toEqual({ kind: 'unneeded', status: 'cancelled' });
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

it('leaves no body behind if its job was deleted while its model answered', async () => {
  const room = await aRoom({ streamed: true });
  room.behave(async function* () {
    await room.ports.jobs.delete('acme', 'resp_1');
    yield* makeAnswer('Hello');
  });
  expect(await room.run()).toMatchObject({ kind: 'fenced' });
  expect([...room.blobs.held.keys()]).toEqual([]);
});

it('leaves no output behind if its job has ended otherwise while its model answered', async () => {
  const room = await aRoom();
  room.behave(async function* () {
    await room.ports.jobs.update('acme', 'resp_1', [], { set: { status: 'expired' }, remove: ['owner'] });
    yield* makeAnswer('Hello');
  });
  expect(await room.run()).toMatchObject({ kind: 'fenced' });
  expect([...room.blobs.held.keys()].filter((key) => key.includes('#output#'))).toEqual([]);
});

it('commits a streamed answer after the last of its events is in the log', async () => {
  const room = await aRoom({ streamed: true });
  const { append } = room.ports.events;
  room.ports.events.append = async (chunk) => {
    await settled();
    await append(chunk);
  };
  const { update } = room.ports.jobs;
  let eventsAtCommit = 0;
  room.ports.jobs.update = async (tenant, id, guard, change) => {
    if (change.set?.status === 'completed') eventsAtCommit = (await room.events()).length;
    return update(tenant, id, guard, change);
  };
  await room.run();
  expect(eventsAtCommit).toBeGreaterThan(0);
  expect(await room.events()).toHaveLength(eventsAtCommit);
});

it.each([
  ['the deadline of its job', START + 20_000, START + 60_000],
  ['the end of the invocation', START + 60_000, START + 20_000],
])('gives its model until %s, whichever is first', async (_what, deadline, deadlineAt) => {
  const room = await aRoom({ deadline });
  let until: number | undefined;
  room.behave(async function* (options) {
    until = options.deadlineAt;
    yield* makeAnswer('Hello');
  });
  await room.run({ deadlineAt });
  expect(until).toBe(START + 20_000);
});

it('leaves no heartbeat behind', async () => {
  const room = await aRoom();
  await room.run();
  const { update } = room.ports.jobs;
  let writes = 0;
  room.ports.jobs.update = (...args) => {
    writes += 1;
    return update(...args);
  };
  for (let beat = 0; beat < 5; beat += 1) await room.pass(JOB_TIMINGS.heartbeatMs);
  expect(writes).toBe(0);
});

it('expires if its model fails after its deadline', async () => {
  const room = await aRoom({ deadline: START + 20_000 });
  room.behave(async function* (options) {
    room.clock.now = START + 20_000;
    yield* fails('content_filter', 'fail')(options);
  });
  expect(await room.run()).toMatchObject({ kind: 'ended', job: { status: 'expired', errorCode: 'deadline_exceeded' } });
});

it('sends the reply of a waiting job that its ticket finds after its deadline', async () => {
  const room = await aRoom({ deadline: START + 20_000, replyTo: 'answers' });
  await room.pass(20_000);
  expect(await room.run()).toMatchObject({ kind: 'ended', job: { status: 'expired' } });
  expect(room.replies).toEqual(['expired']);
});

it('expires at its deadline, while it runs and while it waits', async () => {
  const running = await aRoom({ deadline: START + 20_000 });
  running.behave(hangs);
  const outcome = running.run();
  await settled();
  await running.pass(15_000);
  await running.pass(5_000);
  expect(await outcome).toMatchObject({ kind: 'ended', job: { status: 'expired' } });

  const waiting = await aRoom({ deadline: START + 20_000 });
  await waiting.pass(20_000);
  expect((await waiting.sweep()).wait).toMatchObject({ ended: 1 });
  expect((await waiting.job())?.status).toBe('expired');
});

it("keeps a takeover's events above those of the attempt before, which says nothing more that counts", async () => {
  const room = await aRoom({ streamed: true });
  room.behave(hangs, answers);
  const dead = room.run();
  await settled();
  // Its lease runs out unseen: nothing wakes its heartbeat.
  room.clock.now += JOB_TIMINGS.leaseMs + JOB_TIMINGS.graceMs;
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

describe('an attempt', () => {
  it('counts when its model begins to answer, and its pause counts none twice', async () => {
    const room = await aRoom();
    room.behave(hangs);
    const shutdown = new AbortController();
    const running = room.run({ shutdown: shutdown.signal });
    await room.pass(0);
    expect(await room.job()).toMatchObject({ status: 'in_progress', attempts: 1, begun: true });
    shutdown.abort();
    expect(await running).toMatchObject({ kind: 'released', job: { status: 'queued', attempts: 1 } });
    expect((await room.job())?.begun).toBeUndefined();
  });

  it('counts if it is throttled after its model began to answer', async () => {
    const room = await aRoom();
    room.behave(beginsAndFails('rate_limit_exceeded'));
    for (const attempts of [1, 2]) {
      expect(await room.run()).toMatchObject({ kind: 'released', job: { attempts } });
      await room.pass(60_000);
    }
    expect(await room.run()).toMatchObject({
      kind: 'ended',
      job: { status: 'failed', attempts: 3, errorCode: 'rate_limit_exceeded' },
    });
  });

  it('counts if it fails for good reason before an answer begins', async () => {
    const room = await aRoom();
    room.behave(fails('upstream_malformed', 'retry'));
    expect(await room.run()).toMatchObject({ kind: 'released', job: { attempts: 1, asks: 1 } });
  });

  it('ends the job at the 128th time that the model is asked', async () => {
    const room = await aRoom({ asks: 126, releases: 126 });
    room.behave(fails('rate_limit_exceeded', 'retry'));
    expect(await room.run()).toMatchObject({ kind: 'released', job: { asks: 127, attempts: 0 } });
    await room.pass(900_000);
    expect(await room.run()).toMatchObject({
      kind: 'ended',
      job: { status: 'failed', asks: 128, errorCode: 'rate_limit_exceeded' },
    });
  });

  it('is not made of a job that has no attempt or no ask left: the job ends', async () => {
    for (const used of [{ attempts: 3 }, { asks: 128 }]) {
      const room = await aRoom(used);
      expect(await room.run()).toMatchObject({ kind: 'ended', job: { status: 'failed', errorCode: 'internal' } });
    }
  });

  it('asks nothing and counts nothing if it is stopped before its model was asked', async () => {
    const room = await aRoom();
    const shutdown = new AbortController();
    const { update } = room.ports.jobs;
    room.ports.jobs.update = async (...args) => {
      shutdown.abort();
      return update(...args);
    };
    expect(await room.run({ shutdown: shutdown.signal })).toMatchObject({
      kind: 'released',
      job: { status: 'queued', attempts: 0, asks: 0 },
    });
    expect((await room.job())?.cutOff).toBeUndefined();
  });

  it('is not made when the function is about to time out: the ticket is given back', async () => {
    const room = await aRoom();
    const outcome = await room.run({ shutdown: AbortSignal.abort() });
    expect(outcome).toEqual({ kind: 'deferred', reason: 'shutdown', until: START });
    expect(await room.job()).toMatchObject({ status: 'queued', epoch: 0 });
  });

  it('goes on if the write that counts it is repeated because its response was lost', async () => {
    const room = await aRoom();
    const { update } = room.ports.jobs;
    room.ports.jobs.update = async (tenant, id, guard, change) => {
      const after = await update(tenant, id, guard, change);
      return change.set?.begun === true ? update(tenant, id, guard, change) : after;
    };
    expect(await room.run()).toMatchObject({ kind: 'ended', job: { status: 'completed', attempts: 1 } });
  });

  it('is counted before its job ends', async () => {
    const room = await aRoom();
    const { update } = room.ports.jobs;
    room.ports.jobs.update = async (tenant, id, guard, change) => {
      // The write that counts the attempt is slow. Its job must not end before it.
      for (let turns = 0; change.set?.begun && turns < 200; turns += 1) {
        await new Promise((resolve) => setImmediate(resolve));
        if ((await room.job())?.status === 'completed') break;
      }
      return update(tenant, id, guard, change);
    };
    expect(await room.run()).toMatchObject({ kind: 'ended' });
    expect(await room.job()).toMatchObject({ status: 'completed', attempts: 1 });
  });

  it('counts at its release if the write that counts it failed', async () => {
    const room = await aRoom();
    room.behave(beginsAndFails('upstream_cut'));
    const { update } = room.ports.jobs;
    room.ports.jobs.update = async (tenant, id, guard, change) => {
      if (change.set?.begun === true) throw new Error('refused');
      return update(tenant, id, guard, change);
    };
    expect(await room.run()).toMatchObject({ kind: 'released', job: { attempts: 1 } });
  });
});

it('an attempt whose job another worker has answered meanwhile leaves that answer', async () => {
  const room = await aRoom();
  room.behave(hangs, answers);
  const slow = room.run();
  await room.pass(0);
  await room.ports.jobs.update('acme', 'resp_1', [], {
    set: { status: 'queued' },
    remove: ['owner', 'leaseExpiresAt', 'begun'],
  });
  expect(await room.run()).toMatchObject({ kind: 'ended', job: { status: 'completed', epoch: 2 } });
  await room.pass(JOB_TIMINGS.heartbeatMs);
  expect(await slow).toMatchObject({ kind: 'fenced' });
  const job = await room.job();
  expect(job && (await readOutput(job, room.ports.bodies))).toBeDefined();
});

describe('a job that the end of an invocation cut off', () => {
  it('is claimed next only by a whole invocation', async () => {
    const room = await aRoom();
    room.behave(hangs, answers);
    const shutdown = new AbortController();
    const running = room.run({ shutdown: shutdown.signal });
    await room.pass(0);
    shutdown.abort();
    expect(await running).toMatchObject({ kind: 'released', errorCode: 'deadline_exceeded', job: { cutOff: true } });
    expect(await room.run({ isWhole: () => false })).toEqual({
      kind: 'deferred',
      reason: 'cut off',
      until: room.clock.now + 5_000,
    });
    expect(await room.run({ isWhole: () => true })).toMatchObject({
      kind: 'ended',
      job: { status: 'completed', attempts: 2 },
    });
    expect((await room.job())?.cutOff).toBeUndefined();
  });

  it('is claimed as soon as the rest of an invocation exceeds the longest answer of its model', async () => {
    const room = await aRoom({ cutOff: true });
    const ports = {
      ...room.ports,
      longestAnswerMs: (model: string) => (model === 'default' ? 300_000 : undefined),
    };
    const run = async (deadlineAt: number) => {
      const { tenant, id, model } = (await room.job()) ?? aJob();
      return runJob({ tenant, id, model }, ports, makeWorkerCall({ isWhole: () => false, deadlineAt }));
    };
    expect(await run(START + 309_999)).toMatchObject({ kind: 'deferred', reason: 'cut off' });
    expect(await run(START + 310_000)).toMatchObject({ job: { status: 'completed' } });
  });

  it('is not claimed by an invocation that waited long for the table', async () => {
    const room = await aRoom({ cutOff: true });
    const { update } = room.ports.jobs;
    room.ports.jobs.update = async () => {
      room.ports.jobs.update = update;
      throw Object.assign(new Error('away'), { $metadata: {} });
    };
    const running = room.run({ isWhole: () => room.clock.now === START });
    await room.pass(0);
    await room.pass(JOB_TIMINGS.retryMs);
    expect(await running).toMatchObject({ kind: 'deferred', reason: 'cut off' });
  });

  it('has used an attempt although its model had not begun to answer', async () => {
    const room = await aRoom();
    room.behave(async function* ({ signal }) {
      await new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
    });
    const shutdown = new AbortController();
    const running = room.run({ shutdown: shutdown.signal });
    await room.pass(0);
    shutdown.abort();
    expect(await running).toMatchObject({ kind: 'released', job: { cutOff: true, attempts: 1 } });
  });

  it('fails at its third attempt', async () => {
    const room = await aRoom({ attempts: 2 });
    room.behave(hangs);
    const shutdown = new AbortController();
    const running = room.run({ shutdown: shutdown.signal });
    await room.pass(0);
    shutdown.abort();
    expect(await running).toMatchObject({
      kind: 'ended',
      job: { status: 'failed', attempts: 3, errorCode: 'deadline_exceeded' },
    });
  });
});

describe('a job whose worker died', () => {
  /** A job that was claimed, and whose worker writes nothing any more. Its lease and the grace period are over. */
  async function aDeadJob(changes: Partial<Job> = {}) {
    const room = await aRoom({ status: 'queued', ...changes });
    const terms = { owner: 'dead', alone: changes.crashes !== undefined, whole: true };
    const { guard, change } = claim(terms, START, JOB_TIMINGS);
    await room.ports.jobs.update('acme', 'resp_1', guard, change);
    room.clock.now += JOB_TIMINGS.leaseMs + JOB_TIMINGS.graceMs;
    return room;
  }

  it('stays with its holder until its lease and the grace period are over', async () => {
    const room = await aDeadJob();
    room.clock.now -= 1;
    expect(await room.run()).toEqual({ kind: 'deferred', reason: 'held', until: room.clock.now + 1 });
  });

  it('becomes a suspect without a counted attempt, and runs alone', async () => {
    const room = await aDeadJob();
    const alone: (Job | undefined)[] = [];
    const runAlone: WorkerCall['runAlone'] = async (run) => {
      alone.push(await room.job());
      return run();
    };
    expect(await room.run({ runAlone })).toMatchObject({ kind: 'ended', job: { status: 'completed', attempts: 1 } });
    expect(alone).toMatchObject([{ status: 'queued', crashes: 1, attempts: 0 }]);
  });

  it('is recovered once: while its environment runs other jobs it is not claimed', async () => {
    const room = await aDeadJob();
    const waiting = Promise.withResolvers<void>();
    const running = room.run({
      runAlone: async (run) => {
        await waiting.promise;
        return run();
      },
    });
    await room.pass(0);
    expect(await room.job()).toMatchObject({ status: 'queued', crashes: 1, duePartition: 'wait#jobs#0' });
    // Its ticket is in hand: a second one would make another environment wait to run the job alone, too.
    await room.pass(JOB_TIMINGS.wakeMs);
    await room.sweep();
    expect(room.queue.tickets).toEqual([]);
    waiting.resolve();
    expect(await running).toMatchObject({ kind: 'ended' });
  });

  it('loses an attempt if it ran alone, and fails after three', async () => {
    const room = await aDeadJob({ crashes: 1, attempts: 1 });
    expect((await room.sweep()).run).toMatchObject({ recovered: 1 });
    expect(await room.job()).toMatchObject({ status: 'queued', crashes: 2, attempts: 2 });
    const last = await aDeadJob({ crashes: 2, attempts: 2 });
    expect((await last.sweep()).run).toMatchObject({ recovered: 1 });
    expect(await last.run()).toMatchObject({ kind: 'ended', job: { status: 'failed', errorCode: 'internal' } });
  });

  it('ends as cancelled if its cancel was requested', async () => {
    const room = await aDeadJob();
    const { guard, change } = requestCancel();
    await room.ports.jobs.update('acme', 'resp_1', guard, change);
    expect(await room.run()).toMatchObject({ kind: 'ended', job: { status: 'cancelled' } });
  });

  it('needs a whole invocation, after a long wait to run alone, if it was cut off too', async () => {
    const room = await aRoom({ crashes: 1, cutOff: true });
    const runAlone: WorkerCall['runAlone'] = async (run) => {
      room.clock.now += 30_000;
      return run();
    };
    const isWhole = () => room.clock.now < START + 30_000;
    expect(await room.run({ runAlone, isWhole })).toMatchObject({ kind: 'deferred', reason: 'cut off' });
    let emptied = false;
    const empty: WorkerCall['runAlone'] = (run) => {
      emptied = true;
      return run();
    };
    expect(await room.run({ isWhole: () => false, runAlone: empty })).toMatchObject({
      kind: 'deferred',
      reason: 'cut off',
    });
    expect(emptied).toBe(false);
    expect(await room.run()).toMatchObject({ kind: 'ended', job: { status: 'completed' } });
  });
});

describe('a store that is not available', () => {
  const away = () => Object.assign(new Error('away'), { $metadata: {} });

  it('is waited for, and a claim whose response was lost is recognised', async () => {
    const room = await aRoom();
    const { update } = room.ports.jobs;
    room.ports.jobs.update = async (...args) => {
      await update(...args);
      room.ports.jobs.update = update;
      throw away();
    };
    const running = room.run();
    await room.pass(0);
    await room.pass(JOB_TIMINGS.retryMs);
    expect(await running).toMatchObject({ kind: 'ended', job: { status: 'completed', epoch: 1 } });
  });

  it('costs a streamed job neither its answer nor an event', async () => {
    const room = await aRoom({ streamed: true });
    const { append } = room.ports.events;
    let tries = 0;
    room.ports.events.append = async (chunk) => {
      tries += 1;
      if (tries <= 3) throw away();
      await append(chunk);
    };
    const running = room.run();
    for (let round = 0; round < 4; round += 1) await room.pass(JOB_TIMINGS.retryMs);
    expect(await running).toMatchObject({ kind: 'ended', job: { status: 'completed', attempts: 1, releases: 0 } });
    expect((await room.events()).map(({ type }) => type)).toContain('response.output_text.delta');
  });

  it('delays the completion steps of no job whose commit lost its response', async () => {
    const room = await aRoom({ replyTo: 'answers' });
    const { update } = room.ports.jobs;
    room.ports.jobs.update = async (tenant, id, guard, change) => {
      const after = await update(tenant, id, guard, change);
      if (change.set?.status !== 'completed' || after === undefined) return after;
      throw away();
    };
    const running = room.run();
    await room.pass(0);
    await room.pass(JOB_TIMINGS.retryMs);
    expect(await running).toMatchObject({ kind: 'ended', job: { status: 'completed' } });
    expect(room.replies).toEqual(['completed']);
  });

  it('takes no ask from a job whose model was not asked, not even the last one', async () => {
    const room = await aRoom({ asks: 127 });
    room.ports.bodies.read = () => Promise.reject(away());
    expect(await room.run()).toMatchObject({ kind: 'released', job: { status: 'queued', asks: 127 } });
  });

  it('leaves the ticket to the pipeline when the function is about to time out', async () => {
    const room = await aRoom();
    const shutdown = new AbortController();
    room.ports.jobs.update = () => {
      shutdown.abort();
      return Promise.reject(away());
    };
    await expect(room.run({ shutdown: shutdown.signal })).rejects.toThrow('away');
  });

  it('gives the holders of jobs a grace period to renew afterwards, and then blames none of them', async () => {
    const room = await aRoom();
    const { guard, change } = claim({ owner: 'other', alone: false, whole: true }, START, JOB_TIMINGS);
    await room.ports.jobs.update('acme', 'resp_1', guard, change);
    room.clock.now += HOUR_MS / 2;
    const lastOutageAt = room.clock.now;
    const run = () =>
      runJob({ tenant: 'acme', id: 'resp_1' }, { ...room.ports, lastOutageAt: () => lastOutageAt }, makeWorkerCall());
    const until = lastOutageAt + JOB_TIMINGS.graceMs;
    expect(await run()).toEqual({ kind: 'deferred', reason: 'held', until });
    room.clock.now = until;
    expect(await run()).toMatchObject({ kind: 'ended', job: { status: 'completed', epoch: 2 } });
    expect((await room.job())?.crashes).toBeUndefined();
  });
});

describe('an external key that is revoked while a model answers', () => {
  const revoked = (): Promise<never> => Promise.reject(new LambentError('external_key_unavailable', 'disabled'));
  /** Says a word, revokes the key and says another one. */
  const revokes = ({ ports }: Awaited<ReturnType<typeof aRoom>>): Behaviour =>
    async function* () {
      yield { type: 'text', text: 'Well' };
      for (const method of ['write', 'read', 'prepare'] as const) ports.bodies[method] = revoked;
      yield* makeAnswer('Hello');
    };

  it('leaves the answer stored', async () => {
    const room = await aRoom();
    const { read } = room.ports.bodies;
    room.behave(revokes(room));
    expect(await room.run()).toMatchObject({ kind: 'ended', job: { status: 'completed', output: { epoch: 1 } } });
    room.ports.bodies.read = read;
    const job = await room.job();
    expect(job && (await readOutput(job, room.ports.bodies))).toMatchObject({ answer: { status: 'completed' } });
  });

  it('leaves the answer of a streamed job stored, with the events before it', async () => {
    const room = await aRoom({ streamed: true });
    const { append } = room.ports.events;
    const [written, refused] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    let chunks = 0;
    room.ports.events.append = async (chunk) => {
      chunks += 1;
      if (chunks === 2) return revoked().finally(refused.resolve);
      await append(chunk);
      written.resolve();
    };
    const errors: string[] = [];
    room.ports.onError = (what) => void errors.push(what);
    room.behave(async function* () {
      yield { type: 'text', text: 'Well' };
      await written.promise;
      yield { type: 'text', text: ' then' };
      await refused.promise;
      // The key works again. Events after the missing ones would leave a gap.
      yield* makeAnswer('Hello');
    });
    const outcome = await room.run();
    expect(outcome).toMatchObject({ kind: 'ended', job: { status: 'completed', output: { epoch: 1 } } });
    expect((await room.job())?.endSequence).toBeUndefined();
    expect(errors).toEqual(['events not stored']);
    expect((await room.events()).at(-1)).toMatchObject({ type: 'response.output_text.delta', delta: 'Well' });
  });

  it('before the call fails the job without a call', async () => {
    const room = await aRoom();
    let asked = 0;
    room.behave(async function* () {
      asked += 1;
      yield* makeAnswer('Hello');
    });
    room.ports.bodies.prepare = revoked;
    const ending = { status: 'failed', errorCode: 'external_key_unavailable' };
    expect(await room.run()).toMatchObject({ kind: 'ended', job: ending });
    expect(asked).toBe(0);
  });
});

describe('an answer that is complete when the invocation ends, and can not be committed', () => {
  const away = () => Object.assign(new Error('away'), { $metadata: {} });
  const RESULT = { tenant: 'acme', id: 'resp_1', kind: 'result', epoch: 0 } as const;
  const findResult = ({ ports }: Awaited<ReturnType<typeof aRoom>>) => ports.bodies.find(RESULT, { place: 's3' });

  /** Lets a job be answered while the table is away, and its invocation end. Returns the outcome. */
  async function loseCommit(
    room: Awaited<ReturnType<typeof aRoom>>,
    until: 'for good' | 'until the end',
    telemetry?: WorkerCall['telemetry'],
  ) {
    const { jobs } = room.ports;
    const { update } = jobs;
    const shutdown = new AbortController();
    let isAway = true;
    jobs.update = (...args) => {
      const status = args[3].set?.status;
      return isAway && (status === 'completed' || status === 'queued') ? Promise.reject(away()) : update(...args);
    };
    const running = room.run({ shutdown: shutdown.signal, telemetry });
    await room.pass(0);
    if (until === 'until the end') isAway = false;
    shutdown.abort();
    const outcome = await running;
    jobs.update = update;
    return outcome;
  }

  it('is saved, and committed by the next attempt, which does not ask the model', async () => {
    const room = await aRoom();
    expect(await loseCommit(room, 'for good')).toMatchObject({ kind: 'fenced' });
    expect(await findResult(room)).toMatchObject({ status: 'completed' });
    room.behave(fails('context_length_exceeded', 'fail'));
    await room.pass(JOB_TIMINGS.leaseMs + JOB_TIMINGS.graceMs);
    expect(await room.run()).toMatchObject({
      kind: 'ended',
      job: { status: 'completed', epoch: 2, attempts: 1, output: { epoch: 2 } },
    });
    const job = await room.job();
    expect(job && (await readOutput(job, room.ports.bodies))).toMatchObject({ answer: { status: 'completed' } });
    expect(await findResult(room)).toBeUndefined();
  });

  it('is saved with its cost, which appears on the line of the attempt that commits it', async () => {
    const room = await aRoom();
    room.behave(async function* ({ telemetry }) {
      telemetry?.logger.annotate({ costUsd: '0.5', provider: 'bedrock' });
      yield* makeAnswer('Hello');
    });
    await loseCommit(room, 'for good', recordTelemetry());
    await room.pass(JOB_TIMINGS.leaseMs + JOB_TIMINGS.graceMs);
    const telemetry = recordTelemetry();
    const outcome = await room.run({ telemetry });
    observeOutcome(outcome, { startedAt: START, now: START }, telemetry);
    expect(telemetry.lines).toMatchObject([{ message: 'job', costUsd: '0.5', provider: 'bedrock', outputTokens: 2 }]);
  });

  it('is saved, and its job is released at once if the table is available again', async () => {
    const room = await aRoom();
    expect(await loseCommit(room, 'until the end')).toMatchObject({ kind: 'released', ticket: true });
    room.behave(fails('context_length_exceeded', 'fail'));
    expect(await room.run()).toMatchObject({ kind: 'ended', job: { status: 'completed', epoch: 2, attempts: 1 } });
  });

  it('is saved although the keys are not available any more', async () => {
    const room = await aRoom();
    room.ports.bodies.write = () => Promise.reject(new LambentError('vault_unavailable', 'no keys'));
    expect(await loseCommit(room, 'until the end')).toMatchObject({ kind: 'released', ticket: true });
    expect(await findResult(room)).toMatchObject({ status: 'completed' });
  });

  it('is found by a later attempt if the next one is put off before it looks', async () => {
    const room = await aRoom();
    await loseCommit(room, 'for good');
    await room.pass(JOB_TIMINGS.leaseMs + JOB_TIMINGS.graceMs);
    const { read } = room.ports.bodies;
    room.ports.bodies.read = () => Promise.reject(away());
    expect(await room.run()).toMatchObject({ kind: 'released', job: { epoch: 2, releases: 1 } });
    room.ports.bodies.read = read;
    room.behave(fails('context_length_exceeded', 'fail'));
    await room.pass(await room.pauseMs());
    expect(await room.run()).toMatchObject({ kind: 'ended', job: { status: 'completed', epoch: 3, attempts: 1 } });
  });

  it('is lost if the bucket is not available either, and the model is asked again', async () => {
    const room = await aRoom();
    const { prepare } = room.ports.bodies;
    room.ports.bodies.prepare = async () => () => Promise.reject(away());
    expect(await loseCommit(room, 'until the end')).toMatchObject({ kind: 'released', job: { cutOff: true } });
    room.ports.bodies.prepare = prepare;
    expect(await room.run()).toMatchObject({ kind: 'ended', job: { status: 'completed', attempts: 2 } });
  });

  it('is asked for again if the saved one can not be opened', async () => {
    const room = await aRoom();
    await loseCommit(room, 'until the end');
    room.ports.bodies.find = () => Promise.reject(new LambentError('record_unreadable', 'damaged'));
    expect(await room.run()).toMatchObject({ kind: 'ended', job: { status: 'completed', attempts: 2 } });
  });

  it('is not committed if its job was cancelled meanwhile', async () => {
    const room = await aRoom();
    await loseCommit(room, 'for good');
    await cancelJob(room.ports, 'acme', 'resp_1');
    await room.pass(JOB_TIMINGS.leaseMs + JOB_TIMINGS.graceMs);
    expect(await room.run()).toMatchObject({ kind: 'ended', job: { status: 'cancelled' } });
    expect((await room.job())?.output).toBeUndefined();
    expect(await findResult(room)).toBeUndefined();
  });
});

describe('the ticket of a job', () => {
  it('is hidden and not sent again, however often its job is released, so that no chain of invocations grows', async () => {
    const room = await aRoom({ deadline: START + 24 * HOUR_MS });
    room.behave(fails('rate_limit_exceeded', 'retry'));
    // Lambda ends a chain after 16 invocations.
    for (let round = 0; round < 20; round += 1) {
      const outcome = await room.run();
      expect(outcome).toMatchObject({ kind: 'released', ticket: true });
      expect(ticketAction(outcome, room.clock.now)).toEqual({ kind: 'hide', ms: await room.pauseMs() });
      await room.sweep();
      await room.pass(900_000);
    }
    expect(room.queue.tickets).toEqual([]);
    expect(await room.job()).toMatchObject({ status: 'queued', attempts: 0, releases: 20 });
  });

  it('is replaced through the sweep if it may not be hidden for a pause', async () => {
    const room = await aRoom();
    room.behave(fails('overloaded', 'retry'));
    const outcome = await room.run({ mayHide: () => false });
    expect(outcome).toMatchObject({ kind: 'released', ticket: false });
    expect(ticketAction(outcome, room.clock.now)).toEqual({ kind: 'delete' });
    const job = await room.job();
    expect(job).toMatchObject({ duePartition: 'wake#jobs#0', dueAt: job?.notBefore });
    expect(room.queue.tickets).toEqual([]);
    await room.pass(2_000);
    expect((await room.sweep()).wake).toMatchObject({ ticketsSent: 1 });
    expect(room.queue.ids()).toEqual(['resp_1']);
  });

  it('is replaced through the sweep if it may not be hidden any longer while the job waits', async () => {
    const room = await aRoom({ cutOff: true });
    const outcome = await room.run({ isWhole: () => false, mayHide: () => false });
    expect(ticketAction(outcome, room.clock.now)).toEqual({ kind: 'delete' });
    await room.pass(5_000);
    expect((await room.sweep()).wake).toMatchObject({ ticketsSent: 1 });
  });

  it.each<[string, Outcome, TicketAction]>([
    ['deleted when the job ended', { kind: 'ended', job: aJob() }, { kind: 'delete' }],
    ['deleted when the job needs none', { kind: 'unneeded', status: 'absent' }, { kind: 'delete' }],
    ['deleted when another queue got one', { kind: 'forwarded', job: aJob() }, { kind: 'delete' }],
    [
      'hidden for the pause of a released job',
      { kind: 'released', job: aJob({ notBefore: START + 5_000 }), errorCode: undefined, ticket: true },
      { kind: 'hide', ms: 5_000 },
    ],
    [
      'hidden until the job can be claimed',
      { kind: 'deferred', reason: 'held', until: START + 7_000 },
      { kind: 'hide', ms: 7_000 },
    ],
    ['looked at again soon after the job was taken over', { kind: 'fenced', job: aJob() }, { kind: 'hide', ms: 1_000 }],
  ])('is %s', (_what, outcome, action) => {
    expect(ticketAction(outcome, START)).toEqual(action);
  });

  it('is hidden without a look at the job while its model rests', async () => {
    const room = await aRoom();
    const pace = aPace({ admit: async () => START + 9_000 });
    const outcome = await runJob(
      { tenant: 'acme', id: 'resp_1', model: 'default' },
      { ...room.ports, pace },
      makeWorkerCall(),
    );
    expect(outcome).toEqual({ kind: 'deferred', reason: 'resting model', until: START + 9_000 });
    expect(await room.job()).toMatchObject({ status: 'queued', epoch: 0 });
  });
});

it('reports to the pace what a model accepts and throttles', async () => {
  const room = await aRoom();
  const reports: unknown[] = [];
  const pace = aPace({
    accepted: (model) => void reports.push(model),
    throttled: (model, retryAfterMs) => void reports.push([model, retryAfterMs]),
  });
  room.behave(fails('rate_limit_exceeded', 'retry', 7_000), answers);
  const run = () =>
    runJob({ tenant: 'acme', id: 'resp_1', model: 'default' }, { ...room.ports, pace }, makeWorkerCall());
  expect(await run()).toMatchObject({ kind: 'released' });
  await room.pass(60_000);
  expect(await run()).toMatchObject({ kind: 'ended' });
  expect(reports).toEqual([['default', 7_000], 'default']);
});

describe('a permit to call a model', () => {
  it('is given back if the job turns out not to need it', async () => {
    const room = await aRoom();
    let permits = 1;
    const pace = aPace({ admit: async () => void permits--, giveBack: () => void permits++ });
    const run = () =>
      runJob({ tenant: 'acme', id: 'resp_1', model: 'default' }, { ...room.ports, pace }, makeWorkerCall());
    expect(await run()).toMatchObject({ kind: 'ended' });
    expect(permits).toBe(0);
    expect(await run()).toMatchObject({ kind: 'unneeded' });
    expect(permits).toBe(0);
  });

  it('is given back if a limit refuses the job before the model is called, and not if the model refuses it', async () => {
    const room = await aRoom();
    let permits = 1;
    const pace = aPace({ admit: async () => void permits--, giveBack: () => void permits++ });
    const key = { tenant: 'acme', id: 'resp_1', model: 'default' };
    const answerJob = async () => {
      throw new LambentError('rate_limit_exceeded', 'No tokens left', { isUnasked: true });
    };
    expect(await runJob(key, { ...room.ports, pace, answerJob }, makeWorkerCall())).toMatchObject({ kind: 'released' });
    expect(permits).toBe(1);
    await room.pass(60_000);
    room.behave(fails('rate_limit_exceeded', 'retry'));
    expect(await runJob(key, { ...room.ports, pace }, makeWorkerCall())).toMatchObject({ kind: 'released' });
    expect(permits).toBe(0);
  });

  it('is asked for after the claim if the ticket does not name the model, and the job waits without it', async () => {
    const room = await aRoom();
    const pace = aPace({ admit: async () => START + 9_000 });
    const outcome = await runJob({ tenant: 'acme', id: 'resp_1' }, { ...room.ports, pace }, makeWorkerCall());
    expect(outcome).toMatchObject({ kind: 'released', ticket: true });
    expect(await room.job()).toMatchObject({ status: 'queued', attempts: 0, notBefore: START + 9_000 });
  });

  it('replaces a ticket without the name of the model that may not be hidden any more', async () => {
    const room = await aRoom();
    const pace = aPace({ admit: async () => START + 9_000 });
    const call = makeWorkerCall({ mayHide: () => false });
    const outcome = await runJob({ tenant: 'acme', id: 'resp_1' }, { ...room.ports, pace }, call);
    expect(outcome).toMatchObject({ kind: 'released', ticket: false });
    expect(await room.job()).toMatchObject({ status: 'queued', duePartition: 'wake#jobs#0', dueAt: START + 9_000 });
  });

  it('is not waited for with the ticket of an ended job that may not be hidden any more', async () => {
    const room = await aRoom();
    await room.run();
    const pace = aPace({ admit: async () => START + 9_000 });
    const call = makeWorkerCall({ mayHide: () => false });
    const outcome = await runJob({ tenant: 'acme', id: 'resp_1', model: 'default' }, { ...room.ports, pace }, call);
    expect(outcome).toEqual({ kind: 'unneeded', status: 'completed' });
  });

  it('replaces a ticket that waits for one but may not be hidden any more', async () => {
    const room = await aRoom();
    const pace = aPace({ admit: async () => START + 9_000 });
    const call = makeWorkerCall({ mayHide: () => false });
    const outcome = await runJob({ tenant: 'acme', id: 'resp_1', model: 'default' }, { ...room.ports, pace }, call);
    expect(outcome).toMatchObject({ kind: 'released', ticket: false });
    // Not before: the next ticket could only be dropped again.
    expect(await room.job()).toMatchObject({ status: 'queued', duePartition: 'wake#jobs#0', dueAt: START + 9_000 });
  });

  it('is asked for again, before the claim, after a wait to run alone', async () => {
    const room = await aRoom({ crashes: 1 });
    let rests = false;
    const pace = aPace({ admit: async () => (rests ? START + 99_000 : undefined) });
    const runAlone: WorkerCall['runAlone'] = (run) => {
      rests = true;
      room.clock.now += 60_000;
      return run();
    };
    const call = makeWorkerCall({ runAlone });
    const outcome = await runJob({ tenant: 'acme', id: 'resp_1', model: 'default' }, { ...room.ports, pace }, call);
    expect(outcome).toEqual({ kind: 'deferred', reason: 'resting model', until: START + 99_000 });
    expect(await room.job()).toMatchObject({ status: 'queued', epoch: 0 });
  });
});

/** Returns a pace that admits every call, except for what `changes` says. */
function aPace(changes: Partial<Pace>): Pace {
  return { admit: async () => undefined, giveBack: () => {}, accepted: () => {}, throttled: () => {}, ...changes };
}

describe('a ticket of a job that needs none', () => {
  it('is not needed if the job is absent', async () => {
    const room = await aRoom();
    expect(await runJob({ tenant: 'acme', id: 'resp_absent' }, room.ports, makeWorkerCall())).toEqual({
      kind: 'unneeded',
      status: 'absent',
    });
  });

  it('is not needed either if its model rests and the ticket may not be hidden', async () => {
    const room = await aRoom();
    const ports = { ...room.ports, pace: aPace({ admit: async () => START + 9_000 }) };
    const call = makeWorkerCall({ mayHide: () => false });
    const run = (id: string) => runJob({ tenant: 'acme', id, model: 'default' }, ports, call);
    expect(await run('resp_absent')).toEqual({ kind: 'unneeded', status: 'absent' });
    expect(await run('resp_1')).toMatchObject({ kind: 'released', ticket: false });
    expect(await room.job()).toMatchObject({ duePartition: 'wake#jobs#0', dueAt: START + 9_000 });
    await cancelJob(room.ports, 'acme', 'resp_1');
    expect(await run('resp_1')).toEqual({ kind: 'unneeded', status: 'cancelled' });
  });
});

it('a ticket is hidden for as long as the job pauses, if it may be hidden so long', async () => {
  const room = await aRoom({ notBefore: START + 5_000 });
  expect(await room.run({ mayHide: (ms) => ms <= 5_000 })).toMatchObject({ kind: 'deferred', until: START + 5_000 });
  expect(await room.run({ mayHide: (ms) => ms < 5_000 })).toMatchObject({ kind: 'released', ticket: false });
});

it('a job that changes while a worker ends it for its deadline is looked at again', async () => {
  const room = await aRoom({ deadline: START });
  const { jobs } = room.ports;
  const raced = {
    ...jobs,
    // Both the claim and the end are refused: another worker is faster.
    update: async () => undefined,
  };
  expect(await runJob({ tenant: 'acme', id: 'resp_1' }, { ...room.ports, jobs: raced }, makeWorkerCall())).toEqual({
    kind: 'deferred',
    reason: 'contended',
    until: START + 1_000,
  });
  expect((await room.job())?.status).toBe('queued');
});

it('an answer whose storing an outage delays is kept and stored, and the model is not asked again', async () => {
  const room = await aRoom();
  let refusals = 2;
  const bodies = {
    ...room.ports.bodies,
    async prepare(name: BodyName) {
      const write = await room.ports.bodies.prepare(name);
      return async (body: unknown) => {
        if (refusals-- > 0) throw new LambentError('vault_unavailable', 'no table');
        return write(body);
      };
    },
  };
  const running = runJob({ tenant: 'acme', id: 'resp_1' }, { ...room.ports, bodies }, makeWorkerCall());
  for (let retry = 0; retry < 2; retry += 1) {
    await settled();
    await room.pass(JOB_TIMINGS.retryMs);
  }
  expect(await running).toMatchObject({ kind: 'ended', job: { status: 'completed', asks: 1, attempts: 1 } });
});

it('an answer that can never be stored is not kept in memory', async () => {
  const room = await aRoom();
  const bodies = {
    ...room.ports.bodies,
    prepare: async () => () => Promise.reject(new LambentError('tenant_deleted', 'This tenant has been deleted')),
  };
  const outcome = await runJob({ tenant: 'acme', id: 'resp_1' }, { ...room.ports, bodies }, makeWorkerCall());
  expect(outcome).toMatchObject({ kind: 'ended', job: { status: 'failed', errorCode: 'tenant_deleted' } });
});

it('a job whose model fails after the deadline expires', async () => {
  const room = await aRoom({ deadline: START + 10_000 });
  room.behave(async function* () {
    yield { type: 'text', text: 'Well' };
    room.clock.now += 10_000;
    throw new UpstreamError('upstream_cut', 'cut', { recovery: 'retry' });
  });
  expect(await room.run()).toMatchObject({ kind: 'ended', job: { status: 'expired' } });
});

it('completion steps use the input that the worker has, and read it no second time', async () => {
  const room = await aRoom({ replyTo: 'answers' });
  let reads = 0;
  const bodies = {
    ...room.ports.bodies,
    read: (...args: Parameters<typeof room.ports.bodies.read>) => {
      reads += 1;
      return room.ports.bodies.read(...args);
    },
  };
  await runJob({ tenant: 'acme', id: 'resp_1' }, { ...room.ports, bodies }, makeWorkerCall());
  expect(room.replies).toEqual(['completed']);
  expect(reads).toBe(1);
});
