import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout } from 'node:timers/promises';
import * as v from 'valibot';
import { LOCAL_API_KEY } from '../local/seed.ts';
import { computeMedian, computeQuantile } from '../test/measure/statistics.ts';
import { formatNumber, type Report, type Table } from './report/report.ts';

export interface StartOptions {
  /** First and second starts each. */
  readonly runs: number;
}

/** A measured start. Times are milliseconds since `npm` was started, except `firstChatMs`. */
interface Start {
  readonly readyMs: number;
  /** From the ready line to the whole response to the first chat completion. */
  readonly firstChatMs: number;
  readonly phases: readonly Phase[];
}

type Phase = v.InferOutput<typeof timesSchema>['phases'][number];

/** Content of the file that `START_PHASES` names: times of the process, in milliseconds since it began. */
const timesSchema = v.object({
  /** Epoch ms. */
  startedAt: v.number(),
  phases: v.array(v.object({ name: v.string(), startMs: v.number(), endMs: v.number() })),
});

const ROOT = resolve(import.meta.dirname, '..');
/** Names that the copy of the project leaves out: build output, state and packages. */
const NOT_COPIED = ['node_modules', '.git', '.build', '.local', '.serverless', 'results'];
/** Budgets in milliseconds, on two cores without other load. */
const BUDGET_MS = { first: 8_000, second: 3_000 };
const TIMEOUT_MS = 120_000;

/** Measures `npm start` until it is ready: a first start, and a second one that finds the build output. */
export async function benchStart({ runs }: StartOptions): Promise<Report> {
  const folder = await mkdtemp(join(tmpdir(), 'lambent-bench-'));
  try {
    const project = join(folder, 'project');
    await copyProject(project);
    const floor: number[] = [];
    const first: Start[] = [];
    const second: Start[] = [];
    for (let run = 0; run < runs; run += 1) {
      floor.push(await measureFloor(project));
      for (const output of ['.build', '.local']) await rm(join(project, output), { recursive: true, force: true });
      first.push(await measureStart(project, folder));
      second.push(await measureStart(project, folder));
    }
    return toReport(floor, first, second);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Copies the project, so that its own build output and state are left alone. The packages are shared. */
async function copyProject(project: string): Promise<void> {
  await cp(ROOT, project, { recursive: true, filter: (path) => !NOT_COPIED.includes(basename(path)) });
  await symlink(join(ROOT, 'node_modules'), join(project, 'node_modules'));
  const file = join(project, 'package.json');
  const manifest: { scripts: Record<string, string> } = JSON.parse(await readFile(file, 'utf8'));
  manifest.scripts['floor'] = 'node bench/targets/bare-server.ts';
  await writeFile(file, JSON.stringify(manifest));
}

async function measureFloor(project: string): Promise<number> {
  const startedAt = performance.now();
  await using command = await runUntilReady(project, ['run', 'floor'], {});
  return command.readyAt - startedAt;
}

async function measureStart(project: string, home: string): Promise<Start> {
  const phasesFile = join(home, 'phases.json');
  await rm(phasesFile, { force: true });
  const startedAt = performance.now();
  const startedAtEpoch = performance.timeOrigin + startedAt;
  await using command = await runUntilReady(project, ['start'], { START_PHASES: phasesFile, HOME: home });
  await requestChat(command.url);
  const firstChatMs = performance.now() - command.readyAt;
  const times = v.parse(timesSchema, JSON.parse(await readWhenWritten(phasesFile)));
  const npmMs = times.startedAt - startedAtEpoch;
  const phases = times.phases.map(({ name, startMs, endMs }) => ({
    name,
    startMs: npmMs + startMs,
    endMs: npmMs + endMs,
  }));
  return {
    readyMs: command.readyAt - startedAt,
    firstChatMs,
    phases: [{ name: 'npm starts node', startMs: 0, endMs: npmMs }, ...phases],
  };
}

interface Command extends AsyncDisposable {
  readonly url: string;
  /** `performance.now()` at its ready line. */
  readonly readyAt: number;
}

/**
 * Runs npm with the environment variables of a new user, without models and credentials, until it prints that it is
 * ready.
 * @throws Error with its output if it ends or takes too long
 */
async function runUntilReady(cwd: string, args: string[], env: Record<string, string>): Promise<Command> {
  // A process group of its own, which gets the signal that Ctrl-C sends in a terminal.
  const child = spawn('npm', args, {
    cwd,
    detached: true,
    env: { PATH: process.env['PATH'] ?? '', PORT: '0', OLLAMA_HOST: '127.0.0.1:9', ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  const late = setTimeout(TIMEOUT_MS, undefined, { ref: false });
  const lines = createInterface(child.stdout);
  const ready = new Promise<Pick<Command, 'url' | 'readyAt'>>((resolveReady) => {
    lines.on('line', (line) => {
      output += `${line}\n`;
      const url = /^ready (\S+)$/.exec(line)?.[1];
      if (url !== undefined) resolveReady({ url, readyAt: performance.now() });
    });
  });
  const result = await Promise.race([ready, once(child, 'exit').then(() => undefined), late]);
  if (result === undefined) {
    await stop(child);
    throw new Error(`npm ${args.join(' ')} did not become ready:\n${output}`);
  }
  return { ...result, [Symbol.asyncDispose]: () => stop(child) };
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.pid === undefined) return;
  const exited = once(child, 'exit');
  process.kill(-child.pid, 'SIGINT');
  await exited;
}

async function requestChat(baseUrl: string): Promise<void> {
  const response = await fetch(`${baseUrl}/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${LOCAL_API_KEY}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'default', messages: [{ role: 'user', content: 'Hello!' }] }),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`The first chat completion failed with ${response.status}: ${text}`);
}

/** Reads a file that is written when the start has ended. */
async function readWhenWritten(file: string): Promise<string> {
  const deadline = performance.now() + TIMEOUT_MS;
  for (;;) {
    const text = await readFile(file, 'utf8').catch(() => '');
    if (text !== '') return text;
    if (performance.now() > deadline) throw new Error(`${file} was not written`);
    await setTimeout(50);
  }
}

function toReport(floor: readonly number[], first: readonly Start[], second: readonly Start[]): Report {
  const floorMs = computeMedian(floor);
  const toRow = (label: string, values: readonly number[]) => [
    label,
    ...[
      computeMedian(values),
      computeQuantile(values, 0.1),
      computeQuantile(values, 0.9),
      computeMedian(values) / floorMs,
    ].map(formatNumber),
  ];
  const listReadyTimes = (starts: readonly Start[]) => starts.map(({ readyMs }) => readyMs);
  const listChatTimes = (starts: readonly Start[]) => starts.map(({ firstChatMs }) => firstChatMs);
  const toBudget = (label: string, starts: readonly Start[], limitMs: number) => ({
    metric: `${label}, until ready`,
    measured: { label: 'npm start', value: computeMedian(listReadyTimes(starts)), unit: 'ms' },
    against: { label: 'budget', value: limitMs, unit: 'ms' },
    limit: 1,
  });
  return {
    name: 'start',
    title: 'Start: from `npm start` to ready',
    method: [
      'A copy of the project is started with `npm start`, in an environment without models or credentials, until it prints the line `ready`. Before a first start, its build output and its state are deleted: bundles, the resolved `serverless.yml`, the compile cache, tables and keys. A second start finds them. Installed packages are in the page cache in both cases.',
      'The floor is a bare HTTP server that npm starts in the same way: the time of npm and of Node itself.',
      'A start is ready when a chat completion can be answered. Functions that no chat completion needs are bundled afterwards, and requests to them wait. The first chat completion is measured too: from the line `ready` to the whole response, with the start of the processes of `authorize` and `chat`.',
    ],
    tables: [
      {
        caption: `Milliseconds, ${floor.length} starts of each kind`,
        columns: ['', 'median', 'p10', 'p90', '× floor'],
        rows: [
          toRow('bare HTTP server, through npm', floor),
          toRow('first start', listReadyTimes(first)),
          toRow('second start', listReadyTimes(second)),
          toRow('first chat completion after a first start', listChatTimes(first)),
          toRow('first chat completion after a second start', listChatTimes(second)),
        ],
      },
      toPhaseTable('first start', first),
      toPhaseTable('second start', second),
    ],
    budgets: [toBudget('first start', first, BUDGET_MS.first), toBudget('second start', second, BUDGET_MS.second)],
    charts: [
      {
        title: 'Time until ready, median',
        unit: 'ms',
        groups: [
          {
            label: '',
            bars: [
              { label: 'bare HTTP server', value: floorMs },
              { label: 'first start', value: computeMedian(listReadyTimes(first)) },
              { label: 'second start', value: computeMedian(listReadyTimes(second)) },
            ],
          },
        ],
      },
    ],
    data: { floor, first, second },
  };
}

/** Returns a table of the start and end of each phase. Phases overlap. */
function toPhaseTable(label: string, starts: readonly Start[]): Table {
  const phases = Map.groupBy(
    starts.flatMap((start) => start.phases),
    ({ name }) => name,
  );
  return {
    caption: `Phases of a ${label}, medians in milliseconds since npm was started`,
    columns: ['phase', 'from', 'to', 'duration'],
    rows: [...phases].map(([name, all]) => [
      name,
      formatNumber(computeMedian(all.map(({ startMs }) => startMs))),
      formatNumber(computeMedian(all.map(({ endMs }) => endMs))),
      formatNumber(computeMedian(all.map(({ startMs, endMs }) => endMs - startMs))),
    ]),
  };
}
