import { createDynamoDBFleetStore } from '../shared/gpu/registry/dynamodb-fleet.ts';
import {
  ALMOST_FULL,
  BUDGET_FLEET,
  CROWD_PROMPT,
  CROWDS,
  type Crowd,
  type DecidingOptions,
  FLEETS,
  HOLD_MS,
  halfFull,
  type Placed,
  PROMPTS,
} from './deciding-cells.ts';
import { toReport } from './deciding-report.ts';
import type { Report } from './report/report.ts';
import { learnTalks } from './targets/conversations.ts';
import { type Cell, type Decided, type Decisions, runDecisions } from './targets/decisions.ts';
import { FLEET_TABLE, type FleetTable, fleetName, startFleetTable } from './targets/fleet-table.ts';
import { type Count, type Counter, startCounter } from './targets/request-counter.ts';

/** Decisions until compilers have seen it all. */
const WARM_UP = 150;
/** Decisions whose requests are counted: all have the same, so that a few show it. */
const COUNTED = 16;

/** Measures what it costs to place a request and to lease a slot for it, and what that asks of DynamoDB. */
export async function benchDeciding({ rounds, decisions }: DecidingOptions): Promise<Report> {
  await using table = await startFleetTable([...FLEETS.map(halfFull), ALMOST_FULL]);
  await using counter = await startCounter('dynamodb');
  counter.target = table.url;
  const cells = FLEETS.flatMap((workers) =>
    PROMPTS.map((promptTokens) => ({ fleet: halfFull(workers), promptTokens, deciders: 1, holdMs: 0 })),
  );
  const crowds = [halfFull(BUDGET_FLEET), ALMOST_FULL].flatMap((fleet) =>
    CROWDS.map((deciders) => ({ fleet, promptTokens: CROWD_PROMPT, deciders, holdMs: HOLD_MS })),
  );
  await learn(table, [...cells, ...crowds]);
  const alone = await inRounds(table.url, rounds, cells, { count: decisions, warmUp: WARM_UP, compared: true });
  const together = await inRounds(table.url, rounds, crowds, { count: decisions, warmUp: WARM_UP, compared: false });
  const placed: Placed[] = [];
  for (const cell of cells) {
    placed.push({ ...cell, times: alone.get(cell) ?? [], asked: await requestsOf(cell, counter) });
  }
  return toReport(
    placed,
    crowds.map((cell): Crowd => ({ ...cell, times: together.get(cell) ?? [] })),
    { rounds, decisions },
  );
}

/** Has the directory know all talks, so that no round differs from the others. */
async function learn({ client }: FleetTable, cells: readonly Cell[]): Promise<void> {
  const store = createDynamoDBFleetStore(client, { tableName: FLEET_TABLE });
  const known = new Set<string>();
  for (const { fleet, promptTokens } of cells) {
    const name = `${fleetName(fleet)} ${promptTokens}`;
    if (!known.has(name)) await learnTalks(store, fleet, promptTokens);
    known.add(name);
  }
}

/** What each cell took, round by round; the order of the cells moves on each round. */
async function inRounds(
  url: string,
  rounds: number,
  cells: readonly Cell[],
  how: Omit<Decisions, 'cells'>,
): Promise<Map<Cell, Decided[]>> {
  const all = new Map<Cell, Decided[]>(cells.map((cell) => [cell, []]));
  for (let round = 0; round < rounds; round++) {
    const turn = Math.floor((round * cells.length) / rounds);
    const ordered = [...cells.slice(turn), ...cells.slice(0, turn)];
    const decided = await runDecisions(url, { ...how, cells: ordered });
    for (const [index, cell] of ordered.entries()) all.get(cell)?.push(...decided.slice(index, index + 1));
  }
  return all;
}

/** Requests of one slot. They are counted apart, since a counter stands in the way. */
async function requestsOf(cell: Cell, counter: Counter): Promise<ReadonlyMap<string, Count>> {
  counter.reset();
  await runDecisions(counter.url, { cells: [cell], count: COUNTED, warmUp: 0, compared: false });
  const asked = [...counter.counts()].map(
    ([operation, { requests, units }]) =>
      [operation, { requests: requests / COUNTED, units: units / COUNTED }] as const,
  );
  return new Map(asked.sort(([a], [b]) => (a < b ? -1 : 1)));
}
