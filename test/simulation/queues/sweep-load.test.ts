import { describe, expect, it } from 'vitest';
import { createBacklogWatch, createMemorySamples } from '../../../shared/jobs/backlog-watch.ts';
import { createBodies } from '../../../shared/jobs/bodies.ts';
import { createMemoryStore } from '../../../shared/jobs/memory-store.ts';
import type { JobStore } from '../../../shared/jobs/ports.ts';
import { sweepRepeatedly } from '../../../shared/jobs/sweep-run.ts';
import { JOB_TIMINGS } from '../../../shared/jobs/timings.ts';
import { aJob, HOUR_MS, START } from '../../shared/jobs/jobs.ts';
import { createMemoryBlobs } from '../../shared/jobs/memory-blobs.ts';
import { recordTickets } from '../../shared/jobs/recorded-tickets.ts';
import { aVault } from '../../shared/jobs/services.ts';
import { createVirtualTime } from '../virtual-time.ts';
import { createCrowdStore } from './crowd-store.ts';

const SHARDS = 4;
const RUN_MS = 50_000;
const MINUTE_MS = 60_000;
/** How long an answer of DynamoDB or SQS takes, and of a page of a count. */
const LATENCY_MS = 10;
const COUNT_PAGE_MS = 100;
/** Entries of the index in 1 MB, which a request counts. */
const COUNT_PAGE = 6_000;
/** 1 ms of CPU per job, as measured with the AWS SDK (docs/benchmarks/cost.md), for 2.1 requests. */
const MEASURED_CPU_MS = 0.48;

/** The sweep function before a table with `count` waiting jobs, on virtual time and with one CPU. */
function createSweepUnderLoad(options: { count: number; purpose: 'wake' | 'wait'; cpuMs: number }) {
  const time = createVirtualTime();
  const now = () => START + time.now();
  const others = createMemoryStore(now, undefined, { shards: SHARDS });
  const table = createCrowdStore({ ...options, shards: SHARDS, others, dueAt: dueAtOf(options.purpose) });
  const tickets = recordTickets();
  let requests = 0;
  let idleAt = 0;
  const request = async (answerMs = LATENCY_MS) => {
    requests += 1;
    idleAt = Math.max(idleAt, time.now()) + options.cpuMs;
    await time.sleep(idleAt + answerMs - time.now());
  };
  const jobs = new Proxy(table, {
    get: (target, name) => {
      const method: unknown = Reflect.get(target, name);
      if (typeof method !== 'function') return method;
      return async (...parameters: unknown[]): Promise<unknown> => {
        await request();
        const result: unknown = await Reflect.apply(method, target, parameters);
        if (name === 'count')
          for (let page = 1; page < Number(result) / COUNT_PAGE; page += 1) await request(COUNT_PAGE_MS);
        return result;
      };
    },
  }) satisfies JobStore;
  const watch = createBacklogWatch(async () => options.count, JOB_TIMINGS, createMemorySamples());
  const ports = {
    ...{ jobs, timings: JOB_TIMINGS, shards: SHARDS, now, steps: {}, sleep: time.sleep },
    queue: {
      send: async (batch: Parameters<typeof tickets.send>[0]) => {
        await Promise.all(Array.from({ length: Math.ceil(batch.length / 10) }, () => request()));
        return tickets.send(batch);
      },
    },
    bodies: createBodies(aVault(), createMemoryBlobs()),
    onStepFailed: async () => {},
    onError: (what: string, thrown: unknown) => {
      throw new Error(what, { cause: thrown });
    },
  };
  const gauge: number[] = [];
  return {
    ...{ time, now, others, tickets, gauge },
    requests: () => requests,
    /** Runs the function each minute. */
    async run(minutes: number) {
      for (let minute = 0; minute < minutes; minute += 1) {
        time.at(minute * MINUTE_MS, () =>
          sweepRepeatedly(ports, watch, {
            until: now() + RUN_MS,
            onPass: () => {},
            onBacklog: (queue, { waiting }) => {
              if (queue === 'jobs') gauge.push(waiting);
            },
          }),
        );
      }
      await time.run();
    },
  };
}

function dueAtOf(purpose: 'wake' | 'wait'): number {
  return purpose === 'wake' ? START : START + HOUR_MS / 2;
}

describe('the sweep with a million waiting jobs', () => {
  it.each(['wake', 'wait'] as const)(
    'finds each dead holder within 30 s of the end of its grace period (all others in %s)',
    async (purpose) => {
      // A fifth of the CPU that the sweep has by default.
      const world = createSweepUnderLoad({ count: 1_000_000, purpose, cpuMs: 5 * MEASURED_CPU_MS });
      const { leaseMs, graceMs } = JOB_TIMINGS;
      const deaths = [1, 10, 16, 31, 46, 52, 59, 75].map((second) => START + second * 1_000);
      for (const [index, deadAt] of deaths.entries()) {
        const leaseExpiresAt = deadAt - graceMs;
        const startedAt = leaseExpiresAt - leaseMs;
        const held = { status: 'in_progress', epoch: 1, owner: 'w', leaseExpiresAt, startedAt } as const;
        const entry = { purpose: 'run', queue: 'jobs', dueAt: startedAt } as const;
        await world.others.create(aJob({ id: `resp_${index}`, ...held }), entry);
      }
      const recoveredAt = new Map<string, number>();
      const { update } = world.others;
      world.others.update = async (tenant, id, ...rest) => {
        const after = await update(tenant, id, ...rest);
        if (after?.status === 'queued' && !recoveredAt.has(id)) recoveredAt.set(id, world.now());
        return after;
      };
      await world.run(2);
      const delays = deaths.map((deadAt, index) => (recoveredAt.get(`resp_${index}`) ?? Number.NaN) - deadAt);
      for (const delay of delays) {
        expect(delay).toBeGreaterThanOrEqual(0);
        expect(delay).toBeLessThanOrEqual(30_000);
      }
      expect(world.gauge[0]).toBeGreaterThan(950_000);
    },
  );
});

describe('the sweep at the measured CPU time', () => {
  it('sends tickets for due jobs fast enough for a million in 30 minutes', async () => {
    const count = 20_000;
    const world = createSweepUnderLoad({ count, purpose: 'wake', cpuMs: MEASURED_CPU_MS });
    let doneAt = 0;
    const { send } = world.tickets;
    world.tickets.send = async (batch) => {
      const accepted = await send(batch);
      if (world.tickets.tickets.length === count) doneAt = world.time.now();
      return accepted;
    };
    await world.run(1);
    expect(world.tickets.tickets).toHaveLength(count);
    // A run works for 50 s of each minute.
    const shareMs = 30 * MINUTE_MS * (count / 1_000_000) * (RUN_MS / MINUTE_MS);
    expect(doneAt).toBeLessThanOrEqual(shareMs);
    // A move of the entry, a record of the ticket, a tenth of a send, and pages.
    expect(world.requests() / count).toBeLessThan(2.2);
  });
});
