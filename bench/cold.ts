import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { setTimeout } from 'node:timers/promises';
import type { FunctionDefinition } from '../local/lambda/function.ts';
import { startRunner } from '../local/lambda/runner.ts';
import { computeMedian, computeQuantile, interleave } from '../test/measure/statistics.ts';
import { startServer } from './processes.ts';
import { formatNumber, type Report } from './report/report.ts';
import { startAuthorizerTables } from './targets/access-table.ts';
import {
  ACCESS_TABLE,
  bundleFunction,
  KEYS_TABLE,
  MODEL,
  provideCredentials,
  REGION,
  writeBedrockModels,
  writeHostedModels,
} from './targets/functions.ts';
import { createAuthorizerEvent, createChatBody, createChatEvent } from './targets/lambda-events.ts';
import { splitHead } from './targets/split-head.ts';

const TARGETS = join(import.meta.dirname, 'targets');
/** Much longer than a process needs to write its code cache. */
const CODE_CACHE_MS = 1_000;

export interface ColdOptions {
  /** Fresh processes per target. */
  readonly runs: number;
}

/** A function, its payload, and a text that a valid response contains. */
interface Target {
  readonly label: string;
  readonly definition: FunctionDefinition;
  readonly payload: string;
  readonly expected: string;
}

/** Measures cold starts: from the start of a function's process to the first byte of its response. */
export async function benchCold({ runs }: ColdOptions): Promise<Report> {
  const folder = await mkdtemp(join(tmpdir(), 'lambent-bench-'));
  try {
    await using upstream = await startServer(join(TARGETS, 'upstream.ts'));
    await using bedrock = await startServer(join(TARGETS, 'bedrock.ts'));
    await using tables = await startAuthorizerTables(ACCESS_TABLE, KEYS_TABLE);
    const targets = await prepareTargets(folder, upstream.url, bedrock.url, tables.url);
    const cached = await Promise.all(targets.map((target) => addCodeCache(target, folder)));
    const all = [...targets, ...cached];
    // The first start of each target reads its files from disk and is not counted.
    for (const target of all) await measureColdStart(target);
    const times = await interleave(all, runs, measureColdStart);
    return toReport([...times].map(([{ label }, ms]) => ({ label, ms })));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function prepareTargets(folder: string, upstream: string, bedrock: string, tables: string): Promise<Target[]> {
  const [hostedModels, bedrockModels] = [await writeHostedModels(folder, upstream), await writeBedrockModels(folder)];
  const bare = await bundleFunction('bench/targets/bare-handler.ts', folder);
  const chat = await bundleFunction('functions/chat.ts', folder, { AWS_ENDPOINT_URL_BEDROCK_RUNTIME: bedrock });
  const authorize = await bundleFunction('functions/authorize.ts', folder, {
    AWS_ENDPOINT_URL_DYNAMODB: tables,
    ACCESS_TABLE,
    KEYS_TABLE,
  });
  const payload = createChatEvent(createChatBody(MODEL, true));
  const createChat = (models: string) => ({ ...chat, environment: { ...chat.environment, MODELS_FILE: models } });
  return [
    { label: BARE, definition: bare, payload, expected: 'hello' },
    { label: CHAT, definition: createChat(hostedModels), payload, expected: 'token ' },
    { label: CHAT_BEDROCK, definition: createChat(bedrockModels), payload, expected: 'token ' },
    { label: AUTHORIZE, definition: authorize, payload: createAuthorizerEvent(), expected: '"Allow"' },
  ];
}

const BARE = 'bare handler';
const CHAT = 'chat, OpenAI-compatible upstream';
const CHAT_BEDROCK = 'chat, Bedrock stand-in';
const AUTHORIZE = 'authorize, two reads of DynamoDB';
const CACHED = ' + V8 code cache';

/** Returns the target with a V8 code cache, which one served call writes. */
async function addCodeCache(target: Target, folder: string): Promise<Target> {
  const cache = await mkdtemp(join(folder, 'code-cache-'));
  const addEnvironment = (more: Record<string, string>): Target => ({
    ...target,
    label: target.label + CACHED,
    definition: { ...target.definition, environment: { ...target.definition.environment, ...more } },
  });
  const flusher = join(TARGETS, 'flush-code-cache.ts');
  await measureColdStart(
    addEnvironment({ NODE_COMPILE_CACHE: cache, NODE_OPTIONS: `--import=${flusher}` }),
    CODE_CACHE_MS,
  );
  return addEnvironment({ NODE_COMPILE_CACHE: cache });
}

/**
 * Serves one call with a fresh process.
 * @param lingerMs milliseconds for which the process keeps running afterwards
 * @returns milliseconds from before the process start to the first byte of the response body
 * @throws Error if the response is not the expected response
 */
async function measureColdStart({ label, definition, payload, expected }: Target, lingerMs = 0): Promise<number> {
  const runner = await startRunner({ functions: [definition], region: REGION, credentials: provideCredentials });
  try {
    const startedAt = performance.now();
    const { body, streamed } = await runner.invoke(definition.name, payload);
    let firstByteAt: number | undefined;
    let answer = '';
    for await (const { bytes } of streamed ? splitHead(body) : readChunks(body)) {
      if (bytes.length > 0) firstByteAt ??= performance.now();
      answer += bytes.toString('utf8');
    }
    if (firstByteAt === undefined || !answer.includes(expected)) throw new Error(`${label} answered: ${answer}`);
    if (lingerMs > 0) await setTimeout(lingerMs);
    return firstByteAt - startedAt;
  } finally {
    await runner.close();
  }
}

async function* readChunks(body: Readable): AsyncGenerator<{ bytes: Buffer }> {
  for await (const bytes of body as AsyncIterable<Buffer>) yield { bytes };
}

interface Times {
  readonly label: string;
  readonly ms: readonly number[];
}

function toReport(targets: readonly Times[]): Report {
  const findMedian = (label: string) => computeMedian(targets.find((target) => target.label === label)?.ms ?? []);
  const floor = findMedian(BARE);
  const toRow = ({ label, ms }: Times) => {
    const middle = computeMedian(ms);
    return [
      label,
      ...[middle, computeQuantile(ms, 0.1), computeQuantile(ms, 0.9), middle - floor, middle / floor].map(formatNumber),
    ];
  };
  const toBudget = (label: string) => ({
    metric: 'cold start to first byte',
    measured: { label, value: findMedian(label), unit: 'ms' },
    against: { label: BARE, value: floor, unit: 'ms' },
    limit: 3,
  });
  const toBars = (cached: boolean) =>
    targets
      .filter(({ label }) => label.endsWith(CACHED) === cached)
      .map(({ label, ms }) => ({ label: label.replace(CACHED, ''), value: computeMedian(ms) }));
  return {
    name: 'cold',
    title: 'Cold start: from process start to first byte',
    method: [
      'Each run starts a fresh process through the local Lambda runner (Node, the runtime client, the bundle that is packaged for AWS) and serves one invocation. The clock runs from before the process starts until the first byte of the response body reaches the runner. The bare handler is bundled, started and invoked in the same way and writes five bytes, so the ratio shows the cost of Lambent’s own code. The upstream, the Bedrock stand-in and the table are separate processes on the same machine and respond at once.',
      'The chat request is streamed and stateless. In API Gateway the authorizer runs before chat, in its own environment, so its time is a separate row and not part of chat’s.',
      'The budgets apply without a V8 code cache, because V8 rejects a cache written by another version or architecture. The rows with a code cache use Node’s compile cache (`NODE_COMPILE_CACHE`), written after one served call on this machine. They show the most that shipping a cache could gain.',
    ],
    tables: [
      {
        caption: `Milliseconds, ${targets[0]?.ms.length ?? 0} fresh processes per target, interleaved`,
        columns: ['target', 'median', 'p10', 'p90', 'over bare', '× bare'],
        rows: targets.map(toRow),
      },
    ],
    budgets: [toBudget(CHAT), toBudget(CHAT_BEDROCK)],
    charts: [
      {
        title: 'Cold start to first byte, median',
        unit: 'ms',
        groups: [
          { label: 'Without a code cache', bars: toBars(false) },
          { label: 'With a V8 code cache', bars: toBars(true) },
        ],
      },
    ],
    data: targets,
  };
}
