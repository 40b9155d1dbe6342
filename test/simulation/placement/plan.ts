import { findCapacity } from './capacity.ts';
import { countSlots, loadTrace, type Run, type RunResult, type TraceSource } from './run.ts';
import { POLICIES, type PolicyName } from './simulate.ts';
import type { PlacementThreads } from './threads.ts';

/** The extent of a comparison of policies. */
export interface Plan {
  readonly seeds: number;
  /** Number of the trace's requests, from the first one. Absent: all. */
  readonly requests?: number;
  /** Sizes of the fleets to compare besides the reference fleet of eight. */
  readonly fleets: readonly number[];
  /** Arrival rates of the goodput curve, as shares of Lambent's capacity. */
  readonly curve: readonly number[];
}

export const FULL: Plan = {
  seeds: 3,
  fleets: [2, 32, 128],
  curve: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1, 1.05, 1.1],
};
export const QUICK: Plan = { seeds: 1, requests: 2_000, fleets: [2], curve: [0.3, 0.6, 0.9, 1, 1.1] };

/** The reference fleet of all comparisons. */
export const REFERENCE = { workers: 8, gpu: 'h100' } as const;

/** Policies to compare in fleets of other sizes. */
export const FLEET_POLICIES = [
  'round-robin',
  'least-connections',
  'least-tokens',
  'llm-d',
  'lambent',
  'perfect-index',
] as const satisfies readonly PolicyName[];

/** Policies in the curve: one per chart colour. */
export const CURVE_POLICIES = [
  'round-robin',
  'two-choices',
  'bounded-hashing',
  'least-connections',
  'least-tokens',
  'lambent',
  'perfect-index',
] as const satisfies readonly PolicyName[];

/** Capacities by policy, one per seed, as scales of the trace's rate. */
export type Capacities = ReadonlyMap<PolicyName, readonly number[]>;

export interface Curve {
  readonly policy: PolicyName;
  readonly points: readonly { readonly scale: number; readonly goodput: number }[];
}

/** Results on one trace. */
export interface Findings {
  readonly trace: string;
  /** Slots of each worker. */
  readonly slots: number;
  readonly capacities: Capacities;
  /** Capacities under the length-scaled target, for the first seed. */
  readonly scaledCapacities: Capacities;
  /** Capacities without jitter, for the first seed. Only for traces with rounded times. */
  readonly unjittered: Capacities | undefined;
  /** Results near Lambent's capacity: the scale, and each policy's measures per seed. */
  readonly nearCapacity: { readonly scale: number; readonly results: ReadonlyMap<PolicyName, readonly RunResult[]> };
  readonly curves: readonly Curve[];
  readonly fleets: readonly { readonly workers: number; readonly capacities: Capacities }[];
}

/** Share of Lambent's capacity at which policies are compared in detail. */
const NEAR_CAPACITY_SHARE = 0.9;

/** Scale at which the first search starts. Any scale finds the same capacity. */
const FIRST_GUESS = 2;

/** Runs a plan on one trace and returns the findings. */
export async function runStudy(threads: PlacementThreads, source: TraceSource, plan: Plan): Promise<Findings> {
  const trace = await loadTrace(source);
  const base = {
    trace: source,
    ...REFERENCE,
    ...(plan.requests === undefined ? {} : { requests: plan.requests }),
    load: { scale: 1, jitter: true, seed: 1 },
  } satisfies Omit<Run, 'policy'>;
  const seeds = Array.from({ length: plan.seeds }, (_, index) => index + 1);
  const capacities = await findCapacities(threads, base, POLICIES, seeds, 'goodput', FIRST_GUESS);
  const lambentCapacity = capacities.get('lambent')?.[0] ?? FIRST_GUESS;
  const nearScale = Number((NEAR_CAPACITY_SHARE * lambentCapacity).toPrecision(2));
  const [scaledCapacities, unjittered, nearResults, curves] = await Promise.all([
    findCapacities(threads, base, POLICIES, [1], 'scaledGoodput', FIRST_GUESS, capacities),
    trace.tickMs > 0
      ? findCapacities(
          threads,
          { ...base, load: { ...base.load, jitter: false } },
          POLICIES,
          [1],
          'goodput',
          lambentCapacity,
          capacities,
        )
      : undefined,
    compareInDetail(threads, base, seeds, nearScale),
    computeCurves(threads, base, plan.curve, lambentCapacity),
  ]);
  const fleets = [];
  for (const workers of plan.fleets) {
    // A smaller fleet gets a share of the reference load; a larger one runs several copies of the trace.
    const start = lambentCapacity * Math.min(1, workers / REFERENCE.workers);
    const found = await findCapacities(threads, { ...base, workers }, FLEET_POLICIES, [1], 'goodput', start);
    fleets.push({ workers, capacities: found });
  }
  return {
    trace: trace.name,
    slots: countSlots(trace, REFERENCE.gpu),
    capacities,
    scaledCapacities,
    unjittered,
    nearCapacity: { scale: nearScale, results: nearResults },
    curves,
    fleets,
  };
}

async function findCapacities(
  threads: PlacementThreads,
  base: Omit<Run, 'policy'>,
  policies: readonly PolicyName[],
  seeds: readonly number[],
  share: 'goodput' | 'scaledGoodput',
  start: number,
  startNear?: Capacities,
): Promise<Capacities> {
  const found = policies.map(async (policy) => {
    const ofSeeds = seeds.map((seed) => {
      const computeShare = async (scale: number) =>
        (await threads.run({ ...base, policy, load: { ...base.load, scale, seed } }))[share];
      return findCapacity(computeShare, startNear?.get(policy)?.[0] ?? start);
    });
    return [policy, await Promise.all(ofSeeds)] as const;
  });
  return new Map(await Promise.all(found));
}

async function compareInDetail(
  threads: PlacementThreads,
  base: Omit<Run, 'policy'>,
  seeds: readonly number[],
  scale: number,
) {
  const found = POLICIES.map(async (policy) => {
    const runs = seeds.map((seed) => threads.run({ ...base, policy, load: { ...base.load, scale, seed } }));
    return [policy, await Promise.all(runs)] as const;
  });
  return new Map(await Promise.all(found));
}

async function computeCurves(
  threads: PlacementThreads,
  base: Omit<Run, 'policy'>,
  shares: readonly number[],
  capacity: number,
): Promise<Curve[]> {
  const curves = CURVE_POLICIES.map(async (policy) => {
    const points = shares.map(async (share) => {
      const scale = Number((share * capacity).toPrecision(3));
      const { goodput } = await threads.run({ ...base, policy, load: { ...base.load, scale } });
      return { scale, goodput };
    });
    return { policy, points: await Promise.all(points) };
  });
  return Promise.all(curves);
}
