import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Limits } from '../../../shared/access/limit-policy.ts';
import type { Policy } from '../../../shared/access/policy.ts';
import { MemoryCounters } from '../limits/memory-counters.ts';
import { makeWorldFields } from '../limits/worlds.ts';
import { BrokenCalls } from './broken-calls.ts';

const limits = fc.record(
  {
    tokensPerMinute: fc.integer({ min: 500, max: 10_000 }),
    tokensPerDay: fc.integer({ min: 500, max: 20_000 }),
    dollarsPerDay: fc.double({ min: 0.005, max: 0.5, noNaN: true }),
    dollarsPerMonth: fc.double({ min: 0.005, max: 0.5, noNaN: true }),
    requestsInFlight: fc.integer({ min: 1, max: 50 }),
  },
  { requiredKeys: [] },
) as fc.Arbitrary<Limits>;

const world = fc.record({
  ...makeWorldFields(limits),
  fallback: limits,
  reasons: fc.boolean(),
});

const RUNS = { numRuns: Number(process.env['LIMIT_RUNS'] ?? 20), endOnFailure: true };

/** Lets 200 callers call at once, and returns them when all have ended or died. */
async function run(options: typeof world extends fc.Arbitrary<infer T> ? T & { readonly faults: number } : never) {
  const { account, project, model, fallback, key, ...rest } = options;
  const policy: Policy = {
    account: { limits: account },
    project: { limits: { ...project, models: { default: model, spare: fallback } } },
    key: { limits: key },
  };
  const store = new MemoryCounters();
  const calls = new BrokenCalls({ ...rest, store, policy });
  await calls.run(200);
  return { calls, store };
}

describe('limits of calls whose attempts break off and are retried', () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] }));
  afterEach(() => void vi.useRealTimers());

  it('are never exceeded by 200 parallel callers, some of which die at any moment', async () => {
    let retries = 0;
    await fc.assert(
      fc.asyncProperty(world, fc.constantFrom(0, 0.01, 0.1), async (options, faults) => {
        const { calls, store } = await run({ ...options, faults });
        for (const { name, used, max } of calls.listUse()) expect(used, name).toBeLessThanOrEqual(max);
        retries += calls.retries;
        await calls.sweep();
        for (const [pk, counters] of store.items) {
          const held = Object.entries(counters).filter(([name, value]) => /^b\..*\.n\./.test(name) && value > 0n);
          expect(held, pk).toEqual([]);
        }
      }),
      RUNS,
    );
    expect(retries).toBeGreaterThan(0);
  });

  it('leave nothing reserved, and count at least what was used', async () => {
    await fc.assert(
      fc.asyncProperty(world, async (options) => {
        const { calls, store } = await run({ ...options, faults: 0 });
        for (const [pk, counters] of store.items) {
          const reserved = Object.entries(counters).filter(([name, value]) => name.startsWith('b.') && value !== 0n);
          expect(reserved, pk).toEqual([]);
        }
        for (const { name, used, counted } of calls.listUse()) {
          if (counted !== undefined) expect(counted, name).toBeGreaterThanOrEqual(used);
        }
      }),
      RUNS,
    );
  });
});
