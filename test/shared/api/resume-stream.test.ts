import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { resumeStream } from '../../../shared/api/resume-stream.ts';
import { createBodies } from '../../../shared/jobs/bodies.ts';
import { cancelJob } from '../../../shared/jobs/control.ts';
import { createDynamoDBBlobs } from '../../../shared/jobs/dynamodb-blobs.ts';
import { createEventLog } from '../../../shared/jobs/event-log.ts';
import type { Job } from '../../../shared/jobs/job.ts';
import { createMemoryStore } from '../../../shared/jobs/memory-store.ts';
import { JOB_TIMINGS } from '../../../shared/jobs/timings.ts';
import { claim, commit, recover } from '../../../shared/jobs/transitions.ts';
import { createKeepAliveStream } from '../../../shared/lambda/keep-alive.ts';
import { waitUntil } from '../../wait.ts';
import { aJob, anInput } from '../jobs/jobs.ts';
import { recordTickets } from '../jobs/recorded-tickets.ts';
import { sweepOnce } from '../jobs/sweep-once.ts';
import { type Stores, startStores } from '../sessions/services.ts';

let stores: Stores;
beforeAll(async () => {
  stores = await startStores();
});
afterAll(() => stores[Symbol.asyncDispose]());

const TENANT = 'acme';
interface Event {
  readonly type: string;
  readonly sequence_number: number;
}

const clock = { now: Date.now() };
let count = 0;

/** Creates a streamed background job, with functions that write its log as successive workers do. */
async function createStreamedJob() {
  count += 1;
  const id = `resp_${count}`;
  const bucket = {
    ...stores.bucket,
    ...{ put: async () => false, get: async () => undefined, list: async () => [], remove: async () => {} },
  };
  const blobs = createDynamoDBBlobs(stores.client, { tableName: stores.tableName, bucket });
  const state = {
    jobs: createMemoryStore(() => clock.now),
    bodies: createBodies(stores.vault, blobs),
    events: createEventLog(stores.vault, blobs),
    timings: JOB_TIMINGS,
  };
  const expiresAt = Math.floor(clock.now / 1000) + 1_000;
  const input = await state.bodies.write({ tenant: TENANT, id, kind: 'input', epoch: 0, expiresAt }, anInput());
  const times = { createdAt: clock.now, deadline: clock.now + 600_000, expiresAt };
  const newJob = aJob({ tenant: TENANT, id, streamed: true, input, ...times });
  await state.jobs.create(newJob, { purpose: 'wait', queue: 'jobs', dueAt: clock.now });
  const append = (epoch: number, firstSequence: number, ...types: string[]) =>
    state.events.append({
      tenant: TENANT,
      id,
      epoch,
      firstSequence,
      events: types.map((type, index) => ({ type, sequence_number: firstSequence + index })),
      expiresAt,
    });
  const claimJob = async () => {
    const found = await state.jobs.read(TENANT, id);
    if (found?.status === 'in_progress') {
      const dead = recover(found, clock.now, JOB_TIMINGS);
      await state.jobs.update(TENANT, id, dead.guard, dead.change);
    }
    const terms = { owner: 'worker', alone: true, whole: true };
    const { guard, change } = claim(terms, clock.now, JOB_TIMINGS);
    const claimed = await state.jobs.update(TENANT, id, guard, change);
    if (claimed === undefined) throw new Error('The job could not be claimed');
    return claimed;
  };
  const complete = async (job: Job, endSequence?: number) => {
    const name = { tenant: TENANT, id, kind: 'output', epoch: job.epoch, expiresAt } as const;
    const output = await state.bodies.write(name, { answer: { object: 'response', id, status: 'completed' } });
    const ending = { status: 'completed', output, ...(endSequence === undefined ? {} : { endSequence }) } as const;
    const { guard, change } = commit(job, ending, clock.now, JOB_TIMINGS);
    await state.jobs.update(TENANT, id, guard, change);
  };
  /** Reads the stream to its end, and adds its events to `events` as they arrive. By default it has no deadline. */
  const read = async (startingAfter: number, events: Event[] = [], now = () => 0) => {
    const { signal } = new AbortController();
    const frames = resumeStream(state, { tenant: TENANT, id, startingAfter, deadlineAt: 20_000, signal, now });
    for await (const frame of frames) {
      if (!frame.startsWith(':')) events.push(JSON.parse(frame.slice(frame.indexOf('data: ') + 6)));
    }
    return events;
  };
  /** Runs the sweep, which ends jobs whose worker has died. */
  const sweep = async () => {
    const ports = {
      ...{ ...state, queue: recordTickets(), steps: {}, shards: 1, now: () => clock.now },
      onStepFailed: async () => {},
      onError: (_message: string, thrown: unknown) => expect.unreachable(String(thrown)),
    };
    return (await sweepOnce(ports)).run;
  };
  return { id, state, append, claimJob, complete, read, sweep };
}

describe('resumeStream', () => {
  it('a resumed stream continues with the next worker, with increasing sequence numbers', async () => {
    const { append, claimJob, complete, read } = await createStreamedJob();
    await append(0, 0, 'response.created', 'response.queued');
    await claimJob();
    await append(1, 2, 'response.in_progress', 'response.output_text.delta');
    const seen: Event[] = [];
    const reading = read(-1, seen);
    clock.now += JOB_TIMINGS.leaseMs + JOB_TIMINGS.graceMs;
    const second = await claimJob();
    await append(2, 1_000_000, 'response.in_progress', 'response.output_text.delta');
    // The fenced worker writes until its next heartbeat. A reader that has advanced to the next worker ignores its events.
    await waitUntil('the reader has advanced', () => seen.some((event) => event.sequence_number >= 1_000_000));
    await append(1, 4, 'response.output_text.delta');
    await append(2, 1_000_002, 'response.output_text.done');
    await complete(second, 1_000_003);
    expect((await reading).map(({ type, sequence_number }) => `${sequence_number} ${type}`)).toEqual([
      '0 response.created',
      '1 response.queued',
      '2 response.in_progress',
      '3 response.output_text.delta',
      '1000000 response.in_progress',
      '1000001 response.output_text.delta',
      '1000002 response.output_text.done',
      '1000003 response.completed',
    ]);
    expect((await read(3)).map(({ sequence_number }) => sequence_number).at(-1)).toBe(1_000_003);
    expect(await read(1_000_001)).toHaveLength(2);
    expect(await read(1_000_002)).toMatchObject([{ type: 'response.completed', sequence_number: 1_000_003 }]);
    expect(await read(1_000_003)).toEqual([]);
  });

  it('a stream starts with the accepted events of the job, whether or not an earlier version logged them', async () => {
    const { append, claimJob, complete, read, id } = await createStreamedJob();
    const response = { id, status: 'queued', model: 'default', output: [] };
    const accepted = [
      { type: 'response.created', sequence_number: 0, response },
      { type: 'response.queued', sequence_number: 1, response },
    ];
    await complete(await claimJob(), 2);
    for (const _ of ['not logged', 'logged']) {
      expect(await read(-1)).toMatchObject([...accepted, { sequence_number: 2 }]);
      expect(await read(0)).toMatchObject([accepted[1], { sequence_number: 2 }]);
      await append(0, 0, 'response.created', 'response.queued');
    }
  });

  it('a stream that reaches its deadline ends with an error and can be resumed', async () => {
    const { append, claimJob, complete, read } = await createStreamedJob();
    await append(0, 0, 'response.created', 'response.queued');
    const events: Event[] = [];
    await read(-1, events, () => (events.length < 2 ? 0 : 20_000));
    expect(events.at(-1)).toMatchObject({ type: 'error', code: 'deadline_exceeded', sequence_number: 1 });
    await complete(await claimJob(), 2);
    expect(await read(events.at(-1)?.sequence_number ?? -1)).toMatchObject([{ type: 'response.completed' }]);
  });

  it('the final event has the same number on every read, even if the job’s worker died', async () => {
    const { id, state, append, claimJob, read, sweep } = await createStreamedJob();
    await append(0, 0, 'response.created', 'response.queued');
    await claimJob();
    await append(1, 2, 'response.in_progress', 'response.output_text.delta');
    await cancelJob({ jobs: state.jobs, timings: JOB_TIMINGS, now: () => clock.now }, TENANT, id);
    clock.now += JOB_TIMINGS.leaseMs + JOB_TIMINGS.graceMs;
    expect(await sweep()).toMatchObject({ ended: 1 });
    const [last] = await read(3);
    expect(last).toMatchObject({ type: 'response.cancelled', response: { status: 'cancelled' } });
    const end = last?.sequence_number ?? 0;
    // The worker was not dead after all.
    await append(1, 4, 'response.output_text.delta');
    expect((await read(-1)).map(({ sequence_number }) => sequence_number)).toEqual([0, 1, 2, 3, 4, end]);
    expect(await read(4)).toEqual([last]);
    expect(await read(end - 1)).toEqual([last]);
    expect(await read(end)).toEqual([]);
  });

  it('the final event has the same number for a waiting reader and for a later one', async () => {
    const { state, id, append, read } = await createStreamedJob();
    await append(0, 0, 'response.created', 'response.queued');
    const reading = read(-1);
    await cancelJob({ jobs: state.jobs, timings: JOB_TIMINGS, now: () => clock.now }, TENANT, id);
    const events = await reading;
    expect(events.map(({ type }) => type)).toEqual(['response.created', 'response.queued', 'response.cancelled']);
    expect(await read(1)).toEqual(events.slice(2));
    expect(await read(2)).toEqual([]);
  });

  it('a stream that resumes after an event that is not logged yet waits and sends only later events', async () => {
    const { append, claimJob, complete, read } = await createStreamedJob();
    await append(0, 0, 'response.created', 'response.queued');
    const job = await claimJob();
    const [near, far] = [read(3), read(99_999)];
    await append(1, 2, 'response.in_progress', 'response.output_text.delta', 'response.output_text.done');
    await complete(job, 5);
    expect((await near).map(({ sequence_number }) => sequence_number)).toEqual([4, 5]);
    expect(await far).toEqual([]);
  });

  it('a stream without events starts at once and sends keep-alive comments', async () => {
    const { id, state, append, claimJob, complete } = await createStreamedJob();
    await append(0, 0, 'response.created', 'response.queued');
    const { signal } = new AbortController();
    const options = { tenant: TENANT, id, deadlineAt: 20_000, signal, now: () => 0 };
    const frames = resumeStream(state, { ...options, startingAfter: 1 });
    expect(await frames.next()).toEqual({ done: false, value: ': keep-alive\n\n' });
    const resumed = createKeepAliveStream(frames, 50);
    const chunks: string[] = [];
    const reading = (async () => {
      for await (const chunk of resumed) chunks.push(String(chunk));
    })();
    await waitUntil('chunks arrive', () => chunks.length > 4);
    expect(new Set(chunks)).toEqual(new Set([': keep-alive\n\n']));
    await complete(await claimJob(), 2);
    await reading;
    expect(chunks.at(-1)).toMatch(/^event: response.completed\n/);
  });

  it('a stream starts with an event if there is one, and sends nothing after the final event', async () => {
    const { id, state, append, claimJob, complete } = await createStreamedJob();
    await append(0, 0, 'response.created', 'response.queued');
    const { signal } = new AbortController();
    const options = { tenant: TENANT, id, deadlineAt: 20_000, signal, now: () => 0 };
    const first = async (startingAfter: number) =>
      (await resumeStream(state, { ...options, startingAfter }).next()).value;
    expect(await first(-1)).toMatch(/^event: response.created\n/);
    expect(await first(1)).toBe(': keep-alive\n\n');
    await complete(await claimJob(), 2);
    expect(await first(1)).toMatch(/^event: response.completed\n/);
    expect(await first(2)).toBe(true);
  });

  it('a stream ends with an error if the response is deleted', async () => {
    const { state, append, read } = await createStreamedJob();
    await append(0, 0, 'response.created', 'response.queued');
    const seen: Event[] = [];
    const reading = read(-1, seen);
    await waitUntil('the reader waits', () => seen.length === 2);
    await state.jobs.delete(TENANT, `resp_${count}`);
    expect((await reading).at(-1)).toMatchObject({ type: 'error', code: 'not_found' });
  });
});
