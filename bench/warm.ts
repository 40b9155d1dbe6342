import { computeMedian, computeQuantile, interleave } from '../test/measure/statistics.ts';
import { runLoad } from './load/load.ts';
import { type Budget, type Chart, formatNumber, type Report, type Table } from './report/report.ts';
import { MODEL } from './targets/functions.ts';
import { createChatBody, getAnswerEnd } from './targets/lambda-events.ts';
import type { LambdaMode } from './targets/lambent.ts';
import { PORTKEY_STREAM_PAUSE_MS } from './targets/portkey.ts';
import { CLOUD, DIRECT, HANDLER, PORTKEY, PROXY, RUNNER, runWithTargets, type Target } from './targets/targets.ts';

/**
 * Budget: with more than one connection, the function alone serves at most this many times the requests per second of
 * the whole local cloud.
 */
const CLOUD_FACTOR = 2;

/** How the local cloud runs the function in each mode. */
const PROCESSES: Readonly<Record<LambdaMode, string>> = {
  managed: 'one process for all concurrent requests, as with `npm start`',
  standard: 'one process for each concurrent request, as in Lambda',
};

/** Budget: added latency is at most this share of Portkey's. */
const SHARE_OF_PORTKEY = 1 / 3;

export interface WarmOptions {
  /** Number of measurements per target, interleaved. */
  readonly rounds: number;
  /** Measured milliseconds per measurement. */
  readonly durationMs: number;
  /** Numbers of connections, each of which sends one request after another. */
  readonly connections: readonly number[];
  readonly mode: LambdaMode;
}

interface Setting {
  readonly streamed: boolean;
  readonly connections: number;
}

/** Measurements of a target in one round. Milliseconds of a whole buffered request, or until a stream's first byte. */
interface Round {
  readonly requestsPerSecond: number;
  readonly p50: number;
  readonly p99: number;
}

interface Result extends Round {
  readonly target: string;
  /** Milliseconds above the direct request in the same round, the median of all rounds. */
  readonly addedP50: number;
  readonly addedP99: number;
}

/** Measures the time that each target adds to a warm request. */
export async function benchWarm(options: WarmOptions): Promise<Report> {
  const { rounds, durationMs, connections, mode } = options;
  const settings = [false, true].flatMap((streamed) => connections.map((count) => ({ streamed, connections: count })));
  const measured = await runWithTargets({ tokens: 16, intervalMs: 0 }, mode, async (targets) => {
    const results: { setting: Setting; results: Result[] }[] = [];
    for (const setting of settings) {
      const all = await interleave(targets, rounds, (target) => measure(target, setting, durationMs));
      results.push({ setting, results: compare(all) });
    }
    return results;
  });
  return toReport(measured, options);
}

async function measure(target: Target, { streamed, connections }: Setting, durationMs: number): Promise<Round> {
  const { requestsPerSecond, wholeMs, firstByteMs } = await runLoad({
    url: `${target.url}/v1/chat/completions`,
    headers: target.headers,
    body: createChatBody(MODEL, streamed),
    streamed,
    expected: getAnswerEnd('chat/completions', streamed),
    connections,
    warmUpAnswers: 50,
    durationMs,
  });
  const ms = streamed ? firstByteMs : wholeMs;
  return { requestsPerSecond, p50: computeQuantile(ms, 0.5), p99: computeQuantile(ms, 0.99) };
}

/**
 * Returns the time that each target adds to the direct request, by round, so that slower moments of the machine cancel
 * out.
 */
function compare(all: Map<Target, Round[]>): Result[] {
  const direct = [...all].find(([{ label }]) => label === DIRECT)?.[1] ?? [];
  return [...all].map(([{ label }, rounds]) => {
    const computeMiddle = (value: (round: Round, index: number) => number) => computeMedian(rounds.map(value));
    return {
      target: label,
      requestsPerSecond: computeMiddle((round) => round.requestsPerSecond),
      p50: computeMiddle(({ p50 }) => p50),
      p99: computeMiddle(({ p99 }) => p99),
      addedP50: computeMiddle(({ p50 }, index) => p50 - (direct[index]?.p50 ?? Number.NaN)),
      addedP99: computeMiddle(({ p99 }, index) => p99 - (direct[index]?.p99 ?? Number.NaN)),
    };
  });
}

/** Returns paragraphs that explain missed budgets and the limits of figures from a laptop. */
function describeLimits(measured: Measured, mode: LambdaMode): string[] {
  const single = measured.find(({ setting }) => !setting.streamed && setting.connections === 1)?.results ?? [];
  const share = single.length === 0 ? Number.NaN : find(single, PROXY).addedP50 / find(single, PORTKEY).addedP50;
  return [
    `**Buffered requests.** With one connection, a \`node:http\` proxy that inspects nothing already adds ${formatNumber(share)} of the time that Portkey’s gateway adds: most of the cost of any gateway on \`node:http\` is to parse and write each request and response twice more. ${share > SHARE_OF_PORTKEY ? 'This alone exceeds the budget: on this machine no gateway on `node:http` can keep it. ' : ''}“Over proxy ÷ Portkey” compares the part that code can change.`,
    `**The whole local cloud.** Every request passes the gateway, the Runtime API in both directions, and the function, which has ${PROCESSES[mode]}. These processes share the machine’s cores. In AWS each function has its own processor time and API Gateway does the gateway’s work, so the figures at 10 and 50 connections describe a laptop, not a deployment.`,
    '**Streams.** The first byte of a single stream is far within the budget because of Portkey’s pause. When the cores are busy, the time to the first byte is mostly time waiting for a core.',
  ];
}

type Measured = readonly { readonly setting: Setting; readonly results: readonly Result[] }[];

function toReport(measured: Measured, { rounds, durationMs, mode }: WarmOptions): Report {
  return {
    name: 'warm',
    title: 'Warm overhead: what a gateway adds to a request',
    method: [
      'One client process sends the same request to every target, each connection one request after another: directly to the upstream, through a bare `node:http` proxy that inspects nothing, through Portkey’s gateway (`@portkey-ai/gateway` 1.15.2, `@hono/node-server` 1.14.1), and through Lambent. The upstream responds at once. “Added” is the time above the direct request in the same round.',
      `“${HANDLER}” is the chat function’s bundle in one process behind \`node:http\`, like the proxy and Portkey’s gateway: it shows what Lambent’s own code adds. “${RUNNER}” adds the local Lambda runner and its Runtime API, with ${PROCESSES[mode]}. “${CLOUD}” also adds the authorizer and the gateway that stands for API Gateway: everything that \`npm start\` puts between a client and the upstream. In AWS, API Gateway’s and Lambda’s own times replace those of the local gateway and the runner; these figures can’t show them.`,
      `For streams, times are to the first byte of the body. Portkey’s reader of upstream streams sleeps ${PORTKEY_STREAM_PAUSE_MS} ms before it forwards the first event, which dominates its figures; the last column subtracts that pause. For buffered requests, the last column compares the time above the bare proxy, the minimum for any gateway on \`node:http\`.`,
      'At 10 and 50 connections the client, the upstream and the target keep the machine’s cores busy throughout: times are mostly waiting, and requests/s is the better comparison. On a laptop with few cores, Lambent’s processes share the processor time that another gateway’s single process has to itself.',
    ],
    tables: measured.map((entry) => toTable(entry, rounds, durationMs)),
    budgets: measured.flatMap(toBudgets),
    limits: describeLimits(measured, mode),
    charts: [false, true].map((streamed) => toChart(measured, streamed)),
    data: measured,
  };
}

const formatSetting = ({ streamed, connections }: Setting) =>
  `${streamed ? 'Streamed' : 'Buffered'}, ${connections} connection${connections === 1 ? '' : 's'}`;

/** Returns the columns of a table by heading. A column returns undefined for targets it does not apply to. */
function toColumns({ setting, results }: Measured[number]): Record<string, (result: Result) => number | undefined> {
  const [direct, proxy, portkey] = [find(results, DIRECT), find(results, PROXY), find(results, PORTKEY)];
  const skipDirect = (value: (result: Result) => number) => (result: Result) =>
    result === direct ? undefined : value(result);
  return {
    'requests/s': ({ requestsPerSecond }) => requestsPerSecond,
    '× direct': ({ requestsPerSecond }) => requestsPerSecond / direct.requestsPerSecond,
    p50: ({ p50 }) => p50,
    p99: ({ p99 }) => p99,
    'added p50': skipDirect(({ addedP50 }) => addedP50),
    'added p99': skipDirect(({ addedP99 }) => addedP99),
    '÷ Portkey': skipDirect(({ addedP50 }) => addedP50 / portkey.addedP50),
    ...(setting.streamed
      ? {
          '÷ Portkey less pause': skipDirect(({ addedP50 }) => addedP50 / (portkey.addedP50 - PORTKEY_STREAM_PAUSE_MS)),
        }
      : {
          'over proxy ÷ Portkey': skipDirect(
            ({ addedP50 }) => (addedP50 - proxy.addedP50) / (portkey.addedP50 - proxy.addedP50),
          ),
        }),
  };
}

function toTable(entry: Measured[number], rounds: number, durationMs: number): Table {
  const columns = Object.entries(toColumns(entry));
  const formatCell = (value: number | undefined) => (value === undefined ? '' : formatNumber(value));
  return {
    caption: `${formatSetting(entry.setting)}: milliseconds, median of ${rounds} interleaved rounds of ${durationMs / 1000} s`,
    columns: ['target', ...columns.map(([heading]) => heading)],
    rows: entry.results.map((result) => [result.target, ...columns.map(([, value]) => formatCell(value(result)))]),
  };
}

function toBudgets({ setting, results }: Measured[number]): Budget[] {
  const toAddedFigure = (label: string) => ({
    label: `${label} adds`,
    value: find(results, label).addedP50,
    unit: 'ms',
  });
  const latency = [HANDLER, CLOUD].map((label) => ({
    metric: `${formatSetting(setting)}, p50`,
    measured: toAddedFigure(label),
    against: toAddedFigure(PORTKEY),
    limit: SHARE_OF_PORTKEY,
  }));
  if (setting.streamed || setting.connections === 1) return latency;
  const toRateFigure = (label: string) => ({
    label,
    value: find(results, label).requestsPerSecond,
    unit: 'requests/s',
  });
  const metric = `${formatSetting(setting)}, function alone over whole local cloud`;
  return [...latency, { metric, measured: toRateFigure(HANDLER), against: toRateFigure(CLOUD), limit: CLOUD_FACTOR }];
}

function toChart(measured: Measured, streamed: boolean): Chart {
  return {
    title: `${streamed ? 'Added to the first byte of a stream' : 'Added to a buffered request'}, p50`,
    unit: 'ms',
    groups: measured
      .filter(({ setting }) => setting.streamed === streamed)
      .map(({ setting, results }) => ({
        label: formatSetting(setting),
        bars: [PROXY, HANDLER, RUNNER, CLOUD, PORTKEY].map((label) => ({
          label,
          value: Math.max(0, find(results, label).addedP50),
        })),
      })),
  };
}

function find(results: readonly Result[], label: string): Result {
  const result = results.find(({ target }) => target === label);
  if (result === undefined) throw new Error(`${label} was not measured`);
  return result;
}
