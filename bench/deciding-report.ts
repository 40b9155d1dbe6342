import { quantile } from '../test/measure/statistics.ts';
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

/** Milliseconds in which 99 of 100 requests have to be placed. */
const LIMIT_MS = 20;
/** The fewest and the most requests of a slot must be the same, whatever the fleet and the prompt. */
const NO_GROWTH = 1;

/** What is timed, of all rounds of a cell together. */
type TimeName = 'placedMs' | 'hashedMs' | 'releasedMs' | 'sameMs' | 'plainMs';

export function toReport(placed: readonly PlacementCell[], crowds: readonly Crowd[], options: DecidingOptions): Report {
  const { rounds, decisions } = options;
  return {
    name: 'deciding',
    title: 'Deciding: what it costs to place a request and to lease a slot for it',
    method: [
      `One function’s process decides ${rounds * decisions} times for each fleet and prompt, with the code and the DynamoDB client that chat and dispatch have: it names the prompt’s beginnings, reads the fleet and the directory, ranks the workers, and leases the best by a conditional write. The time is from the request to the slot. Each worker has ${SLOTS} slots, half of them leased. Each prompt is the next turn of one of 16 conversations of four tenants: three quarters of it have been served by some worker, as the directory says, the rest is new. Beside the decision the directory learns of what is new, which nobody waits for.`,
      'DynamoDB is the laptop cloud’s stand-in, a process of its own that keeps its tables on disk as `npm start` does. In turn with each decision the same process makes “the same requests” with the AWS client and none of our code (a query of the same fleet and a batch get of the same names at once, then an update with the same condition), and “plain” ones: as many round trips, two reads at once and an update of an item of a few bytes. The first ratio says what is ours, the second what the size of fleets and prompts costs.',
      `Requests and capacity units are counted in runs of their own, by a proxy that asks DynamoDB for them. Several deciders are as many requests in one process, each one decision after another, a slot held for ${HOLD_MS} ms: they share its processor, which as many functions in AWS would not, so that their times say less than how often they get in each other’s way.`,
    ],
    tables: [toTimesTable(placed, options), toRequestsTable(placed), toCrowdsTable(crowds, options)],
    budgets: [...toTimeBudgets(placed), ...toRequestBudgets(placed)],
    charts: toCharts(placed),
    limits: describeLimits(placed),
    data: {
      placed: placed.map(({ requests, ...rest }) => ({ ...rest, asked: Object.fromEntries(requests) })),
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
      'naming the prompt, p50',
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
        computeQuantile(cell, 'placedMs', 0.5),
        computeQuantile(cell, 'placedMs', 0.99),
        computeQuantile(cell, 'hashedMs', 0.5),
        computeQuantile(cell, 'sameMs', 0.5),
        computeQuantile(cell, 'sameMs', 0.99),
        computeQuantile(cell, 'placedMs', 0.5) / computeQuantile(cell, 'sameMs', 0.5),
        computeQuantile(cell, 'placedMs', 0.5) / computeQuantile(cell, 'plainMs', 0.5),
        computeQuantile(cell, 'releasedMs', 0.5),
        computeQuantile(cell, 'releasedMs', 0.99),
      ].map(formatNumber),
    ]),
  };
}

function toRequestsTable(placed: readonly PlacementCell[]): Table {
  const operations = listOperations(placed);
  return {
    caption: 'Requests of one slot, and their capacity units: placing, what the directory learns, first token, release',
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
  const each = (times: readonly DecisionTimes[], name: 'refusedLeases' | 'fleetReads') =>
    times.reduce((sum, decided) => sum + decided[name], 0) / (rounds * decisions);
  return {
    caption: `Several deciders at once, ${BUDGET_FLEET} workers, ${formatNumber(CROWD_PROMPT)} tokens: milliseconds, and what a decision asked again`,
    columns: ['', 'p50', 'p99', 'refused leases a decision', 'looks a decision'],
    rows: crowds.map((crowd) => [
      `${crowd.deciders} at once, ${SLOTS - crowd.fleet.leases} free on each`,
      ...[
        computeQuantile(crowd, 'placedMs', 0.5),
        computeQuantile(crowd, 'placedMs', 0.99),
        each(crowd.times, 'refusedLeases'),
        each(crowd.times, 'fleetReads'),
      ].map(formatNumber),
    ]),
  };
}

function toTimeBudgets(placed: readonly PlacementCell[]): Budget[] {
  return placed
    .filter(({ fleet }) => fleet.workers === BUDGET_FLEET)
    .map((cell) => ({
      metric: `to place and lease, ${describeCell(cell)}`,
      ours: { label: 'p99', value: computeQuantile(cell, 'placedMs', 0.99), unit: 'ms' },
      against: { label: 'the time allowed', value: LIMIT_MS, unit: 'ms' },
      limit: 1,
    }));
}

function toRequestBudgets(placed: readonly PlacementCell[]): Budget[] {
  return listOperations(placed).map((operation) => {
    const counts = placed.map((cell) => getCount(cell, operation).requests);
    return {
      metric: `${operation}, a slot, over all fleets and prompts`,
      ours: { label: 'the most', value: Math.max(...counts), unit: 'requests' },
      against: { label: 'the fewest', value: Math.min(...counts), unit: 'requests' },
      limit: NO_GROWTH,
    };
  });
}

function toCharts(placed: readonly PlacementCell[]): LineChart[] {
  const series = (along: 'workers' | 'tokens', cells: readonly PlacementCell[]) => {
    const points = (timed: TimeName, p: number) =>
      cells.map((cell) => ({
        seconds: along === 'workers' ? cell.fleet.workers : cell.promptTokens / 1024,
        value: computeQuantile(cell, timed, p),
      }));
    return [
      { label: 'place and lease, p50', points: points('placedMs', 0.5) },
      { label: 'place and lease, p99', points: points('placedMs', 0.99) },
      { label: 'the same requests, p50', points: points('sameMs', 0.5) },
      { label: 'plain requests, p50', points: points('plainMs', 0.5) },
    ];
  };
  return [
    {
      title: `By workers of the fleet, for ${formatNumber(CROWD_PROMPT)} tokens`,
      unit: 'ms',
      along: '',
      series: series(
        'workers',
        placed.filter(({ promptTokens }) => promptTokens === CROWD_PROMPT),
      ),
    },
    {
      title: `By thousands of tokens of the prompt, on ${BUDGET_FLEET} workers`,
      unit: 'ms',
      along: 'k',
      series: series(
        'tokens',
        placed.filter(({ fleet }) => fleet.workers === BUDGET_FLEET),
      ),
    },
  ];
}

function describeLimits(placed: readonly PlacementCell[]): string[] {
  const cellOf = (workers: number, tokens: number) =>
    placed.find(({ fleet, promptTokens }) => fleet.workers === workers && promptTokens === tokens);
  const [few = 0, , , , many = 0] = FLEETS;
  const longest = PROMPTS.at(-1) ?? 0;
  const small = cellOf(few, CROWD_PROMPT);
  const large = cellOf(many, CROWD_PROMPT);
  const long = cellOf(BUDGET_FLEET, longest);
  if (small === undefined || large === undefined || long === undefined) return [];
  const ratio = (cell: PlacementCell) =>
    formatNumber(computeQuantile(cell, 'placedMs', 0.5) / computeQuantile(cell, 'sameMs', 0.5));
  return [
    `**The fleet.** What is read grows with it: ${formatNumber(getCount(small, 'Query').units)} read units for ${few} workers, ${formatNumber(getCount(large, 'Query').units)} for ${many}, in one request. The stand-in reads, checks and writes that as JSON in one thread, and the AWS client parses it: a decision took ${ratio(small)}× the same requests at ${few} workers and ${ratio(large)}× at ${many}, so that most of the time is theirs.`,
    `**The prompt.** It is hashed once, ${formatNumber(computeQuantile(long, 'hashedMs', 0.5))} ms for ${formatNumber(longest)} tokens; its names are ${formatNumber(getCount(long, 'BatchGetItem').units)} read units in one request.`,
    '**The client.** The AWS client writes a log of its own, for which it copies each answer even if nobody wants it; ours has none (`shared/aws/dynamodb.ts`). With it the processor time to read 32 workers was 1.6 times as long, and twice as long for 200.',
    'A deployed table is another thing: its requests take a few milliseconds each, of which there are two one after the other here, whatever its neighbours do; and a read of a large fleet takes its units, and the client’s time to parse it, there too.',
  ];
}

/** Operations that any slot asked for. */
function listOperations(placed: readonly PlacementCell[]): string[] {
  return [...new Set(placed.flatMap(({ requests }) => [...requests.keys()]))].sort();
}

function getCount({ requests }: PlacementCell, operation: string): Count {
  return requests.get(operation) ?? { requests: 0, units: 0 };
}

function computeQuantile({ times }: Pick<PlacementCell, 'times'>, timed: TimeName, p: number): number {
  return quantile(
    times.flatMap((decided) => decided[timed]),
    p,
  );
}

function describeCell({ fleet, promptTokens }: Pick<PlacementCell, 'fleet' | 'promptTokens'>): string {
  return `${fleet.workers} workers, ${formatNumber(promptTokens / 1024)}k tokens`;
}
