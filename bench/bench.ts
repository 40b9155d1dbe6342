/**
 * Runs benchmarks, prints each figure beside its floor or peer, and writes all measured values as JSON. Exits with 1 if
 * a budget is missed.
 *
 * `npm run bench [-- NAME…] [--quick] [--mode managed|standard] [--runs N] [--json FILE] [--publish]`. The names are
 * the keys of `BENCHMARKS`; all run if none is given. `placement` must be run by itself to use its further options
 * (`placement/command.ts`).
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { readMachine } from '../test/measure/machine.ts';
import { benchAgents } from './agents.ts';
import { benchBacklog } from './backlog/backlog.ts';
import { benchBurst } from './burst.ts';
import { benchCold } from './cold.ts';
import { benchCost } from './cost.ts';
import { benchDeciding } from './deciding.ts';
import { benchFirstToken } from './first-token.ts';
import { benchInterference } from './interference.ts';
import { benchJobs } from './jobs.ts';
import { benchLimits } from './limits.ts';
import { benchPersonal } from './personal.ts';
import { parseCommand, runSimulations } from './placement/command.ts';
import { benchPlacement } from './placement/placement.ts';
import { publish } from './report/page.ts';
import { type DatedReport, isMet, type Report } from './report/report.ts';
import { toText } from './report/text.ts';
import { benchSeal } from './seal.ts';
import { benchSession } from './session.ts';
import { benchStart } from './start.ts';
import type { LambdaMode } from './targets/lambent.ts';
import { benchWarm } from './warm.ts';

const PAGES = join(import.meta.dirname, '../docs/benchmarks');
const RESULTS = join(import.meta.dirname, 'results');

interface Options {
  /** Fewer and shorter runs, which check that a benchmark works but give no figures to quote. */
  readonly quick: boolean;
  readonly runs: number | undefined;
  /**
   * How the local cloud runs functions: `managed` with many requests to a process, or `standard`. `jobs` means all functions,
   * the others HTTP functions only, as `npm start` does.
   */
  readonly mode: LambdaMode;
}

const BENCHMARKS: Readonly<Record<string, (options: Options) => Promise<Report>>> = {
  start: ({ quick, runs }) => benchStart({ runs: runs ?? (quick ? 1 : 7) }),
  cold: ({ quick, runs }) => benchCold({ runs: runs ?? (quick ? 5 : 30) }),
  warm: ({ quick, runs, mode }) =>
    benchWarm({ rounds: runs ?? (quick ? 1 : 5), durationMs: quick ? 1_000 : 3_000, connections: [1, 10, 50], mode }),
  'first-token': ({ quick, runs, mode }) =>
    benchFirstToken({
      rounds: runs ?? (quick ? 1 : 5),
      durationMs: quick ? 2_000 : 5_000,
      streams: quick ? 10 : 120,
      connections: [1, 10, 50],
      mode,
    }),
  agents: ({ quick, runs }) => benchAgents({ rounds: runs ?? (quick ? 3 : 60) }),
  limits: ({ quick, runs }) => benchLimits({ rounds: runs ?? (quick ? 3 : 60) }),
  seal: ({ quick, runs }) => benchSeal({ rounds: runs ?? (quick ? 3 : 15), durationMs: quick ? 100 : 500 }),
  personal: ({ quick, runs }) =>
    benchPersonal({ rounds: runs ?? (quick ? 3 : 30), hostileLength: quick ? 100_000 : 1_000_000 }),
  jobs: ({ quick, runs, mode }) => benchJobs({ rounds: runs ?? (quick ? 1 : 5), jobs: quick ? 100 : 1_000, mode }),
  burst: ({ quick, mode }) => benchBurst({ perSecond: quick ? [5, 20] : [25, 100], seconds: quick ? 5 : 30, mode }),
  session: ({ quick, runs }) => benchSession({ rounds: runs ?? (quick ? 1 : 5), calls: quick ? 10 : 50 }),
  cost: ({ quick }) => benchCost({ jobs: quick ? 50 : 500 }),
  deciding: ({ quick, runs }) => benchDeciding({ rounds: runs ?? (quick ? 1 : 5), decisions: quick ? 20 : 100 }),
  interference: ({ quick, runs }) => benchInterference({ rounds: runs ?? (quick ? 1 : 2), seconds: quick ? 20 : 60 }),
  backlog: ({ quick }) => benchBacklog({ quick }),
  placement: ({ quick, runs }) => benchPlacement({ traces: [], quick, seeds: runs }),
};

async function main(): Promise<void> {
  const [name, ...words] = process.argv.slice(2);
  if (name === 'placement') return runPlacement(words);
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: {
      quick: { type: 'boolean', default: false },
      runs: { type: 'string' },
      json: { type: 'string' },
      mode: { type: 'string', default: 'managed' },
      publish: { type: 'boolean', default: false },
    },
  });
  const names = positionals.length > 0 ? positionals : Object.keys(BENCHMARKS);
  const runs = values.runs === undefined ? undefined : Number(values.runs);
  if (runs !== undefined && !(Number.isInteger(runs) && runs > 0))
    throw new Error('--runs must be a whole number, 1 or more');
  if (values.mode !== 'managed' && values.mode !== 'standard') throw new Error('--mode must be managed or standard');
  const records: DatedReport[] = [];
  for (const name of names) {
    const benchmark = BENCHMARKS[name];
    if (benchmark === undefined)
      throw new Error(`unknown benchmark ${name}; known: ${Object.keys(BENCHMARKS).join(', ')}`);
    records.push(await printReport(await benchmark({ quick: values.quick, runs, mode: values.mode }), values.publish));
  }
  await saveRecords(records, values.json);
}

/** Runs single simulations and prints a line for each, or runs the whole benchmark. */
async function runPlacement(words: readonly string[]): Promise<void> {
  const command = parseCommand(words);
  if ('policies' in command) return runSimulations(command, console.log);
  await saveRecords([await printReport(await benchPlacement(command), command.publish)]);
}

async function printReport(report: Report, isPublished: boolean): Promise<DatedReport> {
  const record = { date: new Date().toISOString(), machine: readMachine(), report };
  console.log(toText(record));
  if (isPublished) await publish(record, PAGES);
  return record;
}

async function saveRecords(records: readonly DatedReport[], path?: string): Promise<void> {
  const file = resolve(path ?? join(RESULTS, `${new Date().toISOString().replaceAll(':', '-')}.json`));
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, `${JSON.stringify(records, null, 2)}\n`);
  console.log(`All measured values: ${file}`);
  if (!records.every(({ report }) => report.budgets.every(isMet))) process.exitCode = 1;
}

await main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 2;
});
