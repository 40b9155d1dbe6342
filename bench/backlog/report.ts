import {
  type Budget,
  type Chart,
  type Figure,
  formatNumber,
  type LineChart,
  type Report,
  type Table,
} from '../report/report.ts';
import {
  type BurstCell,
  type Cell,
  describeCell,
  describeOutage,
  INVOCATIONS,
  type JobTimesName,
  PLACES,
  PLACES_PER_INVOCATION,
  type SaturatedCell,
} from './cells.ts';
import type { BurstResult, CellResult, SaturatedResult, ThrottledResult } from './simulate-cell.ts';

/** Budgets: the backlog is gone at most this much later than on the ideal queue. */
const BACKLOG_LIMIT = 1.15;
/** A saturated run does at least this share of the ideal queue's work. */
const WORK_LIMITS: Readonly<Record<JobTimesName, number>> = { constant: 0.95, exponential: 0.95, bimodal: 0.8 };
const TICKETS_LIMIT = 1.2;
const GAUGE_LIMIT = 0.1;
const ACCEPTED_LIMIT = 0.8;

interface Simulated<C, R> {
  readonly cell: C;
  readonly result: R;
}
type Burst = Simulated<BurstCell, BurstResult>;
type Saturated = Simulated<SaturatedCell, SaturatedResult>;

/** Returns the report of all cells. */
export function toReport(all: readonly Simulated<Cell, CellResult>[], { quick }: { readonly quick: boolean }): Report {
  const bursts: Burst[] = [];
  const saturated: Saturated[] = [];
  const throttled: ThrottledResult[] = [];
  for (const { cell, result } of all) {
    if (cell.kind === 'burst' && result.kind === 'burst') bursts.push({ cell, result });
    else if (cell.kind === 'saturated' && result.kind === 'saturated') saturated.push({ cell, result });
    else if (result.kind === 'throttled') throttled.push(result);
  }
  return {
    name: 'backlog',
    title: 'Backlogs: the job engine against an ideal queue, simulated',
    method: describeMethod(),
    tables: [
      ...groupBy(bursts, ({ cell }) => cell.jobTimes).map(([name, group]) => toBurstTable(name, group)),
      toSaturatedTable(saturated),
      ...throttled.map(toThrottledTable),
    ],
    budgets: [
      ...groupBy(bursts, nameBudget).map(([name, group]) => toBacklogBudget(name, group)),
      ...groupBy(saturated, ({ cell }) => cell.jobTimes).map(([name, group]) => toWorkBudget(name, group)),
      ...toEfficiencyBudgets([...bursts, ...saturated]),
      ...throttled.flatMap(toThrottledBudgets),
    ],
    charts: [...toBacklogCharts(bursts), toRatioChart(bursts), toWorkChart(saturated)],
    limits: describeLimits(quick),
    data: all,
  };
}

function describeMethod(): string[] {
  return [
    `**Every figure is simulated**, on virtual time: the engine’s own code (submission, message pool, worker, lease, sweep, backlog gauge) runs with the AWS client for SQS against models of SQS, of Lambda’s event source mapping, and of a table whose index shows a write 0 to 5 s later. ${INVOCATIONS} concurrent invocations of ${PLACES_PER_INVOCATION} jobs each make ${PLACES} places; an invocation ends after 15 minutes, and each invocation works as deployed. The same code and seeds give the same figures on every machine.`,
    'Jobs arrive at random and keep 70% or 95% of the places busy. In minute 2, a tenant sends so many jobs at once that all places are busy with them for the minutes that a table names. Jobs take 10 s (constant), 15 s on average (exponential), or 5 s in 90% of cases and 300 s in the others (bimodal). A queue that “mixes 300” delivers any of its oldest 300 messages next, because SQS orders by best effort. In some runs SQS or DynamoDB fails every request from minute 10 to minute 20.',
    'The **ideal queue** has the same arrivals, job times and places. It starts a job whenever a place is free and a job waits, in no time, and never runs a job twice. While a service is away it starts none, but running jobs go on. “Gone” is the time from the burst until no job waits that has arrived; after an outage, it is counted until that is so for the first time after its end.',
    'Saturated runs begin with the table’s minutes of work for all places and have no further arrivals. The work done is the time of attempts that completed, counted until 80% of those minutes have passed.',
    'The gauge is the engine’s own count of waiting jobs, `JobsWaiting`. Its error is compared whenever it is read while 50 or more jobs wait: with the jobs that wait at that moment (“now”), and with those that waited at any time in the 5 s for which the index may lag (“with lag”). The budget is for the latter: what no index shows yet, no count of it can know. A quiet tenant sends a tenth of the steady jobs and none of the burst.',
  ];
}

function describeLimits(quick: boolean): string[] {
  return [
    ...(quick
      ? [
          '**This page shows the short run** (`--quick`): queues that mix 300, load 0.7, and outages with bimodal jobs only. `npm run bench -- backlog --publish` runs all 64 cells; none of the others is shown here.',
        ]
      : []),
    'Requests take no time in the models of SQS and of the table, and reading an input, starting an environment and storing an answer take none either. In AWS these take part of a place’s time; the shorter the jobs, the larger the part.',
    'Each cell is one run with one seed. Constant and exponential jobs have a smaller burst than bimodal ones, and fewer minutes of arrivals and of saturated work, because they are shorter and so many more; the tables name the minutes.',
    'A job that the end of an invocation cuts off is run again, so attempts may exceed jobs where job times vary. While DynamoDB is away, answers can’t be committed; those that an invocation still has at its end are objects of the bucket, which stays available here, and the next attempt commits them.',
    'The model of fair queues follows SQS’s documentation, which gives no exact thresholds. Waits of the quiet tenant are an indication.',
  ];
}

function toBurstTable(name: string, bursts: readonly Burst[]): Table {
  const scale = bursts[0]?.cell.scale;
  return {
    caption: `${name} jobs, after a burst of ${scale?.burstMinutes} minutes of work; arrivals for ${scale?.arrivalMinutes} minutes (simulated)`,
    columns: [
      'load, queue, outage',
      'jobs',
      'gone, min',
      'ideal',
      '×',
      'tickets per job',
      'attempts per job',
      'gauge’s largest error now %',
      'with lag %',
      'quiet tenant’s wait p50 s',
      'p95',
      'ideal p95',
    ],
    rows: bursts.map(({ cell, result }) => [
      describeCell(cell).replace(`${cell.jobTimes}, `, ''),
      formatNumber(result.jobs),
      formatNumber(result.engineMinutes),
      formatNumber(result.idealMinutes),
      computeDelay(result).toFixed(3),
      ...toEfficiencyCells(result),
      formatNumber(result.quietSeconds.p50),
      formatNumber(result.quietSeconds.p95),
      formatNumber(result.quietSeconds.idealP95),
    ]),
  };
}

function toSaturatedTable(saturated: readonly Saturated[]): Table {
  return {
    caption: 'Saturated runs (simulated)',
    columns: [
      'job times, queue',
      'minutes of work',
      'jobs',
      'work, hours',
      'ideal',
      '×',
      'tickets per job',
      'attempts per job',
      'gauge’s largest error now %',
      'with lag %',
    ],
    rows: saturated.map(({ cell, result }) => [
      describeCell(cell).replace(', saturated', ''),
      formatNumber(cell.scale.saturatedMinutes),
      formatNumber(result.jobs),
      formatNumber(result.engineHours),
      formatNumber(result.idealHours),
      computeWorkShare(result).toFixed(3),
      ...toEfficiencyCells(result),
    ]),
  };
}

function toThrottledTable(result: ThrottledResult): Table {
  return {
    caption: `A model that accepts ${result.acceptable / result.seconds} calls a second, with all places free for it, in ten minutes (simulated)`,
    columns: ['', 'calls', 'accepted', 'acceptable', 'most calls allowed', 'claims in the whole run'],
    rows: [
      [
        'throttled model',
        ...[result.calls, result.accepted, result.acceptable, computeAllowed(result), result.claims].map(formatNumber),
      ],
    ],
  };
}

function toEfficiencyCells(result: BurstResult | SaturatedResult): string[] {
  const { jobs, tickets, attempts, gaugeError, gaugeErrorWithLag } = result;
  const toPercent = (share: number) => (100 * share).toFixed(1);
  return [
    (tickets / jobs).toFixed(3),
    (attempts / jobs).toFixed(3),
    toPercent(gaugeError),
    toPercent(gaugeErrorWithLag),
  ];
}

function nameBudget({ cell }: Burst): string {
  return [cell.jobTimes, ...(cell.outage ? [describeOutage(cell.outage)] : [])].join(', ');
}

function toBacklogBudget(name: string, bursts: readonly Burst[]): Budget {
  const { cell, result } = findLargest(bursts, (burst) => computeDelay(burst.result));
  return {
    metric: `${name}: backlog gone after the burst, worst of ${bursts.length} (${describeCell(cell)})`,
    measured: { label: 'engine', value: result.engineMinutes, unit: 'min' },
    against: { label: 'ideal', value: result.idealMinutes, unit: 'min' },
    limit: BACKLOG_LIMIT,
  };
}

function toWorkBudget(name: JobTimesName, saturated: readonly Saturated[]): Budget {
  const { cell, result } = findLargest(saturated, (each) => -computeWorkShare(each.result));
  return {
    metric: `${name}: work of a saturated run, worst of ${saturated.length} (${describeCell(cell)})`,
    measured: { label: 'engine', value: result.engineHours, unit: 'hours' },
    against: { label: 'ideal', value: result.idealHours, unit: 'hours' },
    limit: WORK_LIMITS[name],
    isFloor: true,
  };
}

function toEfficiencyBudgets(all: readonly (Burst | Saturated)[]): Budget[] {
  const one: Figure = { label: 'jobs that wait', value: 1, unit: '' };
  const tickets = findLargest(all, ({ result }) => result.tickets / result.jobs);
  const gauge = findLargest(all, ({ result }) => result.gaugeErrorWithLag);
  return [
    {
      metric: `tickets sent per job, worst of ${all.length} (${describeCell(tickets.cell)})`,
      measured: { label: 'tickets', value: tickets.result.tickets, unit: '' },
      against: { label: 'jobs', value: tickets.result.jobs, unit: '' },
      limit: TICKETS_LIMIT,
    },
    {
      metric: `the gauge’s largest error with lag, as a share of the jobs that wait, worst of ${all.length} (${describeCell(gauge.cell)})`,
      measured: { label: 'error', value: gauge.result.gaugeErrorWithLag, unit: '' },
      against: one,
      limit: GAUGE_LIMIT,
    },
  ];
}

function toThrottledBudgets(result: ThrottledResult): Budget[] {
  return [
    {
      metric: 'calls to a throttled model, against twice those accepted and one a second',
      measured: { label: 'calls', value: result.calls, unit: '' },
      against: { label: 'allowed', value: computeAllowed(result), unit: '' },
      limit: 1,
    },
    {
      metric: 'calls that a throttled model accepted, against those that it would accept',
      measured: { label: 'accepted', value: result.accepted, unit: '' },
      against: { label: 'acceptable', value: result.acceptable, unit: '' },
      limit: ACCEPTED_LIMIT,
      isFloor: true,
    },
  ];
}

/** Charts the backlog of three cells: without an outage, and with either service away, each on the worst of its queues. */
function toBacklogCharts(bursts: readonly Burst[]): LineChart[] {
  const choose = (jobTimes: JobTimesName, load: number, service?: string) => {
    const found = bursts.filter(
      ({ cell }) => cell.jobTimes === jobTimes && cell.load === load && cell.outage?.service === service,
    );
    return found.length > 0 ? [findLargest(found, ({ result }) => computeDelay(result))] : [];
  };
  const steepest = Math.max(...bursts.map(({ cell }) => cell.load));
  const lightest = Math.min(...bursts.map(({ cell }) => cell.load));
  const chosen = [
    ...choose('bimodal', steepest),
    ...choose('bimodal', lightest, 'sqs'),
    ...choose('bimodal', lightest, 'dynamodb'),
  ];
  return chosen.map(({ cell, result }) => ({
    title: `Jobs that wait: ${describeCell(cell)} (simulated)`,
    unit: '',
    xUnit: 'min',
    series: [
      { label: 'engine', points: result.backlog.map(({ minute, engine }) => ({ x: minute, value: engine })) },
      { label: 'ideal queue', points: result.backlog.map(({ minute, ideal }) => ({ x: minute, value: ideal })) },
    ],
  }));
}

function toRatioChart(bursts: readonly Burst[]): Chart {
  const nameBar = ({ cell }: Burst) =>
    cell.outage ? `${describeOutage(cell.outage)}, worst queue` : `mixes ${formatNumber(cell.mixed)}`;
  return {
    title: 'When the backlog was gone, against the ideal queue (simulated)',
    unit: '×',
    groups: groupBy(bursts, ({ cell }) => `${cell.jobTimes} jobs, load ${cell.load}`).map(([label, group]) => ({
      label,
      bars: [
        ...groupBy(
          group.toSorted((a, b) => Number(a.cell.outage !== undefined) - Number(b.cell.outage !== undefined)),
          nameBar,
        ).map(([name, some]) => ({
          label: name,
          value: computeDelay(findLargest(some, ({ result }) => computeDelay(result)).result),
        })),
        { label: 'budget, at most', value: BACKLOG_LIMIT },
      ],
    })),
  };
}

function toWorkChart(saturated: readonly Saturated[]): Chart {
  return {
    title: 'Work of saturated runs, against the ideal queue (simulated)',
    unit: '×',
    groups: groupBy(saturated, ({ cell }) => cell.jobTimes).map(([name, group]) => ({
      label: `${name} jobs`,
      bars: [
        ...group.map(({ cell, result }) => ({
          label: `mixes ${formatNumber(cell.mixed)}`,
          value: computeWorkShare(result),
        })),
        { label: 'budget, at least', value: WORK_LIMITS[name] },
      ],
    })),
  };
}

function computeDelay({ engineMinutes, idealMinutes }: BurstResult): number {
  return engineMinutes / idealMinutes;
}

function computeWorkShare({ engineHours, idealHours }: SaturatedResult): number {
  return engineHours / idealHours;
}

/** Twice the accepted calls, and a probe each second. */
function computeAllowed({ accepted, seconds }: ThrottledResult): number {
  return 2 * accepted + seconds;
}

function findLargest<T>(items: readonly T[], getValue: (item: T) => number): T {
  const [first, ...rest] = items;
  if (first === undefined) throw new RangeError('Nothing was simulated.');
  return rest.reduce((largest, item) => (getValue(item) > getValue(largest) ? item : largest), first);
}

/** Groups items by name, in the order of first appearance. */
function groupBy<Name extends string, T>(items: readonly T[], nameOf: (item: T) => Name): [Name, T[]][] {
  const groups = new Map<Name, T[]>();
  for (const item of items) groups.set(nameOf(item), [...(groups.get(nameOf(item)) ?? []), item]);
  return [...groups];
}
