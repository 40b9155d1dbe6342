import { computeQuantile } from '../../test/measure/statistics.ts';
import { type EngineRun, type GaugeSample, runEngine } from '../../test/simulation/queues/engine-run.ts';
import { findBacklogEnd, type JobRun, runIdealQueue } from '../../test/simulation/queues/ideal-queue.ts';
import { ACCEPTED_PER_SECOND, THROTTLED_MS, ThrottledModel } from '../../test/simulation/queues/throttled-model.ts';
import { generateWorkload, meanJobMs, type SimulatedJob } from '../../test/simulation/queues/workload.ts';
import {
  BURST_AT_MS,
  type BurstCell,
  type Cell,
  INVOCATIONS,
  JOB_TIMES,
  PLACES,
  PLACES_PER_INVOCATION,
  type SaturatedCell,
} from './cells.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
/** The share of its work after which a saturated run is measured: until then, the ideal queue's places are all busy. */
const MEASURED_SHARE = 0.8;
/** The gauge is compared while at least this many jobs wait. */
const MIN_WAITING = 50;
const SAMPLE_MS = 30_000;
const SEED = 7;
/** The tenant that sends the burst, and one that sends a tenth of the other jobs. */
const BUSY_TENANT = 'acme';
const QUIET_TENANT = 'crown';
const TENANTS = { [BUSY_TENANT]: 6, bolt: 3, [QUIET_TENANT]: 1 };
/** More jobs than the model accepts while it throttles. */
const THROTTLED_JOBS = { count: 1_400, durationMs: 4_000 };

/** Jobs that wait over time, in the engine and in the ideal queue. */
export type BacklogPoint = { readonly minute: number; readonly engine: number; readonly ideal: number };

/** What a run did, per job. */
interface Efficiency {
  readonly jobs: number;
  readonly unfinished: number;
  readonly tickets: number;
  readonly attempts: number;
  /** The gauge's largest error, as a share of the jobs that waited at that moment. */
  readonly gaugeError: number;
  /** The same against any of the moments at which the index may have been as it was read. */
  readonly gaugeErrorWithLag: number;
  readonly errors: Readonly<Record<string, number>>;
}

export interface BurstResult extends Efficiency {
  readonly kind: 'burst';
  /** Minutes from the burst until no job waits. */
  readonly engineMinutes: number;
  readonly idealMinutes: number;
  /** Seconds that the quiet tenant's jobs wait. */
  readonly quietSeconds: { readonly p50: number; readonly p95: number; readonly idealP95: number };
  readonly backlog: readonly BacklogPoint[];
}

export interface SaturatedResult extends Efficiency {
  readonly kind: 'saturated';
  /** Hours of places that were spent on attempts that completed. */
  readonly engineHours: number;
  readonly idealHours: number;
}

export interface ThrottledResult {
  readonly kind: 'throttled';
  readonly unfinished: number;
  readonly calls: number;
  readonly accepted: number;
  /** Calls that the model would have accepted. */
  readonly acceptable: number;
  readonly seconds: number;
  readonly claims: number;
}

export type CellResult = BurstResult | SaturatedResult | ThrottledResult;

/** Simulates a cell on the engine and on the ideal queue. */
export async function simulateCell(cell: Cell): Promise<CellResult> {
  if (cell.kind === 'burst') return simulateBurst(cell);
  return cell.kind === 'saturated' ? simulateSaturated(cell) : simulateThrottled();
}

async function simulateBurst({ jobTimes, load, mixed, outage, scale }: BurstCell): Promise<BurstResult> {
  const outages = outage ? [outage] : [];
  const jobs = generateWorkload({
    seed: SEED,
    durationMs: scale.arrivalMinutes * MINUTE_MS,
    places: PLACES,
    load,
    jobTimes: JOB_TIMES[jobTimes],
    tenants: TENANTS,
    bursts: [
      {
        atMs: BURST_AT_MS,
        durationMs: 1_000,
        jobs: countJobs(scale.burstMinutes, jobTimes),
        tenant: BUSY_TENANT,
      },
    ],
  });
  const run = await runEngine({ ...ENGINE, jobs, mixedMessages: mixed, outages });
  const ideal = runIdealQueue({ jobs, places: PLACES, outages });
  const from = Math.max(BURST_AT_MS + 2_000, ...outages.map(({ untilMs }) => untilMs));
  const findMinutes = (runs: readonly JobRun[]) => (findBacklogEnd(runs, from) - BURST_AT_MS) / MINUTE_MS;
  const waits = computeQuietWaits(run.runs);
  return {
    kind: 'burst',
    ...describeRun(run, jobs),
    engineMinutes: run.unfinished > 0 ? Number.POSITIVE_INFINITY : findMinutes(run.runs),
    idealMinutes: findMinutes(ideal),
    quietSeconds: {
      p50: computeQuantile(waits, 0.5),
      p95: computeQuantile(waits, 0.95),
      idealP95: computeQuantile(computeQuietWaits(ideal), 0.95),
    },
    backlog: sampleBacklog(jobs, run.runs, ideal),
  };
}

async function simulateSaturated({ jobTimes, mixed, scale }: SaturatedCell): Promise<SaturatedResult> {
  const jobs = generateWorkload({
    seed: SEED,
    durationMs: 0,
    places: PLACES,
    load: 0,
    jobTimes: JOB_TIMES[jobTimes],
    tenants: TENANTS,
    bursts: [{ atMs: 0, durationMs: 1_000, jobs: countJobs(scale.saturatedMinutes, jobTimes) }],
  });
  const run = await runEngine({ ...ENGINE, jobs, mixedMessages: mixed });
  const untilMs = MEASURED_SHARE * scale.saturatedMinutes * MINUTE_MS;
  return {
    kind: 'saturated',
    ...describeRun(run, jobs),
    engineHours: sumWork(run.runs, untilMs),
    idealHours: sumWork(runIdealQueue({ jobs, places: PLACES }), untilMs),
  };
}

async function simulateThrottled(): Promise<ThrottledResult> {
  const model = new ThrottledModel();
  const run = await runEngine({
    ...ENGINE,
    jobs: Array.from({ length: THROTTLED_JOBS.count }, (_, index) => ({
      id: `throttled${index}`,
      tenant: BUSY_TENANT,
      model: 'throttled',
      arrivesAtMs: 0,
      durationMs: THROTTLED_JOBS.durationMs,
    })),
    paceTable: model.paceTable,
    callModel: (_name, time) => model.call(time),
  });
  const seconds = THROTTLED_MS / 1_000;
  return {
    kind: 'throttled',
    unfinished: run.unfinished,
    // The first second shows that the model throttles.
    calls: model.count(1_000, THROTTLED_MS),
    accepted: model.count(0, THROTTLED_MS, ({ accepted }) => accepted),
    acceptable: ACCEPTED_PER_SECOND * seconds,
    seconds,
    claims: run.claims,
  };
}

const ENGINE = {
  invocations: INVOCATIONS,
  placesPerInvocation: PLACES_PER_INVOCATION,
  seed: 3,
  untilMs: 8 * HOUR_MS,
};

function countJobs(minutes: number, jobTimes: keyof typeof JOB_TIMES): number {
  return Math.round((PLACES * minutes * MINUTE_MS) / meanJobMs(JOB_TIMES[jobTimes]));
}

function describeRun(run: EngineRun, jobs: readonly SimulatedJob[]): Efficiency {
  const compared = run.gauge.filter(({ actual }) => actual >= MIN_WAITING);
  const shareOf = (count: number, { actual }: GaugeSample) => Math.max(0, count) / actual;
  return {
    jobs: jobs.length,
    unfinished: run.unfinished,
    tickets: run.tickets,
    attempts: run.attempts,
    gaugeError: Math.max(0, ...compared.map((each) => shareOf(Math.abs(each.shown - each.actual), each))),
    gaugeErrorWithLag: Math.max(
      0,
      ...compared.map((each) => shareOf(Math.max(each.fewest - each.shown, each.shown - each.most), each)),
    ),
    errors: Object.fromEntries(run.errors),
  };
}

/** Returns the seconds for which the quiet tenant's jobs that arrived after the burst waited. */
function computeQuietWaits(runs: readonly JobRun[]): number[] {
  return runs
    .filter(({ tenant, arrivesAtMs }) => tenant === QUIET_TENANT && arrivesAtMs > BURST_AT_MS)
    .map(({ arrivesAtMs, startsAtMs }) => (startsAtMs - arrivesAtMs) / 1_000);
}

/** Returns the hours that runs took until `untilMs`. */
function sumWork(runs: readonly JobRun[], untilMs: number): number {
  const ms = runs.reduce(
    (sum, { startsAtMs, endsAtMs }) => sum + Math.max(0, Math.min(endsAtMs, untilMs) - startsAtMs),
    0,
  );
  return ms / HOUR_MS;
}

function sampleBacklog(
  jobs: readonly SimulatedJob[],
  engine: readonly JobRun[],
  ideal: readonly JobRun[],
): BacklogPoint[] {
  const lastMs = Math.max(...[...engine, ...ideal].map(({ startsAtMs }) => startsAtMs)) + MINUTE_MS;
  const countUntil = (times: readonly number[]) => {
    const sorted = times.toSorted((a, b) => a - b);
    let index = 0;
    return (ms: number) => {
      while (index < sorted.length && (sorted[index] ?? 0) <= ms) index += 1;
      return index;
    };
  };
  const arrived = countUntil(jobs.map(({ arrivesAtMs }) => arrivesAtMs));
  const started = countUntil(engine.map(({ startsAtMs }) => startsAtMs));
  const idealStarted = countUntil(ideal.map(({ startsAtMs }) => startsAtMs));
  return Array.from({ length: Math.ceil(lastMs / SAMPLE_MS) }, (_, index) => {
    const ms = index * SAMPLE_MS;
    const count = arrived(ms);
    return { minute: ms / MINUTE_MS, engine: count - started(ms), ideal: count - idealStarted(ms) };
  });
}
