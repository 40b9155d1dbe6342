/** Load client process: `node client.ts <Load as JSON>` prints a `LoadResult` as JSON. */
import { Agent, request as httpRequest } from 'node:http';
import { measureTravelMs } from '../targets/tokens.ts';
import type { Load, LoadResult } from './load.ts';

const load = JSON.parse(process.argv[2] ?? '') as Load;
const agent = new Agent({ keepAlive: true, maxSockets: load.connections });
const target = new URL(load.url);
const headers = {
  'content-type': 'application/json',
  'content-length': String(Buffer.byteLength(load.body)),
  ...load.headers,
};

interface Timing {
  readonly startedAt: number;
  readonly firstByteAt: number;
  readonly endedAt: number;
  readonly firstTokenTravelMs: number | undefined;
}

/** Sends one request and reads the complete answer. */
function sendRequest(): Promise<Timing> {
  return new Promise((resolve, reject) => {
    const startedAt = performance.now();
    const request = httpRequest(target, { method: 'POST', headers, agent }, (response) => {
      let firstByteAt = 0;
      let firstTokenTravelMs: number | undefined;
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        if (text === '') firstByteAt = performance.now();
        text += chunk;
        if (load.streamed) firstTokenTravelMs ??= measureTravelMs(text);
      });
      response.on('error', reject);
      response.on('end', () => {
        const endedAt = performance.now();
        if (response.statusCode === 200 && isWhole(text))
          resolve({ startedAt, firstByteAt, endedAt, firstTokenTravelMs });
        else reject(new Error(`status ${response.statusCode}: ${text.slice(0, 500)}`));
      });
    });
    request.on('error', reject);
    request.end(load.body);
  });
}

function isWhole(text: string): boolean {
  return load.streamed ? text.trimEnd().endsWith('data: [DONE]') : text.includes('token token');
}

async function warmUp(): Promise<void> {
  for (let count = 0; count < load.warmUpAnswers; count++) await sendRequest();
}

/** Sends one request after another on a connection. Returns those that ended before `until`. */
async function repeatRequests(until: number): Promise<Timing[]> {
  const counted: Timing[] = [];
  for (let answer = await sendRequest(); answer.endedAt <= until; answer = await sendRequest()) counted.push(answer);
  return counted;
}

function runOnEachConnection<Result>(work: () => Promise<Result>): Promise<Result[]> {
  return Promise.all(Array.from({ length: load.connections }, work));
}

await runOnEachConnection(warmUp);
const until = performance.now() + load.durationMs;
const answers = (await runOnEachConnection(() => repeatRequests(until))).flat();
const result: LoadResult = {
  requestsPerSecond: (answers.length * 1000) / load.durationMs,
  wholeMs: answers.map(({ startedAt, endedAt }) => endedAt - startedAt),
  firstByteMs: answers.map(({ startedAt, firstByteAt }) => firstByteAt - startedAt),
  firstTokenTravelMs: answers.flatMap(({ firstTokenTravelMs }) => firstTokenTravelMs ?? []),
};
process.stdout.write(JSON.stringify(result), () => process.exit(0));
