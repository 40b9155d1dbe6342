import { describe, expect, it } from 'vitest';
import { createBacklogWatch, createMemorySamples } from '../../../shared/jobs/backlog-watch.ts';
import { createBodies } from '../../../shared/jobs/bodies.ts';
import { createMemoryStore } from '../../../shared/jobs/memory-store.ts';
import { SWEEP_PURPOSES } from '../../../shared/jobs/sweep.ts';
import { parseSweepPart, type SweepPart } from '../../../shared/jobs/sweep-part.ts';
import { sweepRepeatedly } from '../../../shared/jobs/sweep-run.ts';
import { JOB_TIMINGS } from '../../../shared/jobs/timings.ts';
import { createVirtualTime } from '../../simulation/virtual-time.ts';
import { aJob, START } from './jobs.ts';
import { createMemoryBlobs } from './memory-blobs.ts';
import { recordTickets } from './recorded-tickets.ts';
import { aVault } from './services.ts';

const MINUTE_MS = 60_000;

/** A sweep function on virtual time that runs once a minute. SQS counts `counted.tickets` messages on each queue. */
function createSweepFunction() {
  const time = createVirtualTime();
  const now = () => START + time.now();
  const jobs = createMemoryStore(now);
  const queue = recordTickets();
  const counted = { tickets: 0 };
  const errors: string[] = [];
  const watch = createBacklogWatch(async () => counted.tickets, JOB_TIMINGS, createMemorySamples());
  const ports = {
    ...{ jobs, queue, timings: JOB_TIMINGS, shards: 1, now, steps: {} },
    bodies: createBodies(aVault(), createMemoryBlobs()),
    onStepFailed: async () => {},
    onError: (what: string) => void errors.push(what),
    sleep: (ms: number) => time.sleep(ms),
  };
  return {
    ...{ time, now, jobs, queue, counted, errors, ports },
    /** Runs the function for 50 s. Returns the seconds at which its passes over running jobs ended. */
    async run(part?: SweepPart, onPass: () => void = () => {}) {
      const beganAt = now();
      const passes: number[] = [];
      const backlogs: Record<string, number> = {};
      const purposes = new Set<string>();
      time.at(time.now(), () =>
        sweepRepeatedly({ ...ports, ...(part && { part }) }, watch, {
          until: beganAt + 50_000,
          onPass: (purpose) => {
            onPass();
            purposes.add(purpose);
            if (purpose === 'run') passes.push((now() - beganAt) / 1000);
          },
          onBacklog: (name, { waiting }) => {
            backlogs[name] = waiting;
          },
        }),
      );
      time.at(time.now() + MINUTE_MS, () => {});
      await time.run();
      return { passes, backlogs, purposes: [...purposes].sort() };
    },
  };
}

describe('a run of the sweep', () => {
  it('makes one pass over every purpose while no job waits or runs', async () => {
    const { run } = createSweepFunction();
    expect(await run()).toEqual({ passes: [0], backlogs: { jobs: 0, gpu: 0 }, purposes: [...SWEEP_PURPOSES].sort() });
  });

  it.each(['wake', 'wait', 'run'] as const)(
    'makes a pass every 15 s of its time while a job is in the partition %s',
    async (purpose) => {
      const { run, jobs, now } = createSweepFunction();
      const dueAt = now() + 10 * MINUTE_MS;
      await jobs.create(aJob(), { purpose, queue: 'gpu', dueAt });
      const { passes, backlogs } = await run();
      expect(passes).toEqual([0, 15, 30, 45]);
      expect(backlogs).toEqual({ jobs: 0, gpu: purpose === 'run' ? 0 : 1 });
    },
  );

  it('finds a job that becomes due between two passes', async () => {
    const { run, jobs, now, queue } = createSweepFunction();
    await jobs.create(aJob(), { purpose: 'wake', queue: 'jobs', dueAt: now() + 20_000 });
    await run();
    expect(queue.ids()).toEqual(['resp_1']);
  });

  it('finds a dead holder within 30 s of its grace period, although more jobs are due than a run can send tickets for', async () => {
    const { run, time, now, jobs, queue } = createSweepFunction();
    for (let index = 0; index < 2_000; index += 1)
      await jobs.create(aJob({ id: `resp_${index}` }), { purpose: 'wake', queue: 'jobs', dueAt: now() });
    const { send } = queue;
    // 20 tickets a second: half of the jobs per run.
    queue.send = async (tickets) => {
      await time.sleep(1_000);
      return send(tickets);
    };
    const { leaseMs, graceMs } = JOB_TIMINGS;
    const deadAt = now() + 16_000;
    const leaseExpiresAt = deadAt - graceMs;
    const startedAt = leaseExpiresAt - leaseMs;
    const held = { id: 'resp_dead', status: 'in_progress', epoch: 1, owner: 'w', leaseExpiresAt, startedAt } as const;
    await jobs.create(aJob(held), { purpose: 'run', queue: 'jobs', dueAt: startedAt });
    let recoveredAt = 0;
    const { update } = jobs;
    jobs.update = async (tenant, id, ...rest) => {
      const after = await update(tenant, id, ...rest);
      if (id === 'resp_dead' && after?.status === 'queued') recoveredAt = now();
      return after;
    };
    await run();
    expect(recoveredAt).toBeGreaterThanOrEqual(deadAt);
    expect(recoveredAt).toBeLessThanOrEqual(deadAt + 30_000);
    expect(queue.tickets.length).toBeLessThan(2_000);
  });

  it('goes on if a pass cannot be reported', async () => {
    const { run, jobs, now, errors } = createSweepFunction();
    await jobs.create(aJob(), { purpose: 'run', queue: 'jobs', dueAt: now() });
    await run(undefined, () => {
      throw new Error('stdout is closed');
    });
    expect(errors).toHaveLength(4 * SWEEP_PURPOSES.length);
  });

  it('goes on if the backlog cannot be counted', async () => {
    const { run, jobs, now, queue, errors } = createSweepFunction();
    await jobs.create(aJob(), { purpose: 'wake', queue: 'jobs', dueAt: now() });
    jobs.count = () => Promise.reject(new Error('throttled'));
    expect((await run()).passes).toHaveLength(4);
    expect(queue.ids()).toEqual(['resp_1']);
    expect(errors).toEqual(['backlog not counted', 'backlog not counted']);
  });

  it('replaces the tickets of a purged queue within four runs, each once', async () => {
    const { run, jobs, now, counted, queue } = createSweepFunction();
    const ids = Array.from({ length: 30 }, (_, index) => `resp_${index}`);
    for (const id of ids) await jobs.create(aJob({ id }), { purpose: 'wait', queue: 'jobs', dueAt: now() + 1_000_000 });
    counted.tickets = 30;
    for (let minute = 0; minute < 3; minute += 1) await run();
    expect(queue.tickets).toEqual([]);
    counted.tickets = 0;
    for (let minute = 0; minute < 4; minute += 1) {
      await run();
      counted.tickets = queue.tickets.length;
    }
    expect([...queue.ids()].sort()).toEqual([...ids].sort());
  });
});

describe('a purpose of the sweep', () => {
  it('that has much to do does not keep the passes of the others', async () => {
    const { run, jobs, now, time, ports } = createSweepFunction();
    const { postpone } = jobs;
    jobs.postpone = async (entry, to) => {
      await time.sleep(5_000);
      return postpone(entry, to);
    };
    for (let index = 0; index < 1_000; index += 1)
      await jobs.create(aJob({ id: `resp_${index}` }), { purpose: 'wake', queue: 'jobs', dueAt: now() });
    expect((await run()).passes).toEqual([0, 15, 30, 45]);
    expect(await jobs.list('wake#jobs#0', ports.now(), { limit: 1 })).toMatchObject({ entries: [{}] });
  });

  it('is not kept by tickets that are replaced, nor one queue by the tickets of another', async () => {
    const { run, jobs, now, time, counted, queue } = createSweepFunction();
    const { send } = queue;
    queue.send = async (tickets) => {
      if (tickets.every(({ lane }) => lane === undefined)) await time.sleep(40_000);
      return send(tickets);
    };
    for (let index = 0; index < 300; index += 1) {
      const lane = index < 200 ? {} : ({ lane: 'gpu' } as const);
      const entry = { purpose: 'wait', queue: lane.lane ?? 'jobs', dueAt: now() + 1_000_000 } as const;
      await jobs.create(aJob({ id: `resp_${index}`, ...lane }), entry);
    }
    counted.tickets = 0;
    const passes: number[] = [];
    for (let minute = 0; minute < 3; minute += 1) passes.push(...(await run()).passes);
    expect(passes).toEqual([0, 15, 30, 45, 0, 15, 30, 45, 0, 15, 30, 45]);
    expect(queue.tickets.filter(({ lane }) => lane === 'gpu')).toHaveLength(100);
    expect(queue.tickets[0]).toMatchObject({ lane: 'gpu' });
  });
});

describe('several sweeps that share the shards', () => {
  it('attend to each entry once, and only the first counts the backlogs', async () => {
    const { run, jobs, now, ports, queue } = createSweepFunction();
    const shards = 5;
    const wide = createMemoryStore(now, undefined, { shards });
    Object.assign(jobs, wide);
    Object.assign(ports, { shards });
    const ids = Array.from({ length: 60 }, (_, index) => `resp_${index}`);
    for (const id of ids) await jobs.create(aJob({ id }), { purpose: 'wake', queue: 'jobs', dueAt: now() });
    const shares: number[] = [];
    for (const part of [2, 1, 0]) {
      const before = queue.tickets.length;
      const { backlogs, passes } = await run({ part, parts: 3 });
      shares.push(queue.tickets.length - before);
      expect(backlogs).toEqual(part === 0 ? { jobs: 60, gpu: 0 } : {});
      expect(passes).toEqual([0, 15, 30, 45]);
    }
    expect(shares.every((share) => share > 0 && share < 60)).toBe(true);
    expect([...queue.ids()].sort()).toEqual([...ids].sort());
  });

  it('read their part from the event of their schedule', () => {
    expect(parseSweepPart({ part: 1, parts: 2 })).toEqual({ part: 1, parts: 2 });
    for (const other of [
      { 'detail-type': 'Scheduled Event' },
      { part: 2, parts: 2 },
      { part: -1, parts: 2 },
      undefined,
    ])
      expect(parseSweepPart(other)).toBeUndefined();
  });

  it('make one pass each while no job waits or runs in their shards', async () => {
    const { run } = createSweepFunction();
    expect((await run({ part: 1, parts: 2 })).passes).toEqual([0]);
  });
});

describe('the backlog watch', () => {
  /** Takes a sample per minute, of jobs with tickets and of messages that SQS counts. Returns the missing tickets. */
  async function watchMinutes(samples: readonly (readonly [ticketed: number, tickets: number])[]) {
    let tickets = 0;
    const watch = createBacklogWatch(async () => tickets, JOB_TIMINGS, createMemorySamples());
    const missing: number[] = [];
    for (const [minute, [ticketed, counted]] of samples.entries()) {
      tickets = counted;
      missing.push(await watch.findMissing('jobs', { waiting: 0, ticketed }, START + minute * MINUTE_MS));
    }
    return missing;
  }

  it('reports nothing while a backlog grows and SQS counts a minute late', async () => {
    expect(
      await watchMinutes([
        [0, 0],
        [1_000, 0],
        [2_000, 1_000],
        [3_000, 2_000],
        [4_000, 3_000],
      ]),
    ).toEqual([0, 0, 0, 0, 0]);
  });

  it('reports nothing while a backlog shrinks', async () => {
    expect(
      await watchMinutes([
        [3_000, 3_000],
        [2_000, 2_900],
        [1_000, 1_900],
        [0, 900],
      ]),
    ).toEqual([0, 0, 0, 0]);
  });

  it('reports tickets that are missing in two samples in a row', async () => {
    expect(
      await watchMinutes([
        [100, 100],
        [100, 0],
        [100, 0],
        [100, 100],
      ]),
    ).toEqual([0, 0, 100, 0]);
  });

  it('reports nothing for a single low count, or after a long silence', async () => {
    expect(
      await watchMinutes([
        [100, 100],
        [100, 0],
        [100, 100],
        [100, 0],
      ]),
    ).toEqual([0, 0, 0, 0]);
    const watch = createBacklogWatch(async () => 0, JOB_TIMINGS, createMemorySamples());
    for (const minute of [0, 1, 10]) {
      const at = START + minute * MINUTE_MS;
      expect(await watch.findMissing('jobs', { waiting: 0, ticketed: 5 }, at)).toBe(0);
    }
  });

  it('counts the messages of each queue at most once a minute, and not of a queue without jobs', async () => {
    const counts: string[] = [];
    const watch = createBacklogWatch(
      async (queue) => {
        counts.push(queue);
        return 0;
      },
      JOB_TIMINGS,
      createMemorySamples(),
    );
    for (const at of [START, START + 15_000, START + MINUTE_MS]) {
      await watch.findMissing('jobs', { waiting: 1, ticketed: 1 }, at);
      await watch.findMissing('gpu', { waiting: 0, ticketed: 0 }, at);
    }
    expect(counts).toEqual(['jobs', 'jobs']);
  });
});
