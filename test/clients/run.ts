/** `npm run clients`: runs other people's clients against the whole service and prints a table of the results. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { bundleFunctions } from '../../infra/bundle/build.ts';
import { installDependencies } from '../../infra/install.ts';
import { installRequirements, mustRunPython } from '../../infra/python.ts';
import { CLIENTS, type Client } from './clients.ts';
import { createDriver, type Driver, hasGo } from './drivers.ts';
import { type Cell, compareWithFull, judge, printFailures, printTable, summarize, writeResults } from './report.ts';
import { FULL_KIND, KINDS, type Kind, startTarget } from './targets.ts';
import { readVersions } from './versions.ts';
import { type Watch, watchService } from './watch.ts';

const USAGE = `npm run clients [-- [--all] [--write] [name…] | --suites]

Runs the SDKs for Node and Python with three kinds of targets, and with --all all clients with all kinds.
With names of kinds (${KINDS.join(', ')}),
or beginnings of names of clients, runs only these. With -v, prints each result at once. With --write,
writes the results of a complete run that went well into docs/clients.md, where more is said. With --suites,
runs tests that SDKs bring, or that are made from their types.`;

const { values, positionals } = parseArgs({
  options: {
    all: { type: 'boolean' },
    write: { type: 'boolean' },
    suites: { type: 'boolean' },
    verbose: { type: 'boolean', short: 'v' },
    help: { type: 'boolean', short: 'h' },
  },
  allowPositionals: true,
});

async function main(): Promise<void> {
  if (values.help) return console.log(USAGE);
  if (values.suites) {
    await bundleFunctions();
    const { runSuites } = await import('./suites/run-suites.ts');
    if (!(await runSuites())) process.exitCode = 1;
    return;
  }
  const kinds = selectKinds();
  const clients = selectClients();
  const drivers = await prepareDrivers(clients);
  const cells: Cell[] = [];
  for (const kind of kinds) {
    await using target = await startTarget(kind);
    const waiting = [...drivers];
    await Promise.all(
      // As many at a time as the smallest machine has cores.
      [1, 2].map(async () => {
        for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
          const [client, driver] = next;
          await using watch = await watchService(target.url);
          const checks = await driver({ kind, url: watch.url });
          const cell = judge(client, kind, { checks, refusals: watch.refusals });
          if (values.verbose) printCell(cell, watch);
          cells.push(cell);
        }
      }),
    );
  }
  const compared = compareWithFull(cells);
  printTable(clients, kinds, compared);
  if (!printFailures(compared)) process.exitCode = 1;
  else if (values.write) await writePage(compared);
}

/** Writes the results into docs/clients.md if all clients were run with all kinds. */
async function writePage(cells: readonly Cell[]): Promise<void> {
  if (cells.length < CLIENTS.length * KINDS.length) throw new Error('Only the results of a complete run are written');
  const file = join(import.meta.dirname, '../../docs/clients.md');
  const run = { versions: await readVersions(), date: new Date().toISOString().slice(0, 10) };
  await writeFile(file, writeResults(await readFile(file, 'utf8'), CLIENTS, cells, run));
}

function printCell(cell: Cell, { counts }: Watch): void {
  const requests = [...counts].map(([name, count]) => `${name} ×${count}`).join(', ');
  console.error([`${cell.kind}: ${cell.client}: ${summarize(cell)}: ${requests}`, ...cell.problems].join('\n'));
}

/** The kinds that need no `--all`: those that differ most. */
const USUAL_KINDS: readonly Kind[] = ['guide', FULL_KIND, 'nova'];

function selectKinds(): readonly Kind[] {
  const chosen = KINDS.filter((kind) => positionals.includes(kind));
  if (chosen.length > 0) return chosen;
  return values.all ? KINDS : KINDS.filter((kind) => USUAL_KINDS.includes(kind));
}

function selectClients(): readonly Client[] {
  const names = positionals.filter((name) => !KINDS.some((kind) => kind === name));
  // `claude` is a kind, so the program is `claude-code`.
  const simplify = (text: string): string => text.toLowerCase().replaceAll(' ', '-');
  const matches = ({ name }: Client, start: string): boolean => simplify(name).startsWith(simplify(start));
  const unknown = names.find((name) => !CLIENTS.some((client) => matches(client, name)));
  if (unknown !== undefined) {
    throw new Error(`There is no client ${unknown}. Clients: ${CLIENTS.map(({ name }) => name).join(', ')}`);
  }
  if (names.length > 0) return CLIENTS.filter((client) => names.some((name) => matches(client, name)));
  return CLIENTS.filter(({ runtime }) => values.all || runtime === 'node' || runtime === 'python');
}

/** Installs what the clients need. Leaves out clients whose runtime this machine lacks, except in CI. */
async function prepareDrivers(clients: readonly Client[]): Promise<readonly (readonly [Client, Driver])[]> {
  const runtimes = new Set(clients.map(({ runtime }) => runtime));
  const folder = (name: string): string => `${import.meta.dirname}/${name}`;
  const missing = new Set<string>();
  await bundleFunctions();
  await installDependencies(import.meta.dirname);
  if (runtimes.has('program')) await installDependencies(folder('programs'), 'install');
  if (runtimes.has('python') && !(await mustRunPython())) missing.add('python');
  if (runtimes.has('go') && !(await hasGo())) missing.add('go');
  const python = runtimes.has('python') && !missing.has('python') ? await installRequirements(folder('python')) : '';
  for (const runtime of missing) console.error(`The clients in ${runtime} don't run: it is not installed.`);
  const present = clients.filter(({ runtime }) => !missing.has(runtime));
  return Promise.all(present.map(async (client) => [client, await createDriver(client, python)] as const));
}

main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error);
  process.exit(1);
});
