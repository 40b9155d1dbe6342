import { describe, expect, test } from 'vitest';
import { checkSlots, type SlotCheck } from './slot-check.ts';

const scenarios: Record<string, SlotCheck> = {
  'two on the last slot, heartbeats': { contenders: 2, slots: 1, budget: { ticks: 3 }, tickMs: 15_000 },
  'two on the last slot, leases that run out': { contenders: 2, slots: 1, budget: { ticks: 2 }, tickMs: 46_000 },
  'two on the last slot, requests made twice': {
    contenders: 2,
    slots: 1,
    budget: { ticks: 2, repeats: 2 },
    tickMs: 23_000,
  },
  'two on the last slot, answers that never come': {
    contenders: 2,
    slots: 1,
    budget: { ticks: 2, losses: 1 },
    tickMs: 46_000,
  },
  'two on the last slot, a worker that starts anew': {
    contenders: 2,
    slots: 1,
    budget: { ticks: 2, restarts: 1 },
    tickMs: 23_000,
  },
  'two on the last slot, long answers': {
    contenders: 2,
    slots: 1,
    budget: { ticks: 4 },
    tickMs: 23_000,
    answerMs: 60_000,
  },
  'three on two slots, leases that run out': { contenders: 3, slots: 2, budget: { ticks: 1 }, tickMs: 46_000 },
};

describe('in every interleaving no slot is held twice, taken away, or lost for good', () => {
  test.each(Object.entries(scenarios))('with %s', { timeout: 60_000 }, async (_name, check) => {
    const { states } = await checkSlots(check);
    expect(states).toBeGreaterThan(50);
  });
});

describe('the check would find', () => {
  test.each<[string, SlotCheck, RegExp]>([
    [
      'a lease that does not look whether there is room',
      {
        contenders: 2,
        slots: 1,
        budget: {},
        tickMs: 0,
        mutation: (store) => ({ ...store, lease: (fleet, id, ask) => store.lease(fleet, id, { ...ask, cap: 9 }) }),
      },
      /More leases than slots/,
    ],
    [
      'an expired lease that is removed though it was renewed',
      {
        contenders: 2,
        slots: 1,
        budget: { ticks: 2 },
        tickMs: 23_000,
        answerMs: 90_000,
        mutation: (store) => ({
          ...store,
          lease: (fleet, id, ask) => store.lease(fleet, id, { ...ask, now: Number.MAX_SAFE_INTEGER }),
        }),
      },
      /A held slot was taken away/,
    ],
    [
      'expired leases that nobody removes',
      {
        contenders: 2,
        slots: 1,
        budget: { ticks: 1 },
        tickMs: 46_000,
        mutation: (store) => ({ ...store, lease: (fleet, id, ask) => store.lease(fleet, id, { ...ask, expired: [] }) }),
      },
      /did not come back/,
    ],
    [
      'a slot that is not given back',
      {
        contenders: 1,
        slots: 1,
        budget: { ticks: 2 },
        tickMs: 15_000,
        mutation: (store) => ({ ...store, async release() {} }),
      },
      /not given back/,
    ],
  ])('%s', { timeout: 60_000 }, async (_name, check, finding) => {
    await expect(checkSlots(check)).rejects.toThrow(finding);
  });
});
