import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Limits } from '../../../shared/access/limit-policy.ts';
import type { Policy } from '../../../shared/access/policy.ts';
import { amountsOf, runCallers } from './callers.ts';
import { LimitWorld } from './limit-world.ts';
import { MemoryCounters } from './memory-counters.ts';
import { makeWorldFields } from './worlds.ts';

const limits = fc.record(
  {
    requestsPerMinute: fc.integer({ min: 1, max: 60 }),
    requestsPerDay: fc.integer({ min: 1, max: 120 }),
    tokensPerMinute: fc.integer({ min: 1_000, max: 20_000 }),
    tokensPerDay: fc.integer({ min: 1_000, max: 50_000 }),
    requestsInFlight: fc.integer({ min: 1, max: 20 }),
    streamsInFlight: fc.integer({ min: 1, max: 20 }),
    resumedStreamsInFlight: fc.integer({ min: 1, max: 20 }),
    dollarsPerDay: fc.double({ min: 0.01, max: 0.5, noNaN: true }),
    dollarsPerMonth: fc.double({ min: 0.01, max: 0.5, noNaN: true }),
  },
  { requiredKeys: [] },
) as fc.Arbitrary<Limits>;

/** How many keys each tenant has, and how often the sweep runs meanwhile. */
const sweeping = { keys: fc.constantFrom(3, 40), sweeps: fc.constantFrom(0, 3, 12) };

const world = fc.record({
  ...makeWorldFields(limits),
  ...sweeping,
  faults: fc.constantFrom(0, 0.01, 0.1),
  stepMs: fc.constantFrom(1, 50, 500),
});

describe('limits', () => {
  it('are never exceeded by 200 parallel callers, some of which die at any moment', async () => {
    let grown = 0;
    await fc.assert(
      fc.asyncProperty(world, async ({ account, project, model, key, ...options }) => {
        const policy = {
          account: { limits: account },
          project: { limits: { ...project, models: { 'org/large.v2': model } } },
          key: { limits: key },
        };
        const { callers } = await runCallers({ ...options, store: new MemoryCounters(), policy, callers: 200 });
        grown += callers.grown;
        for (const { cap, window, used } of callers.listUse()) {
          expect(used, `${cap.level} ${cap.name} ${window}`).toBeLessThanOrEqual(cap.max);
        }
        for (const [id, { most }] of callers.inFlight)
          expect(most, id).toBeLessThanOrEqual(Number(id.split(' ').at(-1)));
      }),
      { numRuns: Number(process.env['LIMIT_RUNS'] ?? 40) },
    );
    expect(grown).toBeGreaterThan(0);
  });

  it('get back every place and reservation of callers that died', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.record({
          ...sweeping,
          seed: fc.integer(),
          places: fc.integer({ min: 1, max: 20 }),
          faults: fc.constantFrom(0.05, 0.3),
        }),
        async ({ seed, places, faults, keys, sweeps }) => {
          const flying = { requestsInFlight: places, streamsInFlight: places, resumedStreamsInFlight: places };
          const policy = {
            account: { limits: flying },
            project: { limits: { ...flying, models: { small: flying, 'org/large.v2': flying } } },
            key: { limits: flying },
          };
          const store = new MemoryCounters();
          const { callers } = await runCallers({
            store,
            seed,
            policy,
            faults,
            environments: 10,
            stepMs: 100,
            callers: 200,
            keys,
            sweeps,
          });
          callers.now += 18 * 60_000;
          await callers.sweep();
          await callers.sweep();
          let parents = 0;
          for (const [pk, counters] of store.items) {
            if (pk.startsWith('key#')) continue;
            parents += 1;
            const listed = Object.entries(counters).filter(
              ([name, value]) => /^[GB]\./.test(name) || (/^[TL]\./.test(name) && value !== 0n),
            );
            expect(listed, pk).toEqual([]);
          }
          expect(parents).toBeGreaterThan(2);
          for (const [pk, counters] of store.items) {
            const held = Object.entries(counters).filter(
              ([name, value]) => /^k\.[fsu]\.|^b\..*\.n\./.test(name) && value > 0n,
            );
            expect(held, pk).toEqual([]);
          }
          const { most } = amountsOf(() => 0);
          for (const kind of ['answers', 'streams', 'resumed'] as const) {
            const lone = callers.callOf('acme', 'new', 'small', kind, most);
            expect(await callers.callUntilRefused(lone, places + 1), kind).toBe(places);
          }
        },
      ),
      { numRuns: Number(process.env['LIMIT_RUNS'] ?? 40) },
    );
  });

  it('leave at least 95% of a cap to a caller that is alone, even if other keys have portions of it', async () => {
    const metrics = fc.constantFrom(
      'requestsPerMinute',
      'tokensPerDay',
      'dollarsPerMonth',
      'requestsInFlight' as const,
    );
    await fc.assert(
      fc.asyncProperty(
        fc.record({
          seed: fc.integer(),
          metric: metrics,
          level: fc.constantFrom('account', 'project', 'model', 'key' as const),
          others: fc.integer({ min: 0, max: 10 }),
          size: fc.integer({ min: 20, max: 1_000 }),
        }),
        async ({ seed, metric, level, others, size }) => {
          const amounts = { requests: 1n, inputTokens: 4n, outputTokens: 6n, spend: 10_000_000n };
          const max = {
            requestsPerMinute: size,
            tokensPerDay: size * 10,
            dollarsPerMonth: size * 1e-5,
            requestsInFlight: size,
          }[metric];
          const section = { [metric]: max };
          const policy: Policy =
            level === 'model'
              ? { project: { limits: { models: { small: section } } } }
              : { [level]: { limits: section } };
          const store = new MemoryCounters();
          const callers = new LimitWorld({ store, seed, policyOf: () => policy, faults: 0, stepMs: 1 });
          let made = 0;
          if (level !== 'key') {
            for (let index = 0; index < others; index += 1) {
              const tenant = level === 'account' ? `tenant-${index % 3}` : 'acme';
              made += await callers.callUntilRefused(
                callers.callOf(tenant, `key-${index}`, 'small', 'answers', amounts),
                1,
              );
            }
          }
          made += await callers.callUntilRefused(callers.callOf('acme', 'lone', 'small', 'answers', amounts), size + 1);
          expect(made).toBeGreaterThanOrEqual(Math.floor(size * 0.95));
          expect(made).toBeLessThanOrEqual(size);
        },
      ),
      { numRuns: Number(process.env['LIMIT_RUNS'] ?? 100) },
    );
  });
});
