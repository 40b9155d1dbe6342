import { computeQuantile, interleave } from '../test/measure/statistics.ts';
import { runLoad } from './load/load.ts';
import { formatNumber, type Report } from './report/report.ts';
import { MODEL } from './targets/functions.ts';
import { createChatBody, getAnswerEnd } from './targets/lambda-events.ts';
import type { LambdaMode } from './targets/lambent.ts';
import { PORTKEY_STREAM_PAUSE_MS } from './targets/portkey.ts';
import { DIRECT, runWithTargets, type Target } from './targets/targets.ts';

/** Pace of a fast hosted model: 50 tokens per second. */
const PACE = { tokens: 20, intervalMs: 20 };
/** Milliseconds that such a stream takes, with a margin. */
const STREAM_MS = 1.1 * PACE.tokens * PACE.intervalMs;

export interface FirstTokenOptions {
  /** Number of measurements per target, interleaved. */
  readonly rounds: number;
  /** Minimum of measured milliseconds per measurement. */
  readonly durationMs: number;
  /** Minimum of streams per target over all rounds. A p99 needs at least a hundred. */
  readonly streams: number;
  /** Numbers of concurrent streams. */
  readonly connections: readonly number[];
  readonly mode: LambdaMode;
}

interface Result {
  readonly target: string;
  readonly connections: number;
  readonly p50: number;
  readonly p99: number;
  readonly streams: number;
}

/** Measures the time that the first token of a stream takes from the upstream to the client. */
export async function benchFirstToken(options: FirstTokenOptions): Promise<Report> {
  const { rounds, connections, mode } = options;
  const results = await runWithTargets(PACE, mode, async (targets) => {
    const all: Result[] = [];
    for (const count of connections) {
      const durationMs = Math.max(options.durationMs, (options.streams / rounds / count) * STREAM_MS);
      const travels = await interleave(targets, rounds, (target) => measure(target, count, durationMs));
      for (const [{ label }, measured] of travels) all.push(summarize(label, count, measured));
    }
    return all;
  });
  return toReport(results, connections, rounds);
}

async function measure({ url, headers }: Target, connections: number, durationMs: number): Promise<number[]> {
  const { firstTokenTravelMs } = await runLoad({
    url: `${url}/v1/chat/completions`,
    headers,
    body: createChatBody(MODEL, true),
    streamed: true,
    expected: getAnswerEnd('chat/completions', true),
    connections,
    warmUpAnswers: 15,
    durationMs,
  });
  return [...firstTokenTravelMs];
}

function summarize(target: string, connections: number, rounds: readonly (readonly number[])[]): Result {
  return {
    target,
    connections,
    p50: computeQuantile(rounds.flat(), 0.5),
    p99: computeQuantile(rounds.flat(), 0.99),
    streams: rounds.flat().length,
  };
}

function toReport(results: readonly Result[], connections: readonly number[], rounds: number): Report {
  const findDirect = (count: number) =>
    results.find((result) => result.target === DIRECT && result.connections === count);
  return {
    name: 'first-token',
    title: 'First token: time from the upstream to the client',
    method: [
      `The upstream writes the current time as its first token, from a clock that all processes of the machine share. The client subtracts that time from the time at which it can read the token. Streams are paced (${PACE.tokens} tokens, ${PACE.intervalMs} ms apart) so that the machine is not saturated: the figure is a delay, not time in a queue.`,
      `Portkey’s reader of upstream streams sleeps ${PORTKEY_STREAM_PAUSE_MS} ms before it forwards the first event. The targets are those of the warm benchmark.`,
    ],
    tables: connections.map((count) => ({
      caption: `${count} stream${count === 1 ? '' : 's'} at once: milliseconds, over the streams of ${rounds} interleaved rounds`,
      columns: ['target', 'p50', 'p99', '× direct, p50', 'streams'],
      rows: results
        .filter((result) => result.connections === count)
        .map(({ target, p50, p99, streams }) => [
          target,
          ...[p50, p99, p50 / (findDirect(count)?.p50 ?? Number.NaN), streams].map(formatNumber),
        ]),
    })),
    budgets: [],
    charts: (['p50', 'p99'] as const).map((percentile) => ({
      title: `Time from the upstream to the client of the first token, ${percentile}`,
      unit: 'ms',
      groups: connections.map((count) => ({
        label: `${count} stream${count === 1 ? '' : 's'} at once`,
        bars: results
          .filter((result) => result.connections === count)
          .map((result) => ({ label: result.target, value: result[percentile] })),
      })),
    })),
    data: results,
  };
}
