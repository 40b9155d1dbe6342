import { describe, expect, it } from 'vitest';
import { BODY_OVERHEAD_BYTES, computeItemLimitKb } from '../../bench/body-limit.ts';
import { computeOperationUnits } from '../../bench/job-units.ts';
import { computeNeeds } from '../../bench/load-limits.ts';
import { computeManagedCost, findManagedBreakEven } from '../../bench/managed-cost.ts';
import { computeMillionDue } from '../../bench/sweep-cost.ts';
import { BODY_ITEM_BYTES } from '../../shared/jobs/dynamodb-blobs.ts';

it('bodies are items as long as that costs less than an object at list prices', () => {
  expect([1, 2].map(computeItemLimitKb)).toEqual([8, 8]);
  expect(BODY_ITEM_BYTES).toBe(Math.floor((8 * 1024 - BODY_OVERHEAD_BYTES) / 1_000) * 1_000);
});

describe('the units of a job', () => {
  it('are those that docs/jobs.md gives: an index entry costs two units when it moves, and a renewal writes none', async () => {
    const units = await computeOperationUnits();
    expect(Object.fromEntries(units.map(({ operation, table, index }) => [operation, [table, index]]))).toEqual({
      creation: [1, 1],
      'ticket sent': [1, 2],
      claim: [1, 2],
      'renewal, every 15 s': [1, 0],
      'begin (first token)': [1, 0],
      commit: [1, 1],
      'commit with a reply': [1, 2],
      'steps done': [1, 1],
      release: [1, 2],
      'recovery of a dead holder’s job': [1, 2],
      'move by the sweep': [1, 2],
    });
  });
});

it('a million due jobs take less than 30 minutes with up to 1.4 ms of CPU each, and no key takes more writes than one may', () => {
  expect(computeMillionDue(1.4, 3).minutes).toBeLessThan(30);
  // However fast the CPU is, the index takes no more.
  expect(computeMillionDue(0.1, 3).minutes).toBeCloseTo(15);
});

it('a need breaks at the rate at which it reaches its limit', () => {
  const load = { jobSeconds: 10, places: 4, writeUnits: 15, shards: 4, objectShare: 1 };
  for (const { what, breaksAt, limit } of computeNeeds({ ...load, rate: 10_000 })) {
    const same = computeNeeds({ ...load, rate: breaksAt }).find((need) => need.what === what);
    expect(same?.needed).toBeCloseTo(limit);
  }
});

it('managed instances cost at least three instances, more ones only with more streams, and less than the default from the break-even on', () => {
  expect(computeManagedCost(0.01, 10)).toMatchObject({ streams: 0.1, instances: 3 });
  // 32 environments of chat, of which each has 32 of its 64 streams, and six others, four on each instance.
  expect(computeManagedCost(100, 10)).toMatchObject({ streams: 1_000, instances: 10 });
  for (const cost of ['managed', 'managedWithNetwork'] as const) {
    const rate = findManagedBreakEven(10, cost);
    const [below, at] = [computeManagedCost(rate - 0.01, 10), computeManagedCost(rate, 10)];
    expect(below[cost]).toBeGreaterThanOrEqual(below.standard);
    expect(at[cost]).toBeLessThan(at.standard);
  }
});
