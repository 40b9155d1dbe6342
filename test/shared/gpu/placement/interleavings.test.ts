import { describe, expect, it } from 'vitest';
import { checkSlots, type SlotCheck } from './slot-check.ts';

const scenarios: Record<string, SlotCheck> = {
  'two contenders for the last slot and heartbeats': { contenders: 2, slots: 1, budget: { ticks: 3 }, tickMs: 15_000 },
  'two contenders for the last slot and leases that expire': {
    contenders: 2,
    slots: 1,
    budget: { ticks: 2 },
    tickMs: 46_000,
  },
  'two contenders for the last slot and repeated requests': {
    contenders: 2,
    slots: 1,
    budget: { ticks: 2, repeats: 2 },
    tickMs: 23_000,
  },
  'two contenders for the last slot and lost responses': {
    contenders: 2,
    slots: 1,
    budget: { ticks: 2, losses: 1 },
    tickMs: 46_000,
  },
  'two contenders for the last slot and a worker that restarts': {
    contenders: 2,
    slots: 1,
    budget: { ticks: 2, restarts: 1 },
    tickMs: 23_000,
  },
  'two contenders for the last slot and long answers': {
    contenders: 2,
    slots: 1,
    budget: { ticks: 4 },
    tickMs: 23_000,
    answerMs: 60_000,
  },
  'three contenders for two slots and leases that expire': {
    contenders: 3,
    slots: 2,
    budget: { ticks: 1 },
    tickMs: 46_000,
  },
};

describe('all interleavings of slot leases', () => {
  it.each(Object.entries(scenarios))(
    'no slot is held twice, taken away or lost for good with %s',
    async (_name, check) => {
      const { states } = await checkSlots(check);
      expect(states).toBeGreaterThan(50);
    },
  );
});

describe('the model check of slot leases', () => {
  it.each<[string, SlotCheck, RegExp]>([
    [
      'a lease that ignores the number of slots',
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
      'the removal of a lease that was renewed',
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
      'expired leases that are never removed',
      {
        contenders: 2,
        slots: 1,
        budget: { ticks: 1 },
        tickMs: 46_000,
        mutation: (store) => ({ ...store, lease: (fleet, id, ask) => store.lease(fleet, id, { ...ask, expired: [] }) }),
      },
      /was not recovered/,
    ],
    [
      'a slot that is not released',
      {
        contenders: 1,
        slots: 1,
        budget: { ticks: 2 },
        tickMs: 15_000,
        mutation: (store) => ({ ...store, async release() {} }),
      },
      /not released/,
    ],
  ])('the model check of slot leases finds %s', async (_name, check, finding) => {
    await expect(checkSlots(check)).rejects.toThrow(finding);
  });
});
