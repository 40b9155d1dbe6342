import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { findBacklogEnd, runIdealQueue } from './ideal-queue.ts';

/** Creates jobs from `[tenant, arrival, duration]`. */
const createJobs = (...jobs: readonly (readonly [string, number, number])[]) =>
  jobs.map(([tenant, arrivesAtMs, durationMs], index) => ({ id: String(index), tenant, arrivesAtMs, durationMs }));

describe('the ideal queue', () => {
  it('a job starts as soon as a place is free', () => {
    const jobs = createJobs(['a', 0, 10], ['a', 0, 4], ['a', 1, 5], ['a', 20, 5]);
    const runs = runIdealQueue({ jobs, places: 2 });
    expect(runs.map(({ id, startsAtMs, endsAtMs }) => [id, startsAtMs, endsAtMs])).toEqual([
      ['0', 0, 10],
      ['1', 0, 4],
      ['2', 4, 9],
      ['3', 20, 25],
    ]);
  });

  it('tenants take turns, and the jobs of each start in the order of arrival', () => {
    const jobs = createJobs(['a', 0, 1], ['a', 0, 1], ['a', 0, 1], ['b', 0, 1], ['b', 0, 1], ['c', 1, 1]);
    const runs = runIdealQueue({ jobs, places: 1 });
    expect(runs.map(({ tenant, id }) => tenant + id)).toEqual(['a0', 'b3', 'a1', 'c5', 'b4', 'a2']);
  });

  it('no job starts during an outage, and running jobs go on', () => {
    const jobs = createJobs(['a', 0, 10], ['a', 0, 10]);
    const runs = runIdealQueue({ jobs, places: 1, outages: [{ fromMs: 5, untilMs: 50 }] });
    expect(runs.map(({ startsAtMs, endsAtMs }) => [startsAtMs, endsAtMs])).toEqual([
      [0, 10],
      [50, 60],
    ]);
  });

  it('every job runs once, no more run at a time than there are places, and no place is free while a job waits', () => {
    const jobsOf = fc.array(fc.tuple(fc.constantFrom('a', 'b', 'c'), fc.nat(50), fc.integer({ min: 1, max: 20 })), {
      maxLength: 40,
    });
    const outages = fc.array(fc.record({ fromMs: fc.nat(60), untilMs: fc.nat(60) }), { maxLength: 2 });
    fc.assert(
      fc.property(jobsOf, fc.integer({ min: 1, max: 4 }), outages, (arrivals, places, outages) => {
        const jobs = createJobs(...arrivals.toSorted((a, b) => a[1] - b[1]));
        const runs = runIdealQueue({ jobs, places, outages });
        expect(runs.map(({ id }) => Number(id)).toSorted((a, b) => a - b)).toEqual(jobs.map((_, index) => index));
        const end = Math.max(0, ...runs.map(({ endsAtMs }) => endsAtMs));
        for (let at = 0; at < end; at += 1) {
          const running = runs.filter(({ startsAtMs, endsAtMs }) => startsAtMs <= at && at < endsAtMs).length;
          const isWaiting = runs.some(({ arrivesAtMs, startsAtMs }) => arrivesAtMs <= at && at < startsAtMs);
          const isAway = outages.some(({ fromMs, untilMs }) => fromMs <= at && at < untilMs);
          expect(running).toBeLessThanOrEqual(places);
          if (isWaiting && !isAway) expect(running).toBe(places);
          if (isAway) expect(runs.some(({ startsAtMs }) => startsAtMs === at)).toBe(false);
        }
      }),
    );
  });

  it('the backlog ends at the first moment without a waiting job', () => {
    const runs = [
      { arrivesAtMs: 0, startsAtMs: 0 },
      { arrivesAtMs: 1, startsAtMs: 10 },
      { arrivesAtMs: 5, startsAtMs: 8 },
      { arrivesAtMs: 9, startsAtMs: 12 },
      { arrivesAtMs: 20, startsAtMs: 30 },
    ];
    expect(findBacklogEnd(runs, 0)).toBe(0);
    expect(findBacklogEnd(runs, 2)).toBe(12);
    expect(findBacklogEnd(runs, 12)).toBe(12);
    expect(findBacklogEnd(runs, 25)).toBe(30);
    expect(findBacklogEnd(runs, 40)).toBe(40);
  });
});
