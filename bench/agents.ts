import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LOCAL_API_KEY } from '../local/seed.ts';
import { computeMedian } from '../test/measure/statistics.ts';
import { measureStages, type StageTimes } from './agent-stages.ts';
import { type PairedResult, runPaired } from './load/paired.ts';
import { type ServerProcess, startServer } from './processes.ts';
import { type Budget, type Chart, formatNumber, type Report, type Table } from './report/report.ts';
import { createAgentBody } from './targets/agent-requests.ts';
import { bundleFunction, MODEL, writeHostedModels } from './targets/functions.ts';
import { type Endpoint, getAnswerEnd } from './targets/lambda-events.ts';
import { createPortkeyHeaders, PORTKEY_STREAM_PAUSE_MS, startPortkey } from './targets/portkey.ts';
import { DIRECT, HANDLER, PORTKEY, PROXY } from './targets/targets.ts';

/** Bytes of a small request, and of those of coding agents. */
const SMALL_BYTES = 1_000;
const LARGEST_BYTES = 300_000;
const SIZES = [SMALL_BYTES, 50_000, 100_000, LARGEST_BYTES];
const RESPONSES = 'Lambent, responses';
const MESSAGES = 'Lambent, messages';

/** Budgets of the function alone, per request of `LARGEST_BYTES`. */
const BUDGET_MS = { added: 3, cpu: 4 };
/** Budgets at `SMALL_BYTES`: shares of what Portkey adds, buffered, and streamed without its pause. */
const SHARE_OF_PORTKEY = { buffered: 1 / 3, streamed: 1 / 2 };

export interface AgentsOptions {
  /** Measurements per target, interleaved. */
  readonly rounds: number;
}

/** Requests per measurement. */
const REQUESTS = 8;
const WARM_UP_ANSWERS = 60;

interface Target {
  readonly label: string;
  readonly endpoint: Endpoint;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  /** The target's own process. */
  readonly pid: number | undefined;
}

interface Setting {
  readonly sizeBytes: number;
  readonly streamed: boolean;
}

const SETTINGS: readonly Setting[] = [
  ...SIZES.map((sizeBytes) => ({ sizeBytes, streamed: true })),
  { sizeBytes: SMALL_BYTES, streamed: false },
  { sizeBytes: LARGEST_BYTES, streamed: false },
];

export interface Result {
  readonly target: string;
  /** Milliseconds until the first byte of the body, the median of all rounds. */
  readonly firstByteMs: number;
  /** Milliseconds above the direct request in the same round, the median of all rounds. */
  readonly addedMs: number;
  /** Milliseconds of the process's processor time per request, mean. */
  readonly cpuMs: number;
}

interface Measured {
  readonly setting: Setting;
  readonly results: readonly Result[];
}

/** Measures what each target adds to requests as coding agents send them, and what the function spends on them. */
export async function benchAgents(options: AgentsOptions): Promise<Report> {
  const folder = await mkdtemp(join(tmpdir(), 'lambent-bench-'));
  try {
    await using upstream = await startServer(resolveFile('upstream.ts'));
    await using proxy = await startServer(resolveFile('proxy.ts'), [upstream.url]);
    await using portkey = await startPortkey();
    const definition = await bundleFunction('functions/chat.ts', folder, {
      MODELS_FILE: await writeHostedModels(folder, upstream.url),
    });
    const startHandler = () => startServer(resolveFile('handler.ts'), [JSON.stringify(definition)]);
    await using chat = await startHandler();
    await using responses = await startHandler();
    await using messages = await startHandler();
    const chats = [
      toTarget(DIRECT, 'chat/completions', { url: upstream.url }),
      toTarget(PROXY, 'chat/completions', proxy),
      toTarget(HANDLER, 'chat/completions', chat),
      toTarget(PORTKEY, 'chat/completions', portkey, createPortkeyHeaders(upstream.url)),
    ];
    const others = [toTarget(RESPONSES, 'responses', responses), toTarget(MESSAGES, 'messages', messages)];
    const measured: Measured[] = [];
    for (const setting of SETTINGS) {
      const hasAll = setting.streamed && setting.sizeBytes > SMALL_BYTES;
      measured.push(await measure(hasAll ? [...chats, ...others] : chats, setting, options));
    }
    return toReport(measured, measureStages(SIZES), options);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const resolveFile = (name: string) => join(import.meta.dirname, 'targets', name);

function toTarget(
  label: string,
  endpoint: Endpoint,
  { url, pid }: Partial<ServerProcess> & Pick<ServerProcess, 'url'>,
  headers: Target['headers'] = { authorization: `Bearer ${LOCAL_API_KEY}` },
): Target {
  return { label, endpoint, url, headers, pid };
}

async function measure(targets: readonly Target[], setting: Setting, { rounds }: AgentsOptions): Promise<Measured> {
  const { sizeBytes, streamed } = setting;
  const results = await runPaired({
    targets: targets.map(({ endpoint, url, headers, pid }) => ({
      url: `${url}/v1/${endpoint}`,
      headers,
      body: createAgentBody(endpoint, sizeBytes, MODEL, streamed),
      streamed,
      expected: getAnswerEnd(endpoint, streamed),
      pid,
    })),
    warmUpAnswers: WARM_UP_ANSWERS,
    rounds,
    requests: REQUESTS,
  });
  return {
    setting,
    results: compare(
      targets.map(({ label }) => label),
      results,
    ),
  };
}

/**
 * Compares the rounds of each target with those of the first, the direct request, so that slower moments of the machine
 * cancel out.
 */
export function compare(labels: readonly string[], results: readonly PairedResult[]): Result[] {
  const direct = results[0]?.firstByteMs ?? [];
  return results.map(({ firstByteMs, cpuMs }, index) => ({
    target: labels[index] ?? '',
    firstByteMs: computeMedian(firstByteMs),
    addedMs: computeMedian(firstByteMs.map((ms, round) => ms - (direct[round] ?? Number.NaN))),
    cpuMs,
  }));
}

function toReport(measured: readonly Measured[], stages: readonly StageTimes[], { rounds }: AgentsOptions): Report {
  return {
    name: 'agents',
    title: 'Requests of coding agents: what a gateway adds to 50 to 300 KB',
    method: [
      'Bodies are generated: the prompt of an agent, 20 tools with schemas, and turns of which each has a call and its result, most of them source files. A few characters are beyond Latin-1, as in real prompts. The body of 1 KB has one question and no tools. One client process sends the same request to every target over one connection, one after another: directly to the upstream, through a bare `node:http` proxy, through Portkey’s gateway (`@portkey-ai/gateway` 1.15.2), and through the chat function’s bundle in one process behind `node:http` (“function alone”). The upstream responds at once.',
      `“Added” is the time to the first byte of the answer’s body above that of the direct request in the same round. Portkey’s reader of upstream streams sleeps ${PORTKEY_STREAM_PAUSE_MS} ms before it forwards the first event; “less pause” subtracts that. Processor time is that of the target’s process, user and system, divided by its requests. The function gets its event as an object: API Gateway writes its JSON and Lambda’s runtime parses it, which these figures exclude.`,
      'The upstream has OpenAI’s chat API, so that responses and messages are translated. They are compared with the direct chat request of the same size.',
    ],
    tables: [...measured.map((each) => toTable(each, rounds)), toStagesTable(stages, measured)],
    budgets: toBudgets(measured),
    limits: [
      '**Time in the kernel.** A body of 300 KB is copied four times between processes. The bare proxy’s figures show the cost, because its code never reads the body.',
      '**Where the time goes.** A body is parsed once and encoded once. The stages are measured on the functions’ own code in a process without other work, so that their sum is less than the processor time of a request.',
    ],
    charts: [
      toChart(measured, 'addedMs', 'Added to the first byte of a stream, p50'),
      toChart(measured, 'cpuMs', 'Processor time per streamed request'),
    ],
    data: { measured, stages },
  };
}

const formatSize = (bytes: number) => `${bytes / 1000} KB`;
const formatSetting = ({ sizeBytes, streamed }: Setting) =>
  `${formatSize(sizeBytes)}, ${streamed ? 'streamed' : 'buffered'}`;

/** Returns the time that a target adds. That of Portkey's streams is given without its pause. */
function getAddedLessPause({ target, addedMs }: Result, { streamed }: Setting): number {
  return target === PORTKEY && streamed ? addedMs - PORTKEY_STREAM_PAUSE_MS : addedMs;
}

function toTable({ setting, results }: Measured, rounds: number): Table {
  const portkeyMs = getAddedLessPause(find(results, PORTKEY), setting);
  const formatAdded = (result: Result, value: number) => (result.target === DIRECT ? '' : formatNumber(value));
  return {
    caption: `${formatSetting(setting)}: milliseconds, median of ${rounds} interleaved rounds of ${REQUESTS} requests`,
    columns: [
      'target',
      'first byte, p50',
      'added',
      `÷ Portkey${setting.streamed ? ' less pause' : ''}`,
      'CPU per request',
    ],
    rows: results.map((result) => [
      result.target,
      formatNumber(result.firstByteMs),
      formatAdded(result, result.addedMs),
      formatAdded(result, getAddedLessPause(result, setting) / portkeyMs),
      formatAdded(result, result.cpuMs),
    ]),
  };
}

/** The last row is the processor time of a request less all stages. */
function toStagesTable(stages: readonly StageTimes[], measured: readonly Measured[]): Table {
  const rest = SIZES.map((sizeBytes, index) => {
    const { results } = findSetting(measured, { sizeBytes, streamed: true });
    return find(results, HANDLER).cpuMs - stages.reduce((sum, { ms }) => sum + (ms[index] ?? Number.NaN), 0);
  });
  return {
    caption: 'Where the time of the function alone goes, streamed chat completions: milliseconds, median',
    columns: ['stage', ...SIZES.map(formatSize)],
    rows: [...stages, { label: 'HTTP in both directions, router, stream, log line (the rest)', ms: rest }].map(
      ({ label, ms }) => [label, ...ms.map(formatNumber)],
    ),
  };
}

function toBudgets(measured: readonly Measured[]): Budget[] {
  const large = findSetting(measured, { sizeBytes: LARGEST_BYTES, streamed: true });
  const { addedMs, cpuMs } = find(large.results, HANDLER);
  const toAbsolute = (metric: string, value: number, limit: number): Budget => ({
    metric: `${formatSetting(large.setting)}, ${metric}`,
    measured: { label: HANDLER, value, unit: 'ms' },
    against: { label: 'budget', value: limit, unit: 'ms' },
    limit: 1,
  });
  const toShare = (streamed: boolean): Budget => {
    const { setting, results } = findSetting(measured, { sizeBytes: SMALL_BYTES, streamed });
    const toFigure = (label: string) => ({
      label: `${label} adds`,
      value: getAddedLessPause(find(results, label), setting),
      unit: 'ms',
    });
    return {
      metric: `${formatSetting(setting)}, added to the first byte`,
      measured: toFigure(HANDLER),
      against: toFigure(PORTKEY),
      limit: SHARE_OF_PORTKEY[streamed ? 'streamed' : 'buffered'],
    };
  };
  return [
    toAbsolute('added to the first byte', addedMs, BUDGET_MS.added),
    toAbsolute('CPU per request', cpuMs, BUDGET_MS.cpu),
    toShare(false),
    toShare(true),
  ];
}

function toChart(measured: readonly Measured[], value: 'addedMs' | 'cpuMs', title: string): Chart {
  return {
    title: value === 'addedMs' ? `${title} (Portkey’s less its pause)` : title,
    unit: 'ms',
    groups: measured
      .filter(({ setting }) => setting.streamed)
      .map(({ setting, results }) => ({
        label: formatSize(setting.sizeBytes),
        bars: results
          .filter(({ target }) => target !== DIRECT)
          .map((result) => ({
            label: result.target,
            value: Math.max(0, value === 'cpuMs' ? result.cpuMs : getAddedLessPause(result, setting)),
          })),
      })),
  };
}

function findSetting(measured: readonly Measured[], { sizeBytes, streamed }: Setting): Measured {
  const found = measured.find(({ setting }) => setting.sizeBytes === sizeBytes && setting.streamed === streamed);
  if (found === undefined) throw new Error(`${formatSetting({ sizeBytes, streamed })} was not measured`);
  return found;
}

function find(results: readonly Result[], label: string): Result {
  const result = results.find(({ target }) => target === label);
  if (result === undefined) throw new Error(`${label} was not measured`);
  return result;
}
