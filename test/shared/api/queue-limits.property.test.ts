import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Limits } from '../../../shared/access/limit-policy.ts';
import type { Policy } from '../../../shared/access/policy.ts';
import type { Job } from '../../../shared/jobs/job.ts';
import { listEntries, listPages } from '../../../shared/limits/ledger-entry.ts';
import { listQueueCaps } from '../../../shared/limits/queue-caps.ts';
import { QueueWorld, type Sent } from './queue-world.ts';

const limits = fc.record(
  {
    jobsQueued: fc.integer({ min: 1, max: 150 }),
    jobBytesQueued: fc.integer({ min: 300, max: 60_000 }),
    gpuWeightWaiting: fc.integer({ min: 800, max: 30_000 }),
  },
  { requiredKeys: [] },
) as fc.Arbitrary<Limits>;

const TENANTS = ['acme', 'beta'] as const;
const KEYS = ['one', 'two'] as const;

/** A world with 200 jobs that are sent at once while others end, and that checks each limit after each step. */
async function run(policy: Policy, options: { seed: number; faults: number; stepMs: number }) {
  /** What each job counts, and whose it is, by its id. */
  const sent = new Map<string, Sent>();
  const caps = listQueueCaps(policy);
  const check = (world: QueueWorld) => {
    const open = world.listOpen();
    for (const { level, metric, max, name } of caps) {
      const sums = new Map<string, number>();
      for (const job of open) {
        const { keyId = '' } = sent.get(job.id) ?? {};
        const scope = { account: '', project: job.tenant, key: `${job.tenant} ${keyId}` }[level];
        sums.set(scope, (sums.get(scope) ?? 0) + amountOf(job, metric, sent));
      }
      for (const [scope, sum] of sums) expect(sum, `${level} ${name} ${scope}`).toBeLessThanOrEqual(Number(max));
    }
  };
  const world = new QueueWorld({ ...options, policy }, check);
  const environments = Array.from({ length: 8 }, () => world.createLimits());
  const pick = <T>(from: readonly T[]): T => from[Math.floor(world.random() * from.length)] as T;
  for (let wave = 0; wave < 4; wave += 1) {
    for (let index = 0; index < 50; index += 1) {
      const id = `resp_${wave}-${index}`;
      const job = { tenant: pick(TENANTS), keyId: pick(KEYS), id, isGpu: world.random() < 0.5 };
      const message = { ...job, text: 'x'.repeat(Math.floor(world.random() * 300)) };
      sent.set(id, message);
      world.send(pick(environments), message);
      // Some messages are delivered twice.
      if (world.random() < 0.1) world.send(pick(environments), message);
    }
    await world.finish();
    for (const job of world.listOpen()) if (world.random() < 0.6) world.end(job);
    if (world.random() < 0.3) world.now += 20 * 60_000;
  }
  await world.finish();
  return world;
}

/** The least that a job counts: what is compared must not depend on how it is counted. */
function amountOf(job: Job, metric: 'jobs' | 'bytes' | 'weight', sent: ReadonlyMap<string, Sent>): number {
  if (metric === 'jobs') return 1;
  if (metric === 'weight') return job.lane === 'gpu' ? 700 : 0;
  return sent.get(job.id)?.text.length ?? 0;
}

describe('limits on queued work', () => {
  it('limits are never exceeded by parallel acceptances, some of which die at any call', async () => {
    const worlds = { accepted: 0, refused: 0, pages: 0 };
    await fc.assert(
      fc.asyncProperty(
        fc.record({
          seed: fc.integer(),
          account: limits,
          project: limits,
          key: limits,
          faults: fc.constantFrom(0, 0.01, 0.1),
          stepMs: fc.constantFrom(1, 50, 500),
        }),
        async ({ account, project, key, ...options }) => {
          const policy = { account: { limits: account }, project: { limits: project }, key: { limits: key } };
          const world = await run(policy, options);
          worlds.accepted += world.accepted;
          worlds.refused += world.refused;
          for (const counters of world.counters.items.values()) worlds.pages += listPages(counters).length;
        },
      ),
      { numRuns: Number(process.env['LIMIT_RUNS'] ?? 10) },
    );
    // The property holds for worlds in which something happens.
    expect(Math.min(worlds.accepted, worlds.refused)).toBeGreaterThan(10);
  });

  it('limits get back the place of each job, however it ends and whichever function dies', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.record({ seed: fc.integer(), faults: fc.constantFrom(0.05, 0.3), stepMs: fc.constantFrom(1, 500) }),
        async (options) => {
          const all = { jobsQueued: 150, jobBytesQueued: 1_000_000, gpuWeightWaiting: 1_000_000 };
          const policy = { account: { limits: all }, project: { limits: all }, key: { limits: all } };
          const world = await run(policy, options);
          await world.sweep();
          expect(world.listOpen()).toEqual([]);
          for (const [pk, counters] of world.counters.items) {
            if (!pk.startsWith('jobs#')) continue;
            expect(listEntries(counters), pk).toEqual([]);
            expect(listPages(counters), pk).toEqual([]);
            const sums = Object.entries(counters).filter(([name, value]) => /^[pk]\./.test(name) && value !== 0n);
            expect(sums, pk).toEqual([]);
          }
          // And all of the limit can be used again, once the other tenant's portions have been taken back.
          world.faults = 0;
          const limits = world.createLimits();
          const before = world.accepted;
          for (let index = 0; index < 200; index += 1) {
            world.send(limits, { tenant: 'acme', keyId: 'one', id: `resp_again${index}`, isGpu: false, text: '' });
            if (index % 10 === 9) await world.finish();
            if (index > 120) world.now += 1_001;
          }
          await world.finish();
          expect(world.accepted - before).toBe(150);
        },
      ),
      { numRuns: Number(process.env['LIMIT_RUNS'] ?? 4) },
    );
  });

  it('limits let exactly as many of 200 parallel jobs pass as they allow', async () => {
    const policy = { account: { limits: { jobsQueued: 120 } }, project: { limits: { jobsQueued: 100 } } };
    const world = new QueueWorld({ seed: 1, policy, faults: 0, stepMs: 1 }, () => {});
    const environments = Array.from({ length: 8 }, () => world.createLimits());
    environments.push(...environments);
    for (let index = 0; index < 200; index += 1) {
      const limits = environments[index % environments.length];
      if (limits === undefined) throw new Error('no environment');
      world.send(limits, { tenant: 'acme', keyId: 'one', id: `resp_${index}`, isGpu: false, text: 'Hello' });
    }
    await world.finish();
    expect(world.accepted).toBe(100);
    expect(world.refused).toBe(100);
  });
});
