import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';

/** A request of a trace. */
export interface TraceRequest {
  /** Milliseconds since the trace's first request. */
  readonly atMs: number;
  readonly inputTokens: number;
  readonly outputTokens: number;
  /** Ids of the prompt's complete blocks of 512 tokens. Equal ids mean equal prompts up to the end of the block. */
  readonly blocks: readonly number[];
}

/** Requests in order of time. */
export interface Trace {
  /** The file's name, or the common name of a published trace. */
  readonly name: string;
  readonly requests: readonly TraceRequest[];
  /** All block ids are below this number. */
  readonly blockCount: number;
  /** Milliseconds to which the times are rounded; 0 if they are not. */
  readonly tickMs: number;
}

/** Tokens of a block in Mooncake's traces. */
export const BLOCK_TOKENS = 512;

/** Rounding of times in Mooncake's conversation trace, in milliseconds. */
const MOONCAKE_TICK_MS = 3_000;
/**
 * Common names of the published traces, which budgets use, by format and number of requests.
 * @see https://github.com/kvcache-ai/Mooncake/tree/main/FAST25-release/traces `conversation_trace.jsonl`
 * @see https://github.com/Azure/AzurePublicDataset `AzureLLMInferenceTrace_conv.csv` of 2023
 */
const PUBLISHED = new Map([
  ['mooncake 12031', 'conversation'],
  ['azure 19366', 'azure'],
]);
const AZURE_HEADER = 'TIMESTAMP,ContextTokens,GeneratedTokens';
const GZIP_MAGIC = 0x1f8b;

/**
 * Reads a trace, gzipped or plain, in Mooncake's JSON lines or Azure's CSV.
 * @throws Error naming the file and the invalid line
 */
export async function readTrace(file: string): Promise<Trace> {
  const bytes = await readFile(file).catch((cause: unknown) => {
    throw new Error(`the trace ${file} can’t be read`, { cause });
  });
  try {
    const trace = parseTrace((await unzip(bytes)).toString('utf8'));
    return { ...trace, name: PUBLISHED.get(`${trace.name} ${trace.requests.length}`) ?? basename(file) };
  } catch (error) {
    if (!(error instanceof TraceError)) throw error;
    throw new Error(`${file}: ${error.message}`, { cause: error });
  }
}

async function unzip(bytes: Buffer): Promise<Buffer> {
  if (bytes.length < 2 || bytes.readUInt16BE(0) !== GZIP_MAGIC) return bytes;
  return promisify(gunzip)(bytes).catch((cause: unknown) => {
    throw new TraceError('it can’t be unzipped', { cause });
  });
}

/** An invalid line of a trace. */
class TraceError extends Error {}

/**
 * Parses the text of a trace.
 * @throws Error naming the invalid line
 */
export function parseTrace(text: string): Trace {
  const trace = chooseParser(text)(text.split(/\r?\n/));
  if (trace.requests.length === 0) throw new TraceError('it contains no requests');
  return trace;
}

function chooseParser(text: string): (lines: readonly string[]) => Trace {
  if (text.startsWith(AZURE_HEADER)) return parseAzure;
  if (/^\s*(\{|$)/.test(text)) return parseMooncake;
  throw new TraceError('it is neither Mooncake’s JSON lines nor Azure’s CSV');
}

/**
 * Parses Mooncake's format: a line `{"timestamp": ms, "input_length": tokens, "output_length": tokens, "hash_ids":
 * […]}` per request. An incomplete last block is left out, because engines cache complete blocks only.
 * @see https://github.com/kvcache-ai/Mooncake/tree/main/FAST25-release
 */
function parseMooncake(lines: readonly string[]): Trace {
  let blockCount = 0;
  const requests = parseLines(lines, 1, (line) => {
    const { timestamp, input_length, output_length, hash_ids } = parseObject(line);
    if (!Array.isArray(hash_ids) || !hash_ids.every((id) => isCount(id)))
      throw new TraceError('hash_ids must be block ids');
    const inputTokens = requireCount('input_length', input_length);
    const blocks: number[] = hash_ids.slice(0, Math.floor(inputTokens / BLOCK_TOKENS));
    for (const block of blocks) blockCount = Math.max(blockCount, block + 1);
    return {
      atMs: requireCount('timestamp', timestamp),
      inputTokens,
      outputTokens: requireCount('output_length', output_length),
      blocks,
    };
  });
  return { name: 'mooncake', requests: sortByTime(requests), blockCount, tickMs: MOONCAKE_TICK_MS };
}

/**
 * Parses Azure's format: `TIMESTAMP,ContextTokens,GeneratedTokens`. It has no prefixes, so no two prompts share one.
 * @see https://github.com/Azure/AzurePublicDataset/blob/master/AzureLLMInferenceDataset2023.md
 */
function parseAzure(lines: readonly string[]): Trace {
  let blockCount = 0;
  const requests = parseLines(lines.slice(1), 2, (line) => {
    const [timestamp = '', context = '', generated = '', ...more] = line.split(',');
    if (more.length > 0) throw new TraceError('there are more than three columns');
    const atMs = parseTime(timestamp);
    const inputTokens = requireCount('ContextTokens', parseInteger(context));
    const blocks = Array.from({ length: Math.floor(inputTokens / BLOCK_TOKENS) }, () => blockCount++);
    return { atMs, inputTokens, outputTokens: requireCount('GeneratedTokens', parseInteger(generated)), blocks };
  });
  return { name: 'azure', requests: sortByTime(requests), blockCount, tickMs: 0 };
}

/** Parses `2023-11-16 18:15:46.6805900`, in UTC, to epoch milliseconds. */
function parseTime(timestamp: string): number {
  const [, date, time, fraction = ''] = /^(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)(\.\d+)?$/.exec(timestamp) ?? [];
  const atMs = Date.parse(`${date}T${time}Z`) + 1_000 * Number(`0${fraction}`);
  if (Number.isNaN(atMs)) throw new TraceError('TIMESTAMP must be a time');
  return atMs;
}

/** Parses an integer. Returns NaN for anything else, so that an empty column is not 0. */
function parseInteger(text: string): number {
  return /^\d+$/.test(text) ? Number(text) : Number.NaN;
}

function parseLines(
  lines: readonly string[],
  firstNumber: number,
  parse: (line: string) => TraceRequest,
): TraceRequest[] {
  return lines.flatMap((line, index) => {
    if (line.trim() === '') return [];
    try {
      return [parse(line)];
    } catch (error) {
      if (!(error instanceof TraceError)) throw error;
      throw new TraceError(`line ${firstNumber + index}: ${error.message}`);
    }
  });
}

function parseObject(line: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw new TraceError('it is not JSON', { cause });
  }
  if (typeof value !== 'object' || value === null) throw new TraceError('it is not a JSON object');
  return { ...value };
}

function requireCount(name: string, value: unknown): number {
  if (!isCount(value)) throw new TraceError(`${name} must be a whole number, 0 or more`);
  return value;
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

/** Sorts requests by time and shifts them to start at 0. Each gets at least one token of each kind, for engines. */
function sortByTime(requests: readonly TraceRequest[]): TraceRequest[] {
  const sorted = requests.toSorted((a, b) => a.atMs - b.atMs);
  const start = sorted[0]?.atMs ?? 0;
  return sorted.map(({ atMs, inputTokens, outputTokens, blocks }) => ({
    atMs: atMs - start,
    inputTokens: Math.max(1, inputTokens),
    outputTokens: Math.max(1, outputTokens),
    blocks,
  }));
}
