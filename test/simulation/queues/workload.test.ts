import { describe, expect, it } from 'vitest';
import { BIMODAL, generateWorkload, type JobTimes, meanJobMs, type WorkloadOptions } from './workload.ts';

const OPTIONS: WorkloadOptions = {
  seed: 1,
  durationMs: 100 * 3_600_000,
  places: 10,
  load: 0.7,
  jobTimes: BIMODAL,
  tenants: { a: 3, b: 1 },
};

describe('workloads', () => {
  it('the same seed gives the same jobs, in the order of arrival', () => {
    const jobs = generateWorkload(OPTIONS);
    expect(generateWorkload(OPTIONS)).toEqual(jobs);
    expect(generateWorkload({ ...OPTIONS, seed: 2 })).not.toEqual(jobs);
    expect(jobs).toEqual(jobs.toSorted((a, b) => a.arrivesAtMs - b.arrivesAtMs));
    expect(new Set(jobs.map(({ id }) => id)).size).toBe(jobs.length);
  });

  const distributions: readonly JobTimes[] = [
    { kind: 'constant', meanMs: 20_000 },
    { kind: 'exponential', meanMs: 20_000 },
    BIMODAL,
  ];
  for (const jobTimes of distributions) {
    it(`${jobTimes.kind} jobs keep the given share of the places busy`, () => {
      const jobs = generateWorkload({ ...OPTIONS, jobTimes });
      const busyMs = jobs.reduce((sum, { durationMs }) => sum + durationMs, 0);
      expect(busyMs / (OPTIONS.places * OPTIONS.durationMs) / OPTIONS.load).toBeCloseTo(1, 1);
      expect(busyMs / jobs.length / meanJobMs(jobTimes)).toBeCloseTo(1, 1);
    });
  }

  it('arrivals are Poisson: the gaps between them vary as much as their mean', () => {
    const jobs = generateWorkload(OPTIONS);
    const gaps = jobs.slice(1).map(({ arrivesAtMs }, index) => arrivesAtMs - (jobs[index]?.arrivesAtMs ?? 0));
    const mean = gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length;
    const variance = gaps.reduce((sum, gap) => sum + (gap - mean) ** 2, 0) / gaps.length;
    expect(Math.sqrt(variance) / mean).toBeCloseTo(1, 1);
  });

  it('the bimodal mix is 90% of 5 s and 10% of 300 s', () => {
    const jobs = generateWorkload(OPTIONS);
    expect(new Set(jobs.map(({ durationMs }) => durationMs))).toEqual(new Set([5_000, 300_000]));
    expect(jobs.filter(({ durationMs }) => durationMs === 300_000).length / jobs.length).toBeCloseTo(0.1, 2);
    expect(meanJobMs(BIMODAL)).toBe(34_500);
  });

  it('tenants arrive by their weights, whatever the job times are', () => {
    const jobs = generateWorkload(OPTIONS);
    expect(jobs.filter(({ tenant }) => tenant === 'a').length / jobs.length).toBeCloseTo(0.75, 1);
    const others = generateWorkload({ ...OPTIONS, jobTimes: { kind: 'constant', meanMs: meanJobMs(BIMODAL) } });
    expect(others.map(({ tenant, arrivesAtMs }) => [tenant, arrivesAtMs])).toEqual(
      jobs.map(({ tenant, arrivesAtMs }) => [tenant, arrivesAtMs]),
    );
  });

  it('a burst adds its jobs within its time', () => {
    const bursts = [
      { atMs: 1_000, durationMs: 500, jobs: 100, tenant: 'c' },
      { atMs: 5_000, durationMs: 0, jobs: 7 },
    ];
    const jobs = generateWorkload({ ...OPTIONS, load: 0, bursts });
    const first = jobs.slice(0, 100);
    expect(
      first.every(({ tenant, arrivesAtMs }) => tenant === 'c' && arrivesAtMs >= 1_000 && arrivesAtMs <= 1_500),
    ).toBe(true);
    expect(jobs.slice(100).map(({ arrivesAtMs }) => arrivesAtMs)).toEqual(Array.from({ length: 7 }, () => 5_000));
  });
});
