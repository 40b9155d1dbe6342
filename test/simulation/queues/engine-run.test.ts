import { describe, expect, it } from 'vitest';
import { type EngineRun, runEngine, type ServiceOutage } from './engine-run.ts';
import { findBacklogEnd, runIdealQueue } from './ideal-queue.ts';
import { BIMODAL, generateWorkload, type JobTimes, meanJobMs, type SimulatedJob } from './workload.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const INVOCATIONS = 5;
const PLACES_PER_INVOCATION = 2;
const PLACES = INVOCATIONS * PLACES_PER_INVOCATION;

const CONSTANT: JobTimes = { kind: 'constant', meanMs: 10_000 };
const EXPONENTIAL: JobTimes = { kind: 'exponential', meanMs: 15_000 };

const BURST_AT_MS = 2 * MINUTE_MS;

/** Creates a workload in which work for ten minutes arrives at once, on top of steady arrivals. */
function createBurst(jobTimes: JobTimes, load: number): SimulatedJob[] {
  const jobs = Math.round((PLACES * 10 * MINUTE_MS) / meanJobMs(jobTimes));
  return generateWorkload({
    seed: 7,
    durationMs: 30 * MINUTE_MS,
    places: PLACES,
    load,
    jobTimes,
    tenants: { acme: 6, bolt: 3, crown: 1 },
    bursts: [{ atMs: BURST_AT_MS, durationMs: 1_000, jobs }],
  });
}

function run(jobs: readonly SimulatedJob[], mixedMessages: number, outages: readonly ServiceOutage[] = []) {
  return runEngine({
    jobs,
    invocations: INVOCATIONS,
    placesPerInvocation: PLACES_PER_INVOCATION,
    mixedMessages,
    outages,
    seed: 3,
    untilMs: 6 * HOUR_MS,
  });
}

/** Returns how much later the backlog is gone than on the ideal queue: 1 for as early, counted from the burst on. */
function compareBacklogs(
  jobs: readonly SimulatedJob[],
  { runs }: EngineRun,
  outages: readonly ServiceOutage[] = [],
): number {
  const from = Math.max(BURST_AT_MS + 2_000, ...outages.map(({ untilMs }) => untilMs));
  const ideal = findBacklogEnd(runIdealQueue({ jobs, places: PLACES, outages }), from);
  return (findBacklogEnd(runs, from) - BURST_AT_MS) / (ideal - BURST_AT_MS);
}

/** Returns the gauge's largest error, as a share of the jobs that wait. Small numbers of jobs are left out. */
function findGaugeError({ gauge }: EngineRun): number {
  const errors = gauge
    .filter(({ actual }) => actual >= 50)
    .map(({ shown, actual }) => Math.abs(shown - actual) / actual);
  return Math.max(0, ...errors);
}

describe.each([1, 300, 1_000])('with a queue that mixes its oldest %i messages', (mixed) => {
  it.each([
    ['constant', 0.7, CONSTANT],
    ['exponential', 0.7, EXPONENTIAL],
    ['bimodal', 0.7, BIMODAL],
    ['constant', 0.95, CONSTANT],
    ['exponential', 0.95, EXPONENTIAL],
    ['bimodal', 0.95, BIMODAL],
  ])('a backlog of %s jobs at load %f drains almost as early as on the ideal queue', async (_name, load, jobTimes) => {
    const jobs = createBurst(jobTimes, load);
    const result = await run(jobs, mixed);
    expect(result.unfinished).toBe(0);
    expect(compareBacklogs(jobs, result)).toBeLessThanOrEqual(1.15);
    expect(result.tickets / jobs.length).toBeLessThanOrEqual(1.2);
    // A job that takes longer than those before it may be cut off by the end of its invocation.
    expect(result.attempts / jobs.length).toBeLessThanOrEqual(1.005);
    expect(findGaugeError(result)).toBeLessThanOrEqual(0.1);
  });
});

describe('an outage of ten minutes in the middle', () => {
  it.each([
    ['sqs', 'constant', 0.7, CONSTANT],
    ['sqs', 'bimodal', 0.7, BIMODAL],
    ['sqs', 'bimodal', 0.95, BIMODAL],
    ['dynamodb', 'constant', 0.7, CONSTANT],
    ['dynamodb', 'exponential', 0.7, EXPONENTIAL],
    ['dynamodb', 'exponential', 0.95, EXPONENTIAL],
    ['dynamodb', 'bimodal', 0.7, BIMODAL],
    ['dynamodb', 'bimodal', 0.95, BIMODAL],
  ] as const)(
    'an outage of %s loses no %s job at load %f, repeats none and delays the backlog little',
    async (service, _name, load, jobTimes) => {
      const jobs = createBurst(jobTimes, load);
      const outages = [{ service, fromMs: 10 * MINUTE_MS, untilMs: 20 * MINUTE_MS }];
      const result = await run(jobs, 300, outages);
      expect(result.unfinished).toBe(0);
      expect(compareBacklogs(jobs, result, outages)).toBeLessThanOrEqual(1.15);
      expect(result.tickets / jobs.length).toBeLessThanOrEqual(1.2);
      // Invocations end during the outage. The answers that they still have are saved, not made again.
      expect(result.attempts / jobs.length).toBeLessThanOrEqual(1.005);
      expect(findGaugeError(result)).toBeLessThanOrEqual(0.1);
    },
  );
});

describe('a saturated run', () => {
  /** Returns the milliseconds until `untilMs` that completed attempts took. */
  const sumWork = (runs: EngineRun['runs'], untilMs: number) =>
    runs.reduce((sum, { startsAtMs, endsAtMs }) => sum + Math.max(0, Math.min(endsAtMs, untilMs) - startsAtMs), 0);

  describe.each([1, 1_000])('with a queue that mixes its oldest %i messages', (mixed) => {
    it.each([
      ['constant', 20, CONSTANT, 0.95],
      ['exponential', 20, EXPONENTIAL, 0.95],
      ['bimodal', 60, BIMODAL, 0.8],
    ] as const)('does almost all of the work of the ideal queue with %s jobs for %i minutes', async (...row) => {
      const [, minutes, jobTimes, bound] = row;
      const workMs = minutes * MINUTE_MS;
      // Until then all places of the ideal queue are busy.
      const untilMs = 0.8 * workMs;
      const jobs = generateWorkload({
        seed: 7,
        durationMs: 0,
        places: PLACES,
        load: 0,
        jobTimes,
        tenants: { acme: 6, bolt: 3, crown: 1 },
        bursts: [{ atMs: 0, durationMs: 1_000, jobs: Math.round((PLACES * workMs) / meanJobMs(jobTimes)) }],
      });
      const result = await run(jobs, mixed);
      expect(result.unfinished).toBe(0);
      const ideal = runIdealQueue({ jobs, places: PLACES });
      expect(sumWork(result.runs, untilMs) / sumWork(ideal, untilMs)).toBeGreaterThanOrEqual(bound);
      expect(result.tickets / jobs.length).toBeLessThanOrEqual(1.2);
      expect(findGaugeError(result)).toBeLessThanOrEqual(0.1);
    });
  });
});

describe('short outages of DynamoDB', () => {
  it('outages of 45 s cost no attempt of jobs that run for 200 s, wherever they fall between two renewals', async () => {
    const steady = { seed: 7, durationMs: HOUR_MS, places: PLACES, load: 0.7, tenants: { acme: 1 } };
    const jobs = generateWorkload({ ...steady, jobTimes: { kind: 'constant', meanMs: 200_000 } });
    // 4 min and 2 s apart: each falls 2 s later between two renewals, which are 15 s apart.
    const outages = Array.from({ length: 10 }, (_, index): ServiceOutage => {
      const fromMs = (5 + 4 * index) * MINUTE_MS + 2_000 * index;
      return { service: 'dynamodb', fromMs, untilMs: fromMs + 45_000 };
    });
    const result = await run(jobs, 1, outages);
    expect(result.unfinished).toBe(0);
    expect(result.attempts).toBe(jobs.length);
  });
});

describe('500 places for one tenant, with an index that lags by up to 5 s', () => {
  it('a claim takes at most 1.3 tries, because a ticket names its job', async () => {
    const burst = { id: 'burst', tenant: 'acme', arrivesAtMs: 1_000 };
    const jobs = Array.from({ length: 1_500 }, (_, index): SimulatedJob => {
      const durationMs = index % 10 === 0 ? 60_000 : 5_000;
      return { ...burst, id: `burst-${index}`, durationMs };
    });
    const { unfinished, claimTries, claims } = await runEngine({
      ...{ jobs, invocations: 125, placesPerInvocation: 4, mixedMessages: 1_000, seed: 3 },
      untilMs: HOUR_MS,
    });
    expect(unfinished).toBe(0);
    expect(claims).toBeGreaterThanOrEqual(jobs.length);
    expect(claimTries / claims).toBeLessThanOrEqual(1.3);
  });
});

describe('fairness', () => {
  const JOB_MS = 10_000;
  // SQS forgets that a tenant is noisy when it has sent nothing for 5 minutes.
  const LONE: readonly SimulatedJob[] = [1, 2, 3, 4].map((minute) => ({
    id: `lone-${minute}`,
    tenant: 'bolt',
    arrivesAtMs: minute * MINUTE_MS,
    durationMs: JOB_MS,
  }));
  const CROWD: readonly SimulatedJob[] = Array.from({ length: 1_000 }, (_, index) => ({
    id: `crowd-${index}`,
    tenant: 'acme',
    arrivesAtMs: 1_000,
    durationMs: JOB_MS,
  }));

  it.each([1, 300, 1_000])(
    "a tenant's job waits little longer behind a thousand jobs that another has just sent than alone, with a queue that mixes %i",
    async (mixed) => {
      const findWaits = async (jobs: readonly SimulatedJob[]) => {
        const { runs } = await run(jobs, mixed);
        return LONE.map(({ id, arrivesAtMs }) => {
          const found = runs.find((each) => each.id === id);
          return (found?.startsAtMs ?? Number.POSITIVE_INFINITY) - arrivesAtMs;
        });
      };
      const alone = await findWaits(LONE);
      const behind = await findWaits([...CROWD, ...LONE]);
      for (const [index, wait] of behind.entries()) {
        expect(wait).toBeLessThanOrEqual(1.2 * (alone[index] ?? 0) + JOB_MS);
      }
    },
  );
});
