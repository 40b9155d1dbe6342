/** `npm run clients`: runs other people's clients against the whole service and prints a table of the results. */
import { parseArgs } from 'node:util';
import { bundleFunctions } from '../../infra/bundle/build.ts';
import { installDependencies } from '../../infra/install.ts';
import { installRequirements, mustRunPython } from '../../infra/python.ts';
import { CLIENTS, type Client } from './clients.ts';
import { createDriver, type Driver, hasGo } from './drivers.ts';
import { type Cell, judge, printFailures, printTable } from './report.ts';
import { KINDS, type Kind, startTarget } from './targets.ts';

const USAGE = `npm run clients [-- [--all] [client…]]

Runs the SDKs for Node and Python, and with --all the other clients too. With names, or beginnings of
names, of clients or kinds (${KINDS.join(', ')}), runs only these. With -v, prints each
result at once. See docs/clients.md.`;

const { values, positionals } = parseArgs({
  options: {
    all: { type: 'boolean' },
    verbose: { type: 'boolean', short: 'v' },
    help: { type: 'boolean', short: 'h' },
  },
  allowPositionals: true,
});

async function main(): Promise<void> {
  if (values.help) return console.log(USAGE);
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
          const checks = await driver({ kind, url: target.url });
          const cell = judge(client, kind, checks);
          if (values.verbose) console.error([`${kind}: ${client.name}: ${cell.summary}`, ...cell.problems].join('\n'));
          cells.push(cell);
        }
      }),
    );
  }
  printTable(clients, kinds, cells);
  if (!printFailures(cells)) process.exitCode = 1;
}

function selectKinds(): readonly Kind[] {
  const chosen = KINDS.filter((kind) => positionals.includes(kind));
  return chosen.length > 0 ? chosen : KINDS;
}

function selectClients(): readonly Client[] {
  const names = positionals.filter((name) => !KINDS.some((kind) => kind === name));
  const matches = ({ name }: Client, start: string): boolean => name.toLowerCase().startsWith(start.toLowerCase());
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
