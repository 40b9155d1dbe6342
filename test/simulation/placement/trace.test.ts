import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseTrace, readTrace } from './trace.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lambent-traces-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function writeTraceFile(name: string, content: string | Buffer): Promise<string> {
  const file = join(folder, name);
  await writeFile(file, content);
  return file;
}

const formatRequest = (timestamp: number, input_length: number, hash_ids: readonly number[], output_length = 10) =>
  JSON.stringify({ timestamp, input_length, output_length, hash_ids });
const MOONCAKE = [formatRequest(0, 1_100, [0, 1, 2]), formatRequest(3_000, 1_024, [0, 7])].join('\n');
const AZURE = [
  'TIMESTAMP,ContextTokens,GeneratedTokens',
  '2023-11-16 18:15:46.6805900,1100,44',
  '2023-11-16 18:15:50.9951690,396,109',
].join('\n');

describe('a trace in Mooncake’s format', () => {
  it('a Mooncake trace is read with its complete blocks and the rounding of its times', async () => {
    expect(await readTrace(await writeTraceFile('plain.jsonl', MOONCAKE))).toEqual({
      name: 'plain.jsonl',
      requests: [
        // The third block is incomplete.
        { atMs: 0, inputTokens: 1_100, outputTokens: 10, blocks: [0, 1] },
        { atMs: 3_000, inputTokens: 1_024, outputTokens: 10, blocks: [0, 7] },
      ],
      blockCount: 8,
      tickMs: 3_000,
    });
  });

  it('a Mooncake trace is sorted by time, starting at 0', () => {
    const lines = [
      formatRequest(9_000, 1, []),
      formatRequest(6_000, 2, []),
      formatRequest(9_000, 3, []),
      formatRequest(7_500, 4, []),
    ];
    expect(parseTrace(lines.join('\n')).requests.map(({ atMs, inputTokens }) => [atMs, inputTokens])).toEqual([
      [0, 2],
      [1_500, 4],
      [3_000, 1],
      [3_000, 3],
    ]);
  });

  it('a Mooncake trace may have CRLF line ends and empty lines', () => {
    expect(parseTrace(`${MOONCAKE.replaceAll('\n', '\r\n\r\n')}\r\n`)).toEqual(parseTrace(MOONCAKE));
  });

  it('a Mooncake trace has at least one token of each kind per request', () => {
    expect(parseTrace(formatRequest(0, 0, [], 0)).requests).toEqual([
      { atMs: 0, inputTokens: 1, outputTokens: 1, blocks: [] },
    ]);
  });

  it.each([
    ['{"timestamp": 1,', 'it is not JSON'],
    ['[1, 2]', 'hash_ids must be block ids'],
    ['null', 'it is not a JSON object'],
    [formatRequest(0, 10, [1.5]), 'hash_ids must be block ids'],
    [formatRequest(0, 10, [-1]), 'hash_ids must be block ids'],
    [formatRequest(-1, 10, []), 'timestamp must be a whole number, 0 or more'],
    [formatRequest(0, 10.5, []), 'input_length must be a whole number, 0 or more'],
    [
      JSON.stringify({ timestamp: 0, input_length: 1, hash_ids: [] }),
      'output_length must be a whole number, 0 or more',
    ],
  ])('a Mooncake trace with the line %s is refused with the file’s name and the line’s number', async (line, why) => {
    const file = await writeTraceFile('bad.jsonl', `${MOONCAKE}\n\n${line}\n${MOONCAKE}`);
    await expect(readTrace(file)).rejects.toThrow(`${file}: line 4: ${why}`);
  });
});

describe('a trace in Azure’s format', () => {
  it('an Azure trace is read to 0.1 µs, and no two prompts share a prefix', async () => {
    const { requests, ...rest } = await readTrace(await writeTraceFile('plain.csv', AZURE));
    expect(rest).toEqual({ name: 'plain.csv', blockCount: 2, tickMs: 0 });
    expect(requests).toEqual([
      { atMs: 0, inputTokens: 1_100, outputTokens: 44, blocks: [0, 1] },
      { atMs: expect.closeTo(4_314.579, 3), inputTokens: 396, outputTokens: 109, blocks: [] },
    ]);
    const twice = parseTrace(`${AZURE}\n2023-11-16 18:15:51,1024,1`);
    expect(new Set(twice.requests.flatMap(({ blocks }) => blocks)).size).toBe(4);
  });

  it.each([
    ['2023-11-16 18:15:46.68,,44', 'ContextTokens must be a whole number, 0 or more'],
    ['2023-11-16 18:15:46.68,10', 'GeneratedTokens must be a whole number, 0 or more'],
    ['2023-11-16 18:15:46.68,10,1e3', 'GeneratedTokens must be a whole number, 0 or more'],
    ['2023-11-16 18:15:46.68,10,1,1', 'there are more than three columns'],
    ['16/11/2023,10,1', 'TIMESTAMP must be a time'],
    ['2023-13-16 18:15:46,10,1', 'TIMESTAMP must be a time'],
    ['1,10,1', 'TIMESTAMP must be a time'],
  ])('an Azure trace with the line %s is refused with the file’s name and the line’s number', async (line, why) => {
    const file = await writeTraceFile('bad.csv', `${AZURE}\n${line}\n`);
    await expect(readTrace(file)).rejects.toThrow(`${file}: line 4: ${why}`);
  });
});

describe('a trace file', () => {
  it.each([
    ['Mooncake’s', MOONCAKE],
    ['Azure’s', AZURE],
  ])('a trace in %s format may be gzipped under any name', async (_, text) => {
    expect(await readTrace(await writeTraceFile('zipped', gzipSync(text)))).toEqual({
      ...parseTrace(text),
      name: 'zipped',
    });
  });

  it.each([
    ['nothing', ''],
    ['empty lines', '\n\n'],
    ['a header alone', 'TIMESTAMP,ContextTokens,GeneratedTokens\n'],
    ['nothing, gzipped', gzipSync('')],
  ])('a trace file that contains %s is refused', async (_, content) => {
    const file = await writeTraceFile('empty', content);
    await expect(readTrace(file)).rejects.toThrow(`${file}: it contains no requests`);
  });

  it.each([
    ['a page', '<!doctype html>'],
    ['another table', 'time,tokens\n1,2'],
    ['a list', '[{"timestamp": 0}]'],
    ['a picture', Buffer.from('89504e470d0a1a0a', 'hex')],
  ])('a file that is %s is refused as neither format', async (_, content) => {
    const file = await writeTraceFile('neither', content);
    await expect(readTrace(file)).rejects.toThrow(`${file}: it is neither Mooncake’s JSON lines nor Azure’s CSV`);
  });

  it('a truncated gzip file is named in the error', async () => {
    const file = await writeTraceFile('cut.gz', gzipSync(MOONCAKE).subarray(0, -12));
    await expect(readTrace(file)).rejects.toThrow(`${file}: it can’t be unzipped`);
  });

  it('a file that does not exist is named in the error', async () => {
    const file = join(folder, 'nowhere.jsonl');
    await expect(readTrace(file)).rejects.toThrow(`the trace ${file} can’t be read`);
    await expect(readTrace(folder)).rejects.toThrow(`the trace ${folder} can’t be read`);
  });
});
