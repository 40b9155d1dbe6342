import { computeQuantile } from '../test/measure/statistics.ts';
import {
  BUDGET_FLEET,
  CROWD_PROMPT,
  type Crowd,
  type DecidingOptions,
  FLEETS,
  HOLD_MS,
  type PlacementCell,
  PROMPTS,
} from './deciding-cells.ts';
import { type Budget, formatNumber, type LineChart, type Report, type Table } from './report/report.ts';
import type { DecisionTimes } from './targets/decisions.ts';
import { SLOTS } from './targets/fleet-table.ts';
import type { Count } from './targets/request-counter.ts';

/** Budget in milliseconds for the p99 of placing a request. */
const LIMIT_MS = 20;
/** Budget: requests per slot are the same for every fleet and prompt. */
const NO_GROWTH = 1;

/** The names of the times in `DecisionTimes`. */
type TimeName = 'placedMs' | 'hashedMs' | 'releasedMs' | 'sameMs' | 'plainMs';

/** Returns the report of a run. */
export function toReport(placed: readonly PlacementCell[], crowds: readonly Crowd[], options: DecidingOptions): Report {
  const { rounds, decisions } = options;
  return {
    name: 'deciding',
    title: 'Deciding: the cost of placing a request and leasing a slot',
    method: [
      `One function’s process makes ${rounds * decisions} decisions for each fleet and prompt, with the code and the DynamoDB client of chat and dispatch: it hashes the prompt’s prefixes, reads the fleet and the prefix directory, ranks the workers, and leases a slot of the best by a conditional write. The measured time runs from the request to the slot. Each worker has ${SLOTS} slots, half of them leased. Each prompt is the next turn of one of 16 conversations of four tenants: according to the directory, workers have served three quarters of it; the rest is new. After the decision, the new prefixes are written to the directory; no request waits for this write.`,
      'DynamoDB is the local cloud’s stand-in, a separate process that keeps its tables on disk as `npm start` does. In turn with each decision, the same process sends “the same requests” with the AWS client and without our code (a query of the same fleet and a batch get of the same names at once, then an update with the same condition), and “plain” requests: the same number of round trips, two reads at once and an update of an item of a few bytes. The first ratio shows the cost of our code, the second the cost of the sizes of fleet and prompt.',
      `Requests and capacity units are counted in separate runs by a proxy that asks DynamoDB for them. Concurrent deciders are requests in one process, each of which makes one decision after another and holds a slot for ${HOLD_MS} ms. They share one processor, which separate functions in AWS would not: their conflicts are more meaningful than their times.`,
    ],
    tables: [toTimesTable(placed, options), toRequestsTable(placed), toCrowdsTable(crowds, options)],
    budgets: [...toTimeBudgets(placed), ...toRequestBudgets(placed)],
    charts: toCharts(placed),
    limits: describeLimits(placed),
    data: {
      placed: placed.map(({ requests, ...rest }) => ({ ...rest, requests: Object.fromEntries(requests) })),
      crowds,
    },
  };
}

function toTimesTable(placed: readonly PlacementCell[], { rounds, decisions }: DecidingOptions): Table {
  return {
    caption: `Milliseconds, over ${rounds} × ${decisions} decisions of one decider`,
    columns: [
      'workers, tokens of the prompt',
      'p50',
      'p99',
      'hashing the prompt, p50',
      'same requests, p50',
      'p99',
      '× same, p50',
      '× plain, p50',
      'release, p50',
      'p99',
    ],
    rows: placed.map((cell) => [
      describeCell(cell),
      ...[
        computeTimeQuantile(cell, 'placedMs', 0.5),
        computeTimeQuantile(cell, 'placedMs', 0.99),
        computeTimeQuantile(cell, 'hashedMs', 0.5),
        computeTimeQuantile(cell, 'sameMs', 0.5),
        computeTimeQuantile(cell, 'sameMs', 0.99),
        computeTimeQuantile(cell, 'placedMs', 0.5) / computeTimeQuantile(cell, 'sameMs', 0.5),
        computeTimeQuantile(cell, 'placedMs', 0.5) / computeTimeQuantile(cell, 'plainMs', 0.5),
        computeTimeQuantile(cell, 'releasedMs', 0.5),
        computeTimeQuantile(cell, 'releasedMs', 0.99),
      ].map(formatNumber),
    ]),
  };
}

function toRequestsTable(placed: readonly PlacementCell[]): Table {
  const operations = listOperations(placed);
  return {
    caption: 'Requests per slot, and their capacity units: placing, directory update, first token, release',
    columns: ['workers, tokens of the prompt', ...operations.flatMap((operation) => [operation, 'units'])],
    rows: placed.map((cell) => [
      describeCell(cell),
      ...operations.flatMap((operation) => {
        const { requests, units } = getCount(cell, operation);
        return [formatNumber(requests), formatNumber(units)];
      }),
    ]),
  };
}

function toCrowdsTable(crowds: readonly Crowd[], { rounds, decisions }: DecidingOptions): Table {
  const countPerDecision = (times: readonly DecisionTimes[], name: 'refusedLeases' | 'fleetReads') =>
    times.reduce((sum, decided) => sum + decided[name], 0) / (rounds * decisions);
  return {
    caption: `Concurrent deciders, ${BUDGET_FLEET} workers, ${formatNumber(CROWD_PROMPT)} tokens: milliseconds, and retries per decision`,
    columns: ['', 'p50', 'p99', 'refused leases per decision', 'fleet reads per decision'],
    rows: crowds.map((crowd) => [
      `${crowd.deciders} at once, ${SLOTS - crowd.fleet.leases} slots free per worker`,
      ...[
        computeTimeQuantile(crowd, 'placedMs', 0.5),
        computeTimeQuantile(crowd, 'placedMs', 0.99),
        countPerDecision(crowd.times, 'refusedLeases'),
        countPerDecision(crowd.times, 'fleetReads'),
      ].map(formatNumber),
    ]),
  };
}

function toTimeBudgets(placed: readonly PlacementCell[]): Budget[] {
  return placed
    .filter(({ fleet }) => fleet.workers === BUDGET_FLEET)
    .map((cell) => ({
      metric: `time to place and lease, ${describeCell(cell)}`,
      measured: { label: 'p99', value: computeTimeQuantile(cell, 'placedMs', 0.99), unit: 'ms' },
      against: { label: 'the time allowed', value: LIMIT_MS, unit: 'ms' },
      limit: 1,
    }));
}

function toRequestBudgets(placed: readonly PlacementCell[]): Budget[] {
  return listOperations(placed).map((operation) => {
    const counts = placed.map((cell) => getCount(cell, operation).requests);
    return {
      metric: `${operation} per slot, over all fleets and prompts`,
      measured: { label: 'most', value: Math.max(...counts), unit: 'requests' },
      against: { label: 'fewest', value: Math.min(...counts), unit: 'requests' },
      limit: NO_GROWTH,
    };
  });
}

function toCharts(placed: readonly PlacementCell[]): LineChart[] {
  const toSeries = (axis: 'workers' | 'tokens', cells: readonly PlacementCell[]) => {
    const toPoints = (timed: TimeName, p: number) =>
      cells.map((cell) => ({
        x: axis === 'workers' ? cell.fleet.workers : cell.promptTokens / 1024,
        value: computeTimeQuantile(cell, timed, p),
      }));
    return [
      { label: 'place and lease, p50', points: toPoints('placedMs', 0.5) },
      { label: 'place and lease, p99', points: toPoints('placedMs', 0.99) },
      { label: 'the same requests, p50', points: toPoints('sameMs', 0.5) },
      { label: 'plain requests, p50', points: toPoints('plainMs', 0.5) },
    ];
  };
  return [
    {
      title: `By workers of the fleet, for ${formatNumber(CROWD_PROMPT)} tokens`,
      unit: 'ms',
      xUnit: '',
      series: toSeries(
        'workers',
        placed.filter(({ promptTokens }) => promptTokens === CROWD_PROMPT),
      ),
    },
    {
      title: `By thousands of prompt tokens, on ${BUDGET_FLEET} workers`,
      unit: 'ms',
      xUnit: 'k',
      series: toSeries(
        'tokens',
        placed.filter(({ fleet }) => fleet.workers === BUDGET_FLEET),
      ),
    },
  ];
}

function describeLimits(placed: readonly PlacementCell[]): string[] {
  const findCell = (workers: number, tokens: number) =>
    placed.find(({ fleet, promptTokens }) => fleet.workers === workers && promptTokens === tokens);
  const [few = 0, , , , many = 0] = FLEETS;
  const longest = PROMPTS.at(-1) ?? 0;
  const small = findCell(few, CROWD_PROMPT);
  const large = findCell(many, CROWD_PROMPT);
  const long = findCell(BUDGET_FLEET, longest);
  if (small === undefined || large === undefined || long === undefined) return [];
  const formatRatio = (cell: PlacementCell) =>
    formatNumber(computeTimeQuantile(cell, 'placedMs', 0.5) / computeTimeQuantile(cell, 'sameMs', 0.5));
  return [
    `**The fleet.** The data read grows with the fleet: ${formatNumber(getCount(small, 'Query').units)} read units for ${few} workers, ${formatNumber(getCount(large, 'Query').units)} for ${many}, in one request. The stand-in reads, checks and writes it as JSON in one thread, and the AWS client parses it. A decision took ${formatRatio(small)}× the time of the same requests at ${few} workers and ${formatRatio(large)}× at ${many}: most of the time is spent in the requests.`,
    `**The prompt.** It is hashed once, in ${formatNumber(computeTimeQuantile(long, 'hashedMs', 0.5))} ms for ${formatNumber(longest)} tokens; looking up its prefixes costs ${formatNumber(getCount(long, 'BatchGetItem').units)} read units in one request.`,
    '**The client.** The AWS client keeps its own log, for which it copies each response even without a log destination; ours has no log (`shared/aws/dynamodb.ts`). With the log, reading 32 workers took 1.6 times the processor time, and reading 200 workers twice as much.',
    'A deployed table behaves differently: each request takes a few milliseconds whatever other requests run, and a decision waits for two, one after the other. Reading a large fleet costs the same units and the same time to parse there.',
  ];
}

/** Returns the operations of all slots, sorted. */
function listOperations(placed: readonly PlacementCell[]): string[] {
  return [...new Set(placed.flatMap(({ requests }) => [...requests.keys()]))].sort();
}

function getCount({ requests }: PlacementCell, operation: string): Count {
  return requests.get(operation) ?? { requests: 0, units: 0 };
}

function computeTimeQuantile({ times }: Pick<PlacementCell, 'times'>, timed: TimeName, p: number): number {
  return computeQuantile(
    times.flatMap((decided) => decided[timed]),
    p,
  );
}

function describeCell({ fleet, promptTokens }: Pick<PlacementCell, 'fleet' | 'promptTokens'>): string {
  return `${fleet.workers} workers, ${formatNumber(promptTokens / 1024)}k tokens`;
}
