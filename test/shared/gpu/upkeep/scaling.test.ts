import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { countBatchSlots, decideConcurrency } from '../../../../shared/gpu/upkeep/dispatch-concurrency.ts';
import { computeNeed, needsFirstWorker, shareQueue } from '../../../../shared/gpu/upkeep/scaling.ts';
import { createLease, createUnmetDemand, createWaiter, createWorker, START } from '../fleets.ts';
import { createFleetDefinition } from './upkeep-world.ts';

const EMPTY = { workers: [], waiters: [], unmet: [] };
/** Each worker processes 60,000 tokens per minute. */
const definition = createFleetDefinition({ slots: 4 });
const need = (view: Parameters<typeof computeNeed>[0], queued = 0, fleet = definition) =>
  computeNeed(view, queued, fleet, START);
const createBatchLease = (weight: number) => createLease({ tier: 'batch', weight });

describe('computeNeed', () => {
  it('an idle fleet needs no worker', () => {
    expect(need(EMPTY)).toMatchObject({ backlogTokens: 0, neededWorkers: 0, waiting: 0 });
  });

  it('a fleet needs one worker per 60,000 tokens of backlog at 1,000 tokens per second and 60 drain seconds', () => {
    const view = {
      workers: [createWorker({ leases: { a: createBatchLease(10_000), b: createBatchLease(20_000) } })],
      waiters: [],
      unmet: [],
    };
    // 30,000 tokens of running jobs, and four queued jobs of 15,000 tokens each.
    expect(need(view, 4)).toMatchObject({ backlogTokens: 90_000, neededWorkers: 2, waiting: 4, freeSlots: 2 });
  });

  it('a queued job counts as a job of typical size while no job runs', () => {
    expect(need(EMPTY, 10)).toMatchObject({ backlogTokens: 16_000, neededWorkers: 1 });
  });

  it('a fleet with four slots per worker needs one worker per three interactive requests', () => {
    const leases = Object.fromEntries(['a', 'b', 'c', 'd'].map((id) => [id, createLease({ weight: 0 })]));
    expect(need({ workers: [createWorker({ leases })], waiters: [], unmet: [] }).neededWorkers).toBe(2);
    expect(
      need({ workers: [createWorker({ leases })], waiters: [createWaiter({ weight: 0 })], unmet: [] }),
    ).toMatchObject({
      neededWorkers: 2,
      waiting: 1,
      freeSlots: 0,
    });
  });

  it('expired leases, waiters and unmet demand do not count', () => {
    const leases = { dead: createLease({ expiresAt: START }) };
    const view = {
      workers: [createWorker({ leases })],
      waiters: [createWaiter({ expiresAt: START - 1 })],
      unmet: [createUnmetDemand({ expiresAt: START })],
    };
    expect(need(view)).toMatchObject({ backlogTokens: 0, neededWorkers: 0, waiting: 0, freeSlots: 4 });
  });

  it('unmet demand counts as waiting unless a waiter for the same model exists', () => {
    const unmet = [createUnmetDemand({ weight: 30_000 })];
    expect(need({ ...EMPTY, unmet })).toMatchObject({ backlogTokens: 30_000, neededWorkers: 1, waiting: 1 });
    expect(need({ ...EMPTY, waiters: [createWaiter()], unmet })).toMatchObject({ backlogTokens: 300, waiting: 1 });
    expect(need({ ...EMPTY, waiters: [createWaiter({ model: 'other' })], unmet }).waiting).toBe(2);
  });

  it('workers are counted by state, and only slots of ready workers are counted', () => {
    const states = (['ready', 'ready', 'suspect', 'draining'] as const).map((state, index) =>
      createWorker({ id: `w${index}`, state, leases: { [`l${index}`]: createLease() } }),
    );
    expect(need({ workers: states, waiters: [], unmet: [] })).toMatchObject({
      readyWorkers: 2,
      suspectWorkers: 1,
      drainingWorkers: 1,
      slots: 8,
      freeSlots: 6,
    });
  });

  it('the number of needed workers grows with the queue within its limits', () => {
    const scaling = { ...definition.scaling, minWorkers: 1, maxWorkers: 5 };
    fc.assert(
      fc.property(fc.nat(10_000), fc.nat(10_000), (queued, more) => {
        const few = need(EMPTY, queued, { ...definition, scaling }).neededWorkers;
        const many = need(EMPTY, queued + more, { ...definition, scaling }).neededWorkers;
        expect(few).toBeLessThanOrEqual(many);
        expect(few).toBeGreaterThanOrEqual(1);
        expect(many).toBeLessThanOrEqual(5);
      }),
    );
  });
});

describe('shareQueue', () => {
  it('the queued jobs are divided in proportion to the batch work of each fleet', () => {
    const busy = {
      workers: [createWorker({ leases: { a: createBatchLease(1), b: createBatchLease(1), c: createLease() } })],
      waiters: [],
      unmet: [],
    };
    expect(shareQueue(8, [busy, EMPTY], START)).toEqual([6, 2]);
    expect(shareQueue(8, [EMPTY], START)).toEqual([8]);
    expect(shareQueue(0, [EMPTY, EMPTY], START)).toEqual([0, 0]);
  });
});

describe('needsFirstWorker', () => {
  const noTasks = { desired: 0, alive: 0 };
  it('a first worker is needed if work waits and no worker is there or starting', () => {
    expect(needsFirstWorker(need(EMPTY, 1), noTasks)).toBe(true);
    expect(needsFirstWorker(need({ ...EMPTY, waiters: [createWaiter()] }), noTasks)).toBe(true);
    expect(needsFirstWorker(need({ ...EMPTY, unmet: [createUnmetDemand()] }), noTasks)).toBe(true);
  });

  it.each([
    ['no work waits', need(EMPTY), noTasks],
    ['one task is desired', need(EMPTY, 1), { desired: 1, alive: 0 }],
    ['one task still runs', need(EMPTY, 1), { desired: 0, alive: 1 }],
    ['another worker is ready', need({ workers: [createWorker()], waiters: [], unmet: [] }, 1), noTasks],
    [
      'the fleet may have no workers',
      need(EMPTY, 1, { ...definition, scaling: { ...definition.scaling, maxWorkers: 0 } }),
      noTasks,
    ],
  ])('no first worker is needed if %s', (_, fleetNeed, counts) => {
    expect(needsFirstWorker(fleetNeed, counts)).toBe(false);
  });
});

describe('decideConcurrency', () => {
  it('the concurrency is the number of batch slots divided by the batch size', () => {
    expect(countBatchSlots([{ slots: 32 }, { slots: 5 }], 0.25)).toBe(24 + 3);
    expect(decideConcurrency(2, 27, 1, 1_000)).toBe(27);
    expect(decideConcurrency(2, 27, 10, 1_000)).toBe(3);
  });

  it.each([
    ['rises immediately', 10, 11, 11],
    ['stays if slightly less is wanted', 10, 8, undefined],
    ['falls if much less is wanted', 10, 7, 7],
    ['stays if the same is wanted', 10, 10, undefined],
    ['is at least the minimum of Lambda', 5, 0, 2],
    ['is at most the account’s limit', 5, 5_000, 100],
    ['falls to the account’s limit immediately', 101, 5_000, 100],
    ['stays at the minimum', 2, 0, undefined],
    ['is set if there was no limit', undefined, 8, 8],
  ])('the concurrency %s', (_, current, slots, expected) => {
    expect(decideConcurrency(current, slots, 1, 100)).toBe(expected);
  });
});
