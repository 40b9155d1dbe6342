/** Load client process: `node client.ts <Load as JSON>` prints a `LoadResult` as JSON. */
import type { Load, LoadResult } from './load.ts';
import { createSender, type Timing } from './send-request.ts';

const load = JSON.parse(process.argv[2] ?? '') as Load;
const sendRequest = createSender(load, load.connections);

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
