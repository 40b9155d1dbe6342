import { createSeededRandom } from '../../../local/faults/random.ts';
import type { JobTier } from '../../../shared/jobs/job.ts';

/** A job: when it arrives, whose it is, and how long it runs. Times in whole milliseconds. */
export interface SimulatedJob {
  readonly id: string;
  readonly tenant: string;
  readonly arrivesAtMs: number;
  readonly durationMs: number;
  /** Default: `default`. */
  readonly model?: string;
  /** Default: `default`. */
  readonly tier?: JobTier;
}

/** A distribution of job times. */
export type JobTimes =
  | { readonly kind: 'constant' | 'exponential'; readonly meanMs: number }
  | { readonly kind: 'bimodal'; readonly shortMs: number; readonly longMs: number; readonly longShare: number };

/** 90% of 5 s and 10% of 300 s: a mean of 34.5 s. */
export const BIMODAL: JobTimes = { kind: 'bimodal', shortMs: 5_000, longMs: 300_000, longShare: 0.1 };

export interface Burst {
  readonly atMs: number;
  /** The burst's jobs arrive evenly at random within this time. 0: all at once. */
  readonly durationMs: number;
  readonly jobs: number;
  /** Default: tenants by their weights. */
  readonly tenant?: string;
}

export interface WorkloadOptions {
  /** A whole number. The same options give the same jobs. */
  readonly seed: number;
  /** Milliseconds during which jobs arrive. */
  readonly durationMs: number;
  /** Jobs that can run at a time. */
  readonly places: number;
  /** The share of the places that steady (Poisson) arrivals keep busy on average: 0.7 for 70%. 0: bursts only. */
  readonly load: number;
  readonly jobTimes: JobTimes;
  /** Tenants and their relative shares of the arrivals. */
  readonly tenants: Readonly<Record<string, number>>;
  readonly bursts?: readonly Burst[];
}

/** Returns a distribution's mean in milliseconds. */
export function meanJobMs(times: JobTimes): number {
  if (times.kind !== 'bimodal') return times.meanMs;
  return (1 - times.longShare) * times.shortMs + times.longShare * times.longMs;
}

/**
 * Generates jobs in the order of arrival. Arrivals, job times and tenants have random numbers of their own, so that
 * workloads with different job times have the same tenants in the same order.
 */
export function generateWorkload(options: WorkloadOptions): SimulatedJob[] {
  const { seed, jobTimes, bursts = [] } = options;
  const [arrivalRandom, durationRandom, tenantRandom] = createRandoms(seed);
  const steady = generatePoisson(options, arrivalRandom).map((atMs) => ({ atMs, tenant: undefined }));
  const inBursts = bursts.flatMap(({ atMs, durationMs, jobs, tenant }) =>
    Array.from({ length: jobs }, () => ({ atMs: atMs + arrivalRandom() * durationMs, tenant })),
  );
  const arrivals = [...steady, ...inBursts].sort((a, b) => a.atMs - b.atMs);
  return arrivals.map(({ atMs, tenant }, index) => ({
    id: `job-${index}`,
    tenant: tenant ?? chooseTenant(options.tenants, tenantRandom),
    arrivesAtMs: Math.round(atMs),
    durationMs: Math.max(1, Math.round(sampleDuration(jobTimes, durationRandom))),
  }));
}

/** Creates independent generators from one seed. */
function createRandoms(seed: number): [() => number, () => number, () => number] {
  const seeds = createSeededRandom(seed);
  const create = () => createSeededRandom(Math.floor(seeds() * 2 ** 32));
  return [create(), create(), create()];
}

function generatePoisson({ durationMs, places, load, jobTimes }: WorkloadOptions, random: () => number): number[] {
  const times: number[] = [];
  if (load <= 0) return times;
  const meanGapMs = meanJobMs(jobTimes) / (load * places);
  for (let at = sampleExponential(meanGapMs, random); at < durationMs; at += sampleExponential(meanGapMs, random)) {
    times.push(at);
  }
  return times;
}

function sampleDuration(times: JobTimes, random: () => number): number {
  // Always one random number, so that all distributions stay in step.
  const value = random();
  if (times.kind === 'bimodal') return value < times.longShare ? times.longMs : times.shortMs;
  return times.kind === 'constant' ? times.meanMs : -times.meanMs * Math.log(1 - value);
}

function sampleExponential(mean: number, random: () => number): number {
  return -mean * Math.log(1 - random());
}

function chooseTenant(tenants: Readonly<Record<string, number>>, random: () => number): string {
  const entries = Object.entries(tenants);
  let left = random() * entries.reduce((sum, [, weight]) => sum + weight, 0);
  for (const [name, weight] of entries) {
    left -= weight;
    if (left < 0) return name;
  }
  const last = entries.at(-1);
  if (last === undefined) throw new RangeError('A workload needs a tenant.');
  return last[0];
}
