import { PutItemCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createBodies } from '../../../shared/jobs/bodies.ts';
import { StepFailedError } from '../../../shared/jobs/completion.ts';
import { createDynamoDBStore } from '../../../shared/jobs/dynamodb-store.ts';
import type { IndexEntry } from '../../../shared/jobs/index-entry.ts';
import type { Job } from '../../../shared/jobs/job.ts';
import { jobItem } from '../../../shared/jobs/job-item.ts';
import { createMemoryStore, type Entry, placeOf } from '../../../shared/jobs/memory-store.ts';
import type { JobStore } from '../../../shared/jobs/ports.ts';
import { countBacklog, replaceTickets } from '../../../shared/jobs/sweep.ts';
import { JOB_TIMINGS } from '../../../shared/jobs/timings.ts';
import { claim } from '../../../shared/jobs/transitions.ts';
import { aJob, anInput, HOUR_MS, START } from './jobs.ts';
import { createMemoryBlobs } from './memory-blobs.ts';
import { recordTickets } from './recorded-tickets.ts';
import { aVault, type Services, startServices } from './services.ts';
import { sweepOnce } from './sweep-once.ts';

const FOREVER = Number.POSITIVE_INFINITY;
const { leaseMs, graceMs, firstLookMs, longestLookMs, completionMs, stepsEndMs } = JOB_TIMINGS;

/** A sweep over a store, by default in memory, that records what it sends and reports. */
async function createSweep(createStore?: (now: () => number) => Promise<JobStore>) {
  const clock = { now: START };
  const entries = new Map<string, Entry>();
  const now = () => clock.now;
  const jobs = createStore === undefined ? createMemoryStore(now, entries) : await createStore(now);
  const blobs = createMemoryBlobs();
  const bodies = createBodies(aVault(), blobs);
  const queue = recordTickets();
  const replies: string[] = [];
  const givenUp: unknown[] = [];
  const errors: string[] = [];
  /** What the reply step throws. */
  const failure: { thrown: unknown } = { thrown: undefined };
  const ports = {
    ...{ jobs, bodies, queue, timings: JOB_TIMINGS, shards: 1, now },
    steps: {
      reply: async ({ job }: { job: Job }) => {
        if (failure.thrown !== undefined) throw failure.thrown;
        replies.push(`${job.id} ${job.status}`);
      },
    },
    onStepFailed: async (job: Job, step: string) => void givenUp.push([job.id, step]),
    onError: (what: string) => void errors.push(what),
  };
  return {
    ...{ clock, entries, jobs, blobs, bodies, queue, replies, givenUp, errors, failure, ports },
    sweep: () => sweepOnce(ports),
    job: (id = 'resp_1') => jobs.read('acme', id),
    async put(changes: Partial<Job>, index?: IndexEntry) {
      const { tenant, id, expiresAt } = aJob(changes);
      const input = await bodies.write({ tenant, id, kind: 'input', epoch: 0, expiresAt }, anInput());
      await jobs.create(
        aJob({ input, deadline: START + 100 * HOUR_MS, expiresAt: START / 1000 + 720 * 3_600, ...changes }),
        index,
      );
    },
    /** Puts a job that a worker claims now. */
    async claim(changes: Partial<Job> = {}) {
      await this.put(changes);
      const { guard, change } = claim({ owner: 'w', alone: false, whole: true }, clock.now, JOB_TIMINGS);
      await jobs.update('acme', changes.id ?? 'resp_1', guard, change);
    },
  };
}

const wakeAt = (dueAt: number) => ({ purpose: 'wake', queue: 'jobs', dueAt }) as const;
const waitAt = (dueAt: number) => ({ purpose: 'wait', queue: 'jobs', dueAt }) as const;
const stepAt = (dueAt: number) => ({ purpose: 'step', dueAt }) as const;

describe('a job in progress', () => {
  it('is recovered once its lease and the grace period are over', async () => {
    const world = await createSweep();
    await world.claim();
    world.clock.now += leaseMs + graceMs - 1;
    expect((await world.sweep()).run).toMatchObject({ seen: 0, recovered: 0 });
    world.clock.now += 1;
    expect((await world.sweep()).run).toMatchObject({ seen: 1, recovered: 1 });
    expect(await world.job()).toMatchObject({ status: 'queued', crashes: 1, duePartition: 'wake#jobs#0' });
  });

  it('is left alone while its holder renews the lease, and stays at the time of its claim', async () => {
    const world = await createSweep();
    await world.claim();
    world.clock.now += HOUR_MS;
    await world.jobs.update('acme', 'resp_1', [], { set: { leaseExpiresAt: world.clock.now + 1 } });
    expect((await world.sweep()).run).toMatchObject({ seen: 1, recovered: 0, failed: 0 });
    expect(await world.job()).toMatchObject({ status: 'in_progress', duePartition: 'run#jobs#0', dueAt: START });
  });

  it('expires, is cancelled or fails if its holder died and nothing else can follow', async () => {
    const world = await createSweep();
    const deadline = START + leaseMs + graceMs;
    await world.claim({ id: 'resp_expired', deadline, replyTo: 'answers' });
    await world.claim({ id: 'resp_cancelled', replyTo: 'answers' });
    await world.jobs.update('acme', 'resp_cancelled', [], { set: { cancelRequested: true } });
    await world.claim({ id: 'resp_failed', replyTo: 'answers' });
    await world.jobs.update('acme', 'resp_failed', [], { set: { attempts: 3 } });
    world.clock.now = deadline;
    expect((await world.sweep()).run).toMatchObject({ ended: 3, recovered: 0 });
    expect([...world.replies].sort()).toEqual([
      'resp_cancelled cancelled',
      'resp_expired expired',
      'resp_failed failed',
    ]);
  });

  it('that ended while the index still lists it is completed by its holder alone', async () => {
    const world = await createSweep();
    await world.claim({ replyTo: 'answers' });
    world.clock.now += leaseMs + graceMs;
    const { list } = world.jobs;
    world.jobs.list = async (partition, ...rest) => {
      const page = await list(partition, ...rest);
      if (partition === 'run#jobs#0') {
        const ended = { set: { status: 'completed', fanIn: ['reply'] }, index: stepAt(world.clock.now + 1) } as const;
        await world.jobs.update('acme', 'resp_1', [], ended);
      }
      return page;
    };
    expect((await world.sweep()).run).toMatchObject({ seen: 1, completed: 0 });
    expect(world.replies).toEqual([]);
  });
});

describe('a waiting job', () => {
  it('without a ticket gets one, once, which is recorded', async () => {
    const world = await createSweep();
    await world.put({}, wakeAt(START + 1));
    expect((await world.sweep()).wake).toMatchObject({ seen: 0 });
    world.clock.now += 1;
    expect((await world.sweep()).wake).toMatchObject({ seen: 1, ticketsSent: 1 });
    expect(await world.job()).toMatchObject({
      duePartition: 'wait#jobs#0',
      dueAt: world.clock.now + firstLookMs,
    });
    world.clock.now += firstLookMs - 1;
    await world.sweep();
    expect(world.queue.ids()).toEqual(['resp_1']);
  });

  it('whose ticket is not accepted is tried again after a minute', async () => {
    const world = await createSweep();
    await world.put({}, wakeAt(START));
    world.queue.refuse = () => true;
    expect((await world.sweep()).wake).toMatchObject({ ticketsSent: 0, failed: 1 });
    world.queue.refuse = () => false;
    expect((await world.sweep()).wake).toMatchObject({ seen: 0 });
    world.clock.now += completionMs;
    expect((await world.sweep()).wake).toMatchObject({ ticketsSent: 1, failed: 0 });
  });

  it('with a ticket is looked at again at growing distances', async () => {
    const world = await createSweep();
    await world.put({}, waitAt(START + firstLookMs));
    const looks: number[] = [];
    while (looks.length < 8) {
      const dueAt = (await world.job())?.dueAt ?? 0;
      looks.push(dueAt - world.clock.now);
      world.clock.now = dueAt;
      expect((await world.sweep()).wait).toMatchObject({ seen: 1, ticketsSent: 0, failed: 0 });
    }
    expect(looks.map((ms) => ms / firstLookMs)).toEqual([1, 1, 2, 4, 8, 16, 24, longestLookMs / firstLookMs]);
    expect(world.queue.tickets).toEqual([]);
  });

  it('with a ticket is looked at again no later than at its deadline', async () => {
    const world = await createSweep();
    const deadline = START + firstLookMs / 2;
    await world.put({ deadline }, waitAt(START));
    await world.sweep();
    expect(await world.job()).toMatchObject({ duePartition: 'wait#jobs#0', dueAt: deadline });
  });

  it('expires at its deadline, with or without a ticket', async () => {
    const world = await createSweep();
    const deadline = START + HOUR_MS;
    await world.put({ id: 'resp_a', deadline, replyTo: 'answers' }, waitAt(deadline));
    await world.put({ id: 'resp_b', deadline, replyTo: 'answers' }, wakeAt(deadline));
    world.clock.now = deadline;
    const swept = await world.sweep();
    expect([swept.wait, swept.wake]).toMatchObject([{ ended: 1 }, { ended: 1, ticketsSent: 0 }]);
    expect([...world.replies].sort()).toEqual(['resp_a expired', 'resp_b expired']);
  });
});

describe('completion steps', () => {
  const ended = { status: 'completed', fanIn: ['reply'], completedAt: START, epoch: 1, replyTo: 'answers' } as const;

  it('are run when they are due, and recorded', async () => {
    const world = await createSweep();
    await world.put(ended, stepAt(START));
    expect((await world.sweep()).step).toMatchObject({ completed: 1 });
    expect(world.replies).toEqual(['resp_1 completed']);
    expect((await world.job())?.duePartition).toBeUndefined();
    expect((await world.job())?.fanIn).toBeUndefined();
  });

  it('that fail are tried again at growing distances, and given up and reported after 24 hours', async () => {
    const world = await createSweep();
    world.failure.thrown = new Error('queue gone');
    await world.put(ended, stepAt(START));
    let tries = 0;
    while (world.givenUp.length === 0) {
      const { step } = await world.sweep();
      tries += 1;
      if (world.givenUp.length === 0) {
        expect(step).toMatchObject({ completed: 0, failed: 1 });
        const dueAt = (await world.job())?.dueAt ?? 0;
        expect(dueAt).toBeGreaterThanOrEqual(world.clock.now + completionMs);
        expect(dueAt).toBeLessThanOrEqual(world.clock.now + firstLookMs);
        world.clock.now = dueAt;
      }
    }
    expect(tries).toBeLessThan(110);
    expect(world.clock.now - START).toBeGreaterThan(stepsEndMs);
    expect(world.givenUp).toEqual([['resp_1', 'reply']]);
    expect((await world.job())?.duePartition).toBeUndefined();
  });

  it('are not given up at the first failure because their job waited for long', async () => {
    const world = await createSweep();
    world.failure.thrown = new Error('queue gone');
    world.clock.now += stepsEndMs + HOUR_MS;
    await world.put({ ...ended, completedAt: world.clock.now }, stepAt(START));
    expect((await world.sweep()).step).toMatchObject({ completed: 0, failed: 1 });
    expect(world.givenUp).toEqual([]);
  });

  it("are kept if a fenced attempt's bodies cannot be removed", async () => {
    const world = await createSweep();
    await world.put({ ...ended, fanIn: ['bodies'] }, stepAt(START));
    world.bodies.sweep = () => Promise.reject(new Error('unavailable'));
    expect((await world.sweep()).step).toMatchObject({ completed: 0, failed: 1 });
    expect(await world.job()).toMatchObject({ fanIn: ['bodies'], duePartition: 'step#0' });
  });

  it('that are done already leave nothing in the index', async () => {
    const world = await createSweep();
    const { fanIn: _, ...done } = ended;
    await world.put(done, stepAt(START));
    await world.sweep();
    expect((await world.job())?.duePartition).toBeUndefined();
  });

  it('that can never succeed are given up at once', async () => {
    const world = await createSweep();
    world.failure.thrown = new StepFailedError('too large');
    await world.put(ended, stepAt(START));
    expect((await world.sweep()).step).toMatchObject({ completed: 1, failed: 0 });
    expect(world.givenUp).toEqual([['resp_1', 'reply']]);
  });

  it('are kept if their report fails', async () => {
    const world = await createSweep();
    world.failure.thrown = new StepFailedError('too large');
    world.ports.onStepFailed = () => Promise.reject(new Error('queue gone'));
    await world.put(ended, stepAt(START));
    expect((await world.sweep()).step).toMatchObject({ completed: 0, failed: 1 });
    expect((await world.job())?.fanIn).toEqual(['reply']);
  });
});

describe('a deleted or expired job', () => {
  it('is removed with its bodies, and leaves the index', async () => {
    const world = await createSweep();
    await world.put({ id: 'resp_deleted' });
    await world.jobs.delete('acme', 'resp_deleted');
    await world.put({ id: 'resp_expired', expiresAt: START / 1000 + 1 }, waitAt(START + 1_000));
    world.clock.now += 1_000;
    const swept = await world.sweep();
    expect([swept.tomb, swept.wait]).toMatchObject([{ removed: 1 }, { removed: 1 }]);
    expect(world.blobs.held.size).toBe(0);
    const again = await world.sweep();
    expect([again.tomb, again.wait]).toMatchObject([{ seen: 0 }, { seen: 0 }]);
    world.clock.now += HOUR_MS;
    expect((await world.sweep()).tomb).toMatchObject({ seen: 0 });
  });

  it('stays in the index while its bodies cannot be removed', async () => {
    const world = await createSweep();
    await world.put({});
    await world.jobs.delete('acme', 'resp_1');
    const { sweep } = world.bodies;
    world.bodies.sweep = () => Promise.reject(new Error('bucket gone'));
    expect((await world.sweep()).tomb).toMatchObject({ removed: 0, failed: 1 });
    world.bodies.sweep = sweep;
    world.clock.now += completionMs;
    expect((await world.sweep()).tomb).toMatchObject({ removed: 1, failed: 0 });
  });
});

describe("an earlier version's entry", () => {
  /** Puts a job as an earlier version placed it: one partition for all purposes. */
  function putEarlier(entries: Map<string, Entry>, changes: Partial<Job>) {
    const job = aJob({ deadline: START + 100 * HOUR_MS, duePartition: 'due#7', dueAt: START, ...changes });
    entries.set(`acme#${job.id}`, { job });
  }

  it('of a waiting job becomes a ticket', async () => {
    const world = await createSweep();
    putEarlier(world.entries, {});
    expect((await world.sweep()).earlier).toMatchObject({ seen: 1, ticketsSent: 1 });
    expect(await world.job()).toMatchObject({ duePartition: 'wait#jobs#0' });
  });

  it('of a job in progress moves to the jobs in progress', async () => {
    const world = await createSweep();
    const held = { status: 'in_progress', epoch: 1, startedAt: START - 1, leaseExpiresAt: START + 45_000 } as const;
    putEarlier(world.entries, held);
    expect((await world.sweep()).earlier).toMatchObject({ seen: 1, recovered: 0 });
    expect(await world.job()).toMatchObject({ duePartition: 'run#jobs#0', dueAt: START - 1 });
  });

  it('of a job whose holder died becomes a waiting job that gets a ticket in the next pass', async () => {
    const world = await createSweep();
    putEarlier(world.entries, { status: 'in_progress', epoch: 1, attempts: 1, leaseExpiresAt: START - graceMs });
    expect((await world.sweep()).earlier).toMatchObject({ recovered: 1 });
    expect(await world.job()).toMatchObject({ status: 'queued', attempts: 1, duePartition: 'wake#jobs#0' });
    expect((await world.sweep()).wake).toMatchObject({ ticketsSent: 1 });
  });

  it('of an ended job is completed', async () => {
    const world = await createSweep();
    putEarlier(world.entries, { status: 'completed', epoch: 1, completedAt: START, fanIn: ['reply'] });
    expect((await world.sweep()).earlier).toMatchObject({ completed: 1 });
    expect(world.replies).toEqual(['resp_1 completed']);
    expect((await world.job())?.duePartition).toBeUndefined();
  });

  it('of an ended job whose steps fail moves to the completion steps', async () => {
    const world = await createSweep();
    world.failure.thrown = new Error('queue gone');
    putEarlier(world.entries, { status: 'completed', epoch: 1, completedAt: START, fanIn: ['reply'] });
    expect((await world.sweep()).earlier).toMatchObject({ failed: 1 });
    expect(await world.job()).toMatchObject({ duePartition: 'step#0', dueAt: START + completionMs });
  });

  it('of a deleted job is removed', async () => {
    const world = await createSweep();
    world.entries.set('acme#resp_1', { expiresAt: START / 1000 + 1_000, duePartition: 'due#7', dueAt: START });
    expect((await world.sweep()).earlier).toMatchObject({ removed: 1 });
    expect((await world.sweep()).earlier).toMatchObject({ seen: 0 });
  });
});

describe('an entry that fails', () => {
  const ids = Array.from({ length: 200 }, (_, index) => `resp_${index}`);

  it('delays none of 200 others, which are due later, and comes again itself', async () => {
    const world = await createSweep();
    const { read, readMany } = world.jobs;
    let isBroken = true;
    world.jobs.read = async (tenant, id) => {
      if (isBroken && id === 'resp_bad') throw new Error('unreadable');
      return read(tenant, id);
    };
    world.jobs.readMany = async (keys) => (await readMany(keys)).filter(({ id }) => !isBroken || id !== 'resp_bad');
    await world.put({ id: 'resp_bad' }, wakeAt(START - 1));
    for (const id of ids) await world.put({ id }, wakeAt(START));
    expect((await world.sweep()).wake).toMatchObject({ seen: 201, ticketsSent: 200, failed: 1 });
    expect([...world.queue.ids()].sort()).toEqual([...ids].sort());
    expect((await world.sweep()).wake).toMatchObject({ seen: 0 });
    isBroken = false;
    world.clock.now += completionMs;
    expect((await world.sweep()).wake).toMatchObject({ seen: 1, ticketsSent: 1 });
    expect(world.queue.ids().at(-1)).toBe('resp_bad');
  });

  it('delays none of 200 jobs in progress whose holders died', async () => {
    const world = await createSweep();
    const { readMany, read } = world.jobs;
    world.jobs.read = async (tenant, id) => {
      if (id === 'resp_bad') throw new Error('unreadable');
      return read(tenant, id);
    };
    world.jobs.readMany = async (keys) => (await readMany(keys)).filter(({ id }) => id !== 'resp_bad');
    await world.claim({ id: 'resp_bad' });
    world.clock.now += 1;
    for (const id of ids) await world.claim({ id });
    world.clock.now += leaseMs + graceMs;
    expect((await world.sweep()).run).toMatchObject({ seen: 201, recovered: 200, failed: 1 });
  });

  it('of one partition does not keep the others from being read', async () => {
    const world = await createSweep();
    const { list } = world.jobs;
    world.jobs.list = (partition, ...rest) =>
      partition === 'run#jobs#0' ? Promise.reject(new Error('throttled')) : list(partition, ...rest);
    await world.put({}, wakeAt(START));
    const swept = await world.sweep();
    expect([swept.run, swept.wake]).toMatchObject([{ failed: 1 }, { ticketsSent: 1, failed: 0 }]);
    expect(world.errors).toEqual(['index partition not read']);
  });
});

describe('in DynamoDB', () => {
  let services: Services;
  beforeAll(async () => {
    services = await startServices();
  });
  afterAll(() => services[Symbol.asyncDispose]());

  it('an item that is no job delays none of 200 others, and moves to a later time', async () => {
    const tableName = await services.newTable();
    const world = await createSweep(async (now) =>
      createDynamoDBStore(services.dynamodb, { tableName, shards: 1, now }),
    );
    const { status: _, ...broken } = jobItem(aJob({ id: 'resp_bad', duePartition: 'wake#jobs#0', dueAt: START - 1 }));
    await services.dynamodb.send(new PutItemCommand({ TableName: tableName, Item: broken }));
    const ids = Array.from({ length: 200 }, (_each, index) => `resp_${index}`);
    await Promise.all(ids.map((id) => world.put({ id }, wakeAt(START))));
    expect((await world.sweep()).wake).toMatchObject({ seen: 201, ticketsSent: 200, failed: 1 });
    const { entries } = await world.jobs.list('wake#jobs#0', Number.MAX_SAFE_INTEGER, { limit: 10 });
    expect(entries).toMatchObject([{ tenant: 'acme', id: 'resp_bad', dueAt: START + completionMs }]);
  });
});

describe('the number of shards', () => {
  it('can be raised and lowered while jobs wait, run and end, and no entry is forgotten', async () => {
    const world = await createSweep();
    const writeWith = (shards: number) => createMemoryStore(() => world.clock.now, world.entries, { shards });
    const ids: string[] = [];
    const deadline = START + 100 * HOUR_MS;
    /** Creates jobs with entries for each purpose, as a function with this setting does, and moves those of before. */
    const use = async (shards: number) => {
      const jobs = writeWith(shards);
      for (const id of ids.filter((each) => each.startsWith('resp_run'))) {
        const claimed = claim(
          { owner: 'w', alone: false, whole: true },
          world.clock.now - leaseMs - graceMs,
          JOB_TIMINGS,
        );
        await jobs.update('acme', id, claimed.guard, claimed.change);
      }
      for (let number = 0; number < 12; number += 1) {
        const name = `${shards}x${ids.length}`;
        await jobs.create(aJob({ id: `resp_run${name}`, deadline }), waitAt(START + HOUR_MS));
        await jobs.create(aJob({ id: `resp_wake${name}`, deadline }), wakeAt(START));
        const ended = { status: 'completed', fanIn: ['reply'], completedAt: START, epoch: 1, replyTo: 'a' } as const;
        await jobs.create(aJob({ id: `resp_step${name}`, deadline, ...ended }), stepAt(START));
        ids.push(`resp_run${name}`, `resp_wake${name}`, `resp_step${name}`);
      }
    };
    await use(2);
    await use(5);
    // Lowered: five are still read.
    await use(1);
    const swept = await sweepOnce({ ...world.ports, jobs: writeWith(1), shards: 5 }, FOREVER);
    expect([swept.run.recovered, swept.wake.ticketsSent, swept.step.completed]).toEqual([24, 36, 36]);
    expect(new Set(world.queue.ids()).size).toBe(36);
    const partitions = new Set([...world.entries.values()].map((entry) => placeOf(entry).duePartition));
    expect([...partitions].filter((name) => name?.startsWith('run') || name?.startsWith('step'))).toEqual([]);
    expect(await countBacklog('jobs', { jobs: writeWith(1), shards: 5 })).toEqual({ waiting: 72, ticketed: 48 });
  });
});

describe('a pass', () => {
  it('stops when its time is up, and says that entries are left', async () => {
    const world = await createSweep();
    for (let index = 0; index < 150; index += 1) await world.put({ id: `resp_${index}` }, wakeAt(START));
    const { send } = world.queue;
    world.ports.queue = {
      ...world.queue,
      send: (tickets) => {
        world.clock.now = START + 10;
        return send(tickets);
      },
    };
    const { wake } = await sweepOnce(world.ports, START + 10);
    expect(wake).toMatchObject({ seen: 20, ticketsSent: 20, isUnfinished: true });
  });

  it('that runs beside another sends one ticket per job', async () => {
    const world = await createSweep();
    for (let index = 0; index < 50; index += 1) await world.put({ id: `resp_${index}` }, wakeAt(START));
    await Promise.all([world.sweep(), world.sweep()]);
    expect(new Set(world.queue.ids()).size).toBe(50);
    expect(world.queue.ids()).toHaveLength(50);
  });
});

describe('lost tickets', () => {
  it('are counted from the jobs that wait and run, and replaced for waiting jobs, each once', async () => {
    const world = await createSweep();
    await world.put({ id: 'resp_wake' }, wakeAt(START + HOUR_MS));
    await world.claim({ id: 'resp_run' });
    for (let index = 0; index < 130; index += 1) await world.put({ id: `resp_${index}` }, waitAt(START + index));
    expect(await countBacklog('jobs', world.ports)).toEqual({ waiting: 131, ticketed: 131 });
    expect(await countBacklog('gpu', world.ports)).toEqual({ waiting: 0, ticketed: 0 });
    expect(await replaceTickets('jobs', 131, world.ports, FOREVER)).toBe(130);
    expect(new Set(world.queue.ids()).size).toBe(130);
    expect(world.queue.ids()).toHaveLength(130);
  });

  it('are replaced for no more jobs than tickets are missing, and for none that pauses', async () => {
    const world = await createSweep();
    await world.put({ id: 'resp_pause', notBefore: START + 1 }, waitAt(START));
    for (let index = 0; index < 5; index += 1) await world.put({ id: `resp_${index}` }, waitAt(START + 1 + index));
    expect(await replaceTickets('jobs', 3, world.ports, FOREVER)).toBe(3);
    expect([...world.queue.ids()].sort()).toEqual(['resp_0', 'resp_1', 'resp_2']);
  });

  it('are replaced for no more jobs than tickets are missing, over all pages', async () => {
    const world = await createSweep();
    for (let index = 0; index < 250; index += 1) await world.put({ id: `resp_${index}` }, waitAt(START + index));
    expect(await replaceTickets('jobs', 130, world.ports, FOREVER)).toBe(130);
    expect(world.queue.ids()).toHaveLength(130);
  });

  it('are replaced first for the job that was not looked at for longest, in whatever order the table returns them', async () => {
    const world = await createSweep();
    for (let index = 0; index < 5; index += 1) await world.put({ id: `resp_${index}` }, waitAt(START + index));
    const { readMany } = world.jobs;
    world.jobs.readMany = async (keys) => [...(await readMany(keys))].reverse();
    await replaceTickets('jobs', 1, world.ports, FOREVER);
    expect(world.queue.ids()).toEqual(['resp_0']);
  });

  it('are replaced without a request for each job that pauses', async () => {
    const world = await createSweep();
    for (let index = 0; index < 90; index += 1)
      await world.put({ id: `resp_${index}`, notBefore: START + 1 }, waitAt(START + index));
    await world.put({ id: 'resp_lost' }, waitAt(START + 100));
    let lists = 0;
    const { list } = world.jobs;
    world.ports.jobs = {
      ...world.jobs,
      list: (...args) => {
        lists += 1;
        return list(...args);
      },
    };
    expect(await replaceTickets('jobs', 1, world.ports, FOREVER)).toBe(1);
    expect(lists).toBe(1);
  });

  it('are replaced until the time is up', async () => {
    const world = await createSweep();
    for (let index = 0; index < 250; index += 1) await world.put({ id: `resp_${index}` }, waitAt(START + index));
    const { send } = world.queue;
    world.ports.queue = {
      ...world.queue,
      send: (tickets) => {
        world.clock.now += 10;
        return send(tickets);
      },
    };
    expect(await replaceTickets('jobs', 250, world.ports, START + 15)).toBe(200);
  });
});

it('a pass whose time is up lists no further page, and says that entries are left', async () => {
  const world = await createSweep();
  for (let index = 0; index < 250; index += 1) await world.claim({ id: `resp_${index}` });
  world.clock.now += HOUR_MS;
  // All holders live, so that nothing but the listing takes time.
  for (let index = 0; index < 250; index += 1)
    await world.jobs.update('acme', `resp_${index}`, [], { set: { leaseExpiresAt: world.clock.now + HOUR_MS } });
  const until = world.clock.now + 1;
  let pages = 0;
  const { list } = world.jobs;
  world.jobs.list = async (partition, ...rest) => {
    if (partition === 'run#jobs#0') {
      pages += 1;
      world.clock.now = until;
    }
    return list(partition, ...rest);
  };
  expect((await sweepOnce(world.ports, until)).run).toMatchObject({ seen: 0, isUnfinished: true });
  expect(pages).toBe(1);
});

it('completion steps that only a newer version knows are left to its sweep, and the others are done', async () => {
  const world = await createSweep();
  await world.put({ status: 'completed', completedAt: START, fanIn: ['archive', 'reply'] }, stepAt(START));
  await world.sweep();
  expect(world.replies).toEqual(['resp_1 completed']);
  expect(await world.job()).toMatchObject({ fanIn: ['archive', 'reply'] });
});
