import { setTimeout as sleep } from 'node:timers/promises';
import type { SQSClient } from '@aws-sdk/client-sqs';
import { computeStepMs, countHalfPairs, STEP_MODELS } from '../local/engine/step-model.ts';
import { WORKER_DEFAULTS } from '../local/engine/workers.ts';
import { LOCAL_API_KEY } from '../local/seed.ts';
import { computeMedian, computeQuantile, interleave } from '../test/measure/statistics.ts';
import { type ChatResult, runChats } from './load/chats.ts';
import { formatNumber, type Report } from './report/report.ts';
import {
  DEFAULT_RESERVE,
  type EngineMetrics,
  type GpuCloud,
  type ServedModel,
  startGpuCloud,
} from './targets/gpu-cloud.ts';
import { createSqsClient, sendJobs } from './targets/producers.ts';

export interface InterferenceOptions {
  /** Number of measurements per case, interleaved. */
  readonly rounds: number;
  /** Measured seconds per measurement. */
  readonly seconds: number;
}

interface Case {
  readonly label: string;
  readonly model: ServedModel;
  readonly chats: boolean;
  readonly batch: boolean;
}

/** The measurements of one case in one round. */
interface Measured {
  /** Time to the first token of each chat, from its scheduled time. */
  readonly firstTokenMs: readonly number[];
  /** Mean time between the tokens of each chat's answer. */
  readonly perTokenMs: readonly number[];
  readonly refused: number;
  /** Tokens per second generated for jobs. */
  readonly batchTokensPerSecond: number;
  /** Mean number of requests that the engines were running. */
  readonly running: number;
}

interface Result {
  readonly label: string;
  readonly rounds: readonly Measured[];
}

const ALONE = 'chat alone';
const BATCH_ALONE = 'batch alone';
const CASES: readonly Case[] = [
  { label: ALONE, model: DEFAULT_RESERVE, chats: true, batch: false },
  { label: 'chat and batch, half reserved', model: 'gpu-half-reserved', chats: true, batch: true },
  { label: 'chat and batch, a quarter reserved', model: DEFAULT_RESERVE, chats: true, batch: true },
  { label: 'chat and batch, nothing reserved', model: 'gpu-unreserved', chats: true, batch: true },
  { label: BATCH_ALONE, model: DEFAULT_RESERVE, chats: false, batch: true },
];

/** A fifth of a large GPU's speed, so that chat waits for the engine and not for the laptop's processors. */
const SPEED = 0.2;
/** The load of chat: about a third of the slots' capacity. */
const CHAT = { perSecond: 1.2, promptTokens: 512 };
const DOCUMENT_TOKENS = 2_048;
const BYTES_PER_TOKEN = 4;
const PROSE = 'The quick brown fox jumps over the lazy dog while the engine computes the next token. ';
/** Queued and running jobs: more than there are slots. */
const BACKLOG = 40;
const FEED_MS = 500;
const SAMPLE_MS = 250;
/** Unmeasured seconds at the start, until environments are up and batch work has its slots. */
const WARM_UP_SECONDS = 12;
/** A job without a slot backs off for longer each time, up to more than a minute. */
const TIMEOUT_MS = 300_000;

/** Measures the effect of batch work on chat on the same GPU workers, and the throughput of both. */
export async function benchInterference(options: InterferenceOptions): Promise<Report> {
  const { rounds, seconds } = options;
  await using gpuCloud = await startGpuCloud(SPEED);
  const client = createSqsClient(gpuCloud.cloud);
  try {
    const measured = await interleave(CASES, rounds, (each, round) => measure(gpuCloud, client, each, seconds, round));
    const results = [...measured].map(([{ label }, all]) => ({ label, rounds: all }));
    return toReport(results, options);
  } finally {
    client.destroy();
  }
}

async function measure(
  gpuCloud: GpuCloud,
  client: SQSClient,
  { label, model, chats, batch }: Case,
  seconds: number,
  round: number,
): Promise<Measured> {
  await using feeding = new AsyncDisposableStack();
  if (batch) feeding.use(keepQueueFull(gpuCloud, client, model, `${label}-${round}`));
  const startAt = Date.now() + 1_000;
  const countAt = startAt + WARM_UP_SECONDS * 1000;
  const [samples, chatted] = await Promise.all([
    sampleEngines(gpuCloud, countAt, seconds),
    chats ? runChatLoad(gpuCloud, model, startAt, WARM_UP_SECONDS + seconds, round) : [],
  ]);
  const [first, last] = [samples[0], samples.at(-1)];
  if (first === undefined || last === undefined) throw new Error('no metrics of the engines were read');
  const generated = last.generatedTokens - first.generatedTokens - countTokensBetween(chatted, first.at, last.at);
  const counted = chatted.filter(({ dueAt }) => dueAt >= countAt);
  return {
    firstTokenMs: counted.flatMap(({ dueAt, firstTokenAt }) =>
      firstTokenAt === undefined ? [] : firstTokenAt - dueAt,
    ),
    perTokenMs: counted.flatMap(computePerTokenMs),
    refused: counted.filter(({ refusal }) => refusal !== undefined).length,
    batchTokensPerSecond: batch ? (generated * 1000) / (last.at - first.at) : 0,
    running: samples.reduce((sum, { running }) => sum + running, 0) / samples.length,
  };
}

/** Keeps the queue full until it is disposed, then waits until all jobs have ended. */
function keepQueueFull(gpuCloud: GpuCloud, client: SQSClient, model: string, name: string): AsyncDisposable {
  const queueUrl = gpuCloud.cloud.resources['GENERATION_QUEUE_URL'] ?? '';
  const createBody = (key: string) => {
    const document = `${key} ${PROSE.repeat(Math.ceil((DOCUMENT_TOKENS * BYTES_PER_TOKEN) / PROSE.length))}`;
    return { model, input: document.slice(0, DOCUMENT_TOKENS * BYTES_PER_TOKEN) };
  };
  const ended = new AbortController();
  const sent: string[] = [];
  const countMissing = () => sent.filter((id) => !gpuCloud.ended.has(id)).length;
  const feeding = (async () => {
    while (!ended.signal.aborted) {
      const wanted = BACKLOG - countMissing();
      if (wanted > 0) sent.push(...(await sendJobs(client, queueUrl, `${name}-${sent.length}`, wanted, createBody)));
      await sleep(FEED_MS);
    }
  })();
  return {
    async [Symbol.asyncDispose]() {
      ended.abort();
      await feeding;
      const until = Date.now() + TIMEOUT_MS;
      while (countMissing() > 0 && Date.now() < until) await sleep(FEED_MS);
      const failed = sent.filter((id) => gpuCloud.ended.get(id)?.status !== 'completed').length;
      if (failed > 0) throw new Error(`${failed} of ${sent.length} jobs were not completed`);
    },
  };
}

/** Samples the engines' metrics for `seconds` from `startAt`. */
async function sampleEngines(gpuCloud: GpuCloud, startAt: number, seconds: number): Promise<EngineMetrics[]> {
  await sleep(Math.max(0, startAt - Date.now()));
  const samples: EngineMetrics[] = [];
  while (Date.now() < startAt + seconds * 1000) {
    samples.push(await gpuCloud.readEngines());
    await sleep(SAMPLE_MS);
  }
  return samples;
}

function runChatLoad({ cloud }: GpuCloud, model: string, startAt: number, seconds: number, seed: number) {
  return runChats({
    url: `${cloud.url}/chat/completions`,
    headers: { authorization: `Bearer ${LOCAL_API_KEY}`, 'content-type': 'application/json' },
    model,
    ...CHAT,
    startAt,
    seconds,
    seed,
  });
}

function computePerTokenMs({ firstTokenAt, lastTokenAt, tokens = 0 }: ChatResult): number[] {
  if (firstTokenAt === undefined || lastTokenAt === undefined || tokens < 2) return [];
  return [(lastTokenAt - firstTokenAt) / (tokens - 1)];
}

/** Returns the number of chat tokens between two times. */
function countTokensBetween(chatted: readonly ChatResult[], from: number, to: number): number {
  return chatted.reduce((sum, { firstTokenAt = 0, lastTokenAt = 0, tokens = 0 }) => {
    const whole = Math.max(1, lastTokenAt - firstTokenAt);
    const within = Math.max(0, Math.min(lastTokenAt, to) - Math.max(firstTokenAt, from));
    return sum + tokens * (within / whole);
  }, 0);
}

function toReport(results: readonly Result[], { rounds, seconds }: InterferenceOptions): Report {
  const alone = results.find(({ label }) => label === ALONE);
  const batchAlone = results.find(({ label }) => label === BATCH_ALONE);
  const chatting = results.filter(({ rounds: all }) => all.some(({ firstTokenMs }) => firstTokenMs.length > 0));
  const computeEngineMs = (tokens: number) =>
    computeStepMs(STEP_MODELS[WORKER_DEFAULTS.gpu], tokens, 0, countHalfPairs(tokens, 0)) / SPEED;
  const { slots } = WORKER_DEFAULTS;
  return {
    name: 'interference',
    title: 'Interference: chat on GPU workers, with and without batch work',
    method: [
      `**The engines are stand-ins, and their time is scaled:** two workers of ${slots} slots that schedule as vLLM does (continuous batching, chunked prefill, priorities) and take the time of Llama 3 8B on an H100, at ${formatNumber(SPEED)} of its speed, by a model (\`local/engine/step-model.ts\`); they compute nothing. Alone, a prompt of ${CHAT.promptTokens} tokens takes such an engine ${formatNumber(computeEngineMs(CHAT.promptTokens))} ms, and a prompt of ${formatNumber(DOCUMENT_TOKENS)} tokens ${formatNumber(computeEngineMs(DOCUMENT_TOKENS))} ms. Everything else is real and unscaled: the whole local cloud, chat streamed over HTTP, jobs through the generation queue, the GPU queue and \`functions/dispatch\`.`,
      `Chat is ${CHAT.perSecond} requests per second on average, about a third of the slots’ capacity. A separate process sends them at random times, whether or not earlier requests have been answered; the time to the first token counts from the scheduled time. Batch work is documents of ${formatNumber(DOCUMENT_TOKENS)} tokens sent as a program’s messages, ${BACKLOG} of them queued or running at any time. Its tokens are the engines’ own count minus the tokens of chat. All answers have about 120 tokens, and no two prompts share a prefix. The first ${WARM_UP_SECONDS} s of each measurement don’t count.`,
      'With a quarter reserved, the default, batch work gets a slot of a worker only while fewer than six of its eight slots are leased, by any request; with half reserved, while fewer than four are leased; with nothing reserved, whenever a slot is free. Inside an engine, waiting chat prompts go before waiting batch prompts, and running requests are not interrupted.',
    ],
    tables: [
      {
        caption: `Milliseconds over all chats, and median batch tokens per second, of ${rounds} interleaved rounds of ${seconds} s`,
        columns: [
          '',
          'first token, p50',
          'p99',
          '× alone, p99',
          'per token, p50',
          'p99',
          'chats',
          'refused',
          'batch tokens/s',
          '× alone',
          'requests in engines',
        ],
        rows: results.map((result) => [
          result.label,
          ...[
            computeTimeQuantile(result, 'firstTokenMs', 0.5),
            computeTimeQuantile(result, 'firstTokenMs', 0.99),
            computeTimeQuantile(result, 'firstTokenMs', 0.99) / computeTimeQuantile(alone, 'firstTokenMs', 0.99),
            computeTimeQuantile(result, 'perTokenMs', 0.5),
            computeTimeQuantile(result, 'perTokenMs', 0.99),
            collectTimes(result, 'firstTokenMs').length,
            result.rounds.reduce((sum, { refused }) => sum + refused, 0),
            computeBatchRate(result),
            computeBatchRate(result) / computeBatchRate(batchAlone),
            computeMedian(result.rounds.map(({ running }) => running)),
          ].map(formatNumber),
        ]),
      },
    ],
    budgets: [],
    charts: [
      {
        title: 'First token of chat',
        unit: 'ms',
        groups: [0.5, 0.99].map((p) => ({
          label: `p${100 * p}`,
          bars: chatting.map((result) => ({
            label: result.label,
            value: computeTimeQuantile(result, 'firstTokenMs', p),
          })),
        })),
      },
      {
        title: 'Batch work',
        unit: 'tokens/s',
        groups: [
          { label: '', bars: results.map((result) => ({ label: result.label, value: computeBatchRate(result) })) },
        ],
      },
    ],
    limits: [
      '**The step.** A chat request that arrives while an engine computes a chunk of a document waits for the end of that step, whatever is reserved. A smaller step (`--max-num-batched-tokens`) reduces the wait and costs batch throughput.',
      '**The slot.** The reserve guarantees chat a free slot. Without it, a chat request that finds all slots leased waits until a slot is free. Dispatchers then leave that slot to it, but running requests are not interrupted, and every document in a slot slows the engine’s steps. [Placement](placement.md) simulates the same question with more workers and with engines without priorities.',
    ],
    data: results,
  };
}

type TimeName = 'firstTokenMs' | 'perTokenMs';

function collectTimes(result: Result | undefined, timed: TimeName): number[] {
  return (result?.rounds ?? []).flatMap((round) => round[timed]);
}

function computeTimeQuantile(result: Result | undefined, timed: TimeName, p: number): number {
  const values = collectTimes(result, timed);
  return values.length === 0 ? Number.NaN : computeQuantile(values, p);
}

function computeBatchRate(result: Result | undefined): number {
  return computeMedian((result?.rounds ?? []).map(({ batchTokensPerSecond }) => batchTokensPerSecond));
}
