import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { countBatchSlots, decideConcurrency } from '../../../../shared/gpu/upkeep/dispatch-concurrency.ts';
import { computeNeed, needsFirstWorker, shareQueue } from '../../../../shared/gpu/upkeep/scaling.ts';
import { aLease, anUnmet, aWaiter, aWorker, START } from '../fleets.ts';
import { aDefinition } from './upkeep-world.ts';

const NONE = { workers: [], waiters: [], unmet: [] };
/** 60,000 tokens a minute each. */
const definition = aDefinition({ slots: 4 });
const need = (view: Parameters<typeof computeNeed>[0], queued = 0, fleet = definition) =>
  computeNeed(view, queued, fleet, START);
const batch = (weight: number) => aLease({ tier: 'batch', weight });

describe('what a fleet needs', () => {
  test('is nothing when nothing runs and nothing waits', () => {
    expect(need(NONE)).toMatchObject({ backlogTokens: 0, neededWorkers: 0, waiting: 0 });
  });

  test('is a worker for each 60,000 tokens that wait, when each does 1,000 a second and a minute is fine', () => {
    const view = { workers: [aWorker({ leases: { a: batch(10_000), b: batch(20_000) } })], waiters: [], unmet: [] };
    // 30,000 tokens in hand, and four queued jobs of 15,000 each.
    expect(need(view, 4)).toMatchObject({ backlogTokens: 90_000, neededWorkers: 2, waiting: 4, freeSlots: 2 });
  });

  test('takes a queued job for a typical one while none runs', () => {
    expect(need(NONE, 10)).toMatchObject({ backlogTokens: 16_000, neededWorkers: 1 });
  });

  test('is a worker for each three interactive requests of four slots', () => {
    const leases = Object.fromEntries(['a', 'b', 'c', 'd'].map((id) => [id, aLease({ weight: 0 })]));
    expect(need({ workers: [aWorker({ leases })], waiters: [], unmet: [] }).neededWorkers).toBe(2);
    expect(need({ workers: [aWorker({ leases })], waiters: [aWaiter({ weight: 0 })], unmet: [] })).toMatchObject({
      neededWorkers: 2,
      waiting: 1,
      freeSlots: 0,
    });
  });

  test('counts the dead for nothing', () => {
    const leases = { dead: aLease({ expiresAt: START }) };
    const view = {
      workers: [aWorker({ leases })],
      waiters: [aWaiter({ expiresAt: START - 1 })],
      unmet: [anUnmet({ expiresAt: START })],
    };
    expect(need(view)).toMatchObject({ backlogTokens: 0, neededWorkers: 0, waiting: 0, freeSlots: 4 });
  });

  test('counts who was refused as who waits, and not beside who waits for the same model', () => {
    const unmet = [anUnmet({ weight: 30_000 })];
    expect(need({ ...NONE, unmet })).toMatchObject({ backlogTokens: 30_000, neededWorkers: 1, waiting: 1 });
    expect(need({ ...NONE, waiters: [aWaiter()], unmet })).toMatchObject({ backlogTokens: 300, waiting: 1 });
    expect(need({ ...NONE, waiters: [aWaiter({ model: 'other' })], unmet }).waiting).toBe(2);
  });

  test('counts workers by their states, and the slots of those that are ready', () => {
    const states = (['ready', 'ready', 'suspect', 'draining'] as const).map((state, index) =>
      aWorker({ id: `w${index}`, state, leases: { [`l${index}`]: aLease() } }),
    );
    expect(need({ workers: states, waiters: [], unmet: [] })).toMatchObject({
      readyWorkers: 2,
      suspectWorkers: 1,
      drainingWorkers: 1,
      slots: 8,
      freeSlots: 6,
    });
  });

  test('grows with what waits, within its bounds', () => {
    const scaling = { ...definition.scaling, minWorkers: 1, maxWorkers: 5 };
    fc.assert(
      fc.property(fc.nat(10_000), fc.nat(10_000), (queued, more) => {
        const few = need(NONE, queued, { ...definition, scaling }).neededWorkers;
        const many = need(NONE, queued + more, { ...definition, scaling }).neededWorkers;
        expect(few).toBeLessThanOrEqual(many);
        expect(few).toBeGreaterThanOrEqual(1);
        expect(many).toBeLessThanOrEqual(5);
      }),
    );
  });
});

describe("the one queue's jobs", () => {
  test('are shared by the batch work in hand, and all of them are', () => {
    const busy = { workers: [aWorker({ leases: { a: batch(1), b: batch(1), c: aLease() } })], waiters: [], unmet: [] };
    expect(shareQueue(8, [busy, NONE], START)).toEqual([6, 2]);
    expect(shareQueue(8, [NONE], START)).toEqual([8]);
    expect(shareQueue(0, [NONE, NONE], START)).toEqual([0, 0]);
  });
});

describe('a first worker', () => {
  const nobody = { desired: 0, alive: 0 };
  test('is asked for when something waits and none is there or on its way', () => {
    expect(needsFirstWorker(need(NONE, 1), nobody)).toBe(true);
    expect(needsFirstWorker(need({ ...NONE, waiters: [aWaiter()] }), nobody)).toBe(true);
    expect(needsFirstWorker(need({ ...NONE, unmet: [anUnmet()] }), nobody)).toBe(true);
  });

  test.each([
    ['nothing waits', need(NONE), nobody],
    ['one is asked for', need(NONE, 1), { desired: 1, alive: 0 }],
    ['one is there still', need(NONE, 1), { desired: 0, alive: 1 }],
    ['another machine is ready', need({ workers: [aWorker()], waiters: [], unmet: [] }, 1), nobody],
    ['it may have none', need(NONE, 1, { ...definition, scaling: { ...definition.scaling, maxWorkers: 0 } }), nobody],
  ])('is not when %s', (_, what, counts) => {
    expect(needsFirstWorker(what, counts)).toBe(false);
  });
});

describe("dispatchers' concurrency", () => {
  test('is as many as hold a job for each batch slot', () => {
    expect(countBatchSlots([{ slots: 32 }, { slots: 5 }], 0.25)).toBe(24 + 3);
    expect(decideConcurrency(2, 27, 1, 1_000)).toBe(27);
    expect(decideConcurrency(2, 27, 10, 1_000)).toBe(3);
  });

  test.each([
    ['rises at once', 10, 11, 11],
    ['stays for a little less', 10, 8, undefined],
    ['falls for much less', 10, 7, 7],
    ['stays as it is', 10, 10, undefined],
    ['is not below what Lambda takes', 5, 0, 2],
    ['is not above what the account has for it', 5, 5_000, 100],
    ['falls to that at once', 101, 5_000, 100],
    ['stays at the least', 2, 0, undefined],
    ['is set where there was none', undefined, 8, 8],
  ])('%s', (_, current, slots, expected) => {
    expect(decideConcurrency(current, slots, 1, 100)).toBe(expected);
  });
});
