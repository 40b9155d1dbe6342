import type { ServiceOutage } from '../../test/simulation/queues/engine-run.ts';
import { BIMODAL, type JobTimes } from '../../test/simulation/queues/workload.ts';

const MINUTE_MS = 60_000;

/** Concurrent invocations: a tenth of the deployment's. */
export const INVOCATIONS = 12;
/** As deployed. */
export const PLACES_PER_INVOCATION = 4;
export const PLACES = INVOCATIONS * PLACES_PER_INVOCATION;
export const BURST_AT_MS = 2 * MINUTE_MS;
/** The outage lies in the middle of the arrivals. */
const OUTAGE = { fromMs: 10 * MINUTE_MS, untilMs: 20 * MINUTE_MS };

export const JOB_TIMES = {
  constant: { kind: 'constant', meanMs: 10_000 },
  exponential: { kind: 'exponential', meanMs: 15_000 },
  bimodal: BIMODAL,
} as const satisfies Record<string, JobTimes>;
export type JobTimesName = keyof typeof JOB_TIMES;

const NAMES: readonly JobTimesName[] = ['constant', 'exponential', 'bimodal'];
const LOADS = [0.7, 0.95] as const;
/** SQS orders by best effort: a receive takes any of so many of the oldest messages. */
const MIXED = [1, 300, 1_000] as const;
const SERVICES: readonly ServiceOutage['service'][] = ['sqs', 'dynamodb'];

/** How much work a run simulates. */
export interface Scale {
  /** Minutes in which jobs arrive. */
  readonly arrivalMinutes: number;
  /** Minutes for which the burst's jobs keep all places busy. */
  readonly burstMinutes: number;
  /** Minutes for which the jobs of a saturated run keep all places busy. */
  readonly saturatedMinutes: number;
}

/** Constant and exponential jobs are short, so that their runs have many times the jobs of bimodal ones. */
const SCALES: Readonly<Record<JobTimesName, Scale>> = {
  constant: { arrivalMinutes: 22, burstMinutes: 5, saturatedMinutes: 10 },
  exponential: { arrivalMinutes: 22, burstMinutes: 5, saturatedMinutes: 10 },
  bimodal: { arrivalMinutes: 30, burstMinutes: 20, saturatedMinutes: 60 },
};

interface AnyCell {
  readonly jobTimes: JobTimesName;
  readonly mixed: number;
  readonly scale: Scale;
}

/** A burst on top of steady arrivals. */
export interface BurstCell extends AnyCell {
  readonly kind: 'burst';
  readonly load: number;
  readonly outage?: ServiceOutage;
}

/** Work that waits from the start, and no arrivals. */
export interface SaturatedCell extends AnyCell {
  readonly kind: 'saturated';
}

/** Jobs of a model that accepts few calls for ten minutes. */
export interface ThrottledCell {
  readonly kind: 'throttled';
}

export type Cell = BurstCell | SaturatedCell | ThrottledCell;

/** Returns all cells, or a few of them. The longest runs come first, so that the threads end together. */
export function createCells({ quick }: { readonly quick: boolean }): Cell[] {
  const mixes = quick ? [300] : MIXED;
  const loads = quick ? [0.7] : LOADS;
  const cells: Cell[] = [{ kind: 'throttled' }];
  for (const jobTimes of NAMES) {
    const scale = SCALES[jobTimes];
    for (const mixed of mixes) {
      cells.push({ kind: 'saturated', jobTimes, mixed, scale });
      for (const load of loads) {
        cells.push({ kind: 'burst', jobTimes, mixed, load, scale });
        for (const service of quick && jobTimes !== 'bimodal' ? [] : SERVICES) {
          cells.push({ kind: 'burst', jobTimes, mixed, load, scale, outage: { service, ...OUTAGE } });
        }
      }
    }
  }
  return cells;
}

/** Names a cell in tables and budgets. */
export function describeCell(cell: BurstCell | SaturatedCell): string {
  const queue = `mixes ${cell.mixed.toLocaleString('en-US')}`;
  if (cell.kind === 'saturated') return `${cell.jobTimes}, saturated, ${queue}`;
  return [`${cell.jobTimes}, load ${cell.load}, ${queue}`, ...(cell.outage ? [describeOutage(cell.outage)] : [])].join(
    ', ',
  );
}

export function describeOutage({ service }: ServiceOutage): string {
  return `${service === 'sqs' ? 'SQS' : 'DynamoDB'} away`;
}
