import { createDynamoDBFleetStore } from '../shared/gpu/registry/dynamodb-fleet.ts';
import {
  ALMOST_FULL,
  BUDGET_FLEET,
  CROWD_PROMPT,
  CROWDS,
  type Crowd,
  createHalfFullFleet,
  type DecidingOptions,
  FLEETS,
  HOLD_MS,
  type PlacementCell,
  PROMPTS,
} from './deciding-cells.ts';
import { toReport } from './deciding-report.ts';
import type { Report } from './report/report.ts';
import { recordServedPrefixes } from './targets/conversations.ts';
import { type Cell, type DecisionRun, type DecisionTimes, runDecisions } from './targets/decisions.ts';
import { FLEET_TABLE, type FleetTable, startFleetTable, toFleetName } from './targets/fleet-table.ts';
import { type Count, type RequestCounter, startRequestCounter } from './targets/request-counter.ts';

/** Unmeasured decisions at the start, until V8 has optimised the code. */
const WARM_UP = 150;
/** Decisions whose requests are counted. A few suffice, because all decisions send the same requests. */
const COUNTED = 16;

/** Measures the time and the DynamoDB requests of placing a request and leasing a slot for it. */
export async function benchDeciding({ rounds, decisions }: DecidingOptions): Promise<Report> {
  await using table = await startFleetTable([...FLEETS.map(createHalfFullFleet), ALMOST_FULL]);
  await using counter = await startRequestCounter('dynamodb');
  counter.target = table.url;
  const cells = FLEETS.flatMap((workers) =>
    PROMPTS.map((promptTokens) => ({ fleet: createHalfFullFleet(workers), promptTokens, deciders: 1, holdMs: 0 })),
  );
  const crowds = [createHalfFullFleet(BUDGET_FLEET), ALMOST_FULL].flatMap((fleet) =>
    CROWDS.map((deciders) => ({ fleet, promptTokens: CROWD_PROMPT, deciders, holdMs: HOLD_MS })),
  );
  await recordPrefixes(table, [...cells, ...crowds]);
  const alone = await runRounds(table.url, rounds, cells, { count: decisions, warmUp: WARM_UP, withComparison: true });
  const together = await runRounds(table.url, rounds, crowds, {
    count: decisions,
    warmUp: WARM_UP,
    withComparison: false,
  });
  const placed: PlacementCell[] = [];
  for (const cell of cells) {
    placed.push({ ...cell, times: alone.get(cell) ?? [], requests: await countRequests(cell, counter) });
  }
  return toReport(
    placed,
    crowds.map((cell): Crowd => ({ ...cell, times: together.get(cell) ?? [] })),
    { rounds, decisions },
  );
}

/** Records the prefixes of all conversations, so that all rounds start with the same directory. */
async function recordPrefixes({ client }: FleetTable, cells: readonly Cell[]): Promise<void> {
  const store = createDynamoDBFleetStore(client, { tableName: FLEET_TABLE });
  const known = new Set<string>();
  for (const { fleet, promptTokens } of cells) {
    const name = `${toFleetName(fleet)} ${promptTokens}`;
    if (!known.has(name)) await recordServedPrefixes(store, fleet, promptTokens);
    known.add(name);
  }
}

/** Returns each cell's times, round by round. The order of the cells rotates each round. */
async function runRounds(
  url: string,
  rounds: number,
  cells: readonly Cell[],
  how: Omit<DecisionRun, 'cells'>,
): Promise<Map<Cell, DecisionTimes[]>> {
  const all = new Map<Cell, DecisionTimes[]>(cells.map((cell) => [cell, []]));
  for (let round = 0; round < rounds; round++) {
    const turn = Math.floor((round * cells.length) / rounds);
    const ordered = [...cells.slice(turn), ...cells.slice(0, turn)];
    const decided = await runDecisions(url, { ...how, cells: ordered });
    for (const [index, cell] of ordered.entries()) all.get(cell)?.push(...decided.slice(index, index + 1));
  }
  return all;
}

/** Returns the requests per slot, counted in a separate run because the counter adds latency. */
async function countRequests(cell: Cell, counter: RequestCounter): Promise<ReadonlyMap<string, Count>> {
  counter.reset();
  await runDecisions(counter.url, { cells: [cell], count: COUNTED, warmUp: 0, withComparison: false });
  const requests = [...counter.counts()].map(
    ([operation, { requests, units }]) =>
      [operation, { requests: requests / COUNTED, units: units / COUNTED }] as const,
  );
  return new Map(requests.sort(([a], [b]) => (a < b ? -1 : 1)));
}
