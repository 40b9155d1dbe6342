import { resolve } from 'node:path';
import { buffer } from 'node:stream/consumers';
import type { InvokeOptions } from '../../local/lambda/invocation.ts';
import { type Runner, startRunner } from '../../local/lambda/runner.ts';
import { waitUntil } from '../wait.ts';
import { CONCURRENCY, type HttpResult, type LogLine } from './concurrency.ts';

const BUNDLES = resolve(import.meta.dirname, '../../.build');
/** Longer than any test takes: only the deadlines that tests give end an invocation. */
const TIMEOUT_MS = 600_000;

/** An invocation's request id, and the milliseconds until the deadline that the function sees. */
export type CallOptions = Pick<InvokeOptions, 'requestId' | 'remainingMs'>;

/**
 * Packaged functions on the runner, as on Lambda Managed Instances: one process of each serves up to `CONCURRENCY` invocations
 * at once.
 */
export interface PackagedFunctions extends AsyncDisposable {
  /** What the functions have logged, parsed. When a call resolves, the log lines of all earlier ones are among them. */
  readonly lines: LogLine[];
  /** Calls a function and returns its response, parsed. */
  call(name: string, event: object, options?: CallOptions): Promise<unknown>;
  /** Calls an HTTP function and returns its whole response. */
  callHttp(name: string, event: object, options?: CallOptions): Promise<HttpResult>;
}

/** Starts the runner with functions that `test/bundles.ts` has bundled. Call it after the variables are complete. */
export async function startPackagedFunctions(
  names: readonly string[],
  variables: Readonly<Record<string, string>>,
): Promise<PackagedFunctions> {
  const log = new FunctionLog();
  const runner = await startRunner({
    region: 'eu-west-1',
    functions: names.map((name) => ({
      name,
      functionName: getFunctionName(name),
      taskRoot: resolve(BUNDLES, name),
      handler: 'index.handler',
      timeoutMs: TIMEOUT_MS,
      memoryMb: 2_048,
      managedInstances: { maxConcurrency: CONCURRENCY, maxEnvironments: 1 },
      background: false,
      environment: variables,
    })),
    initTimeoutMs: TIMEOUT_MS,
    onLog: ({ function: name, text }) => log.add(name, text),
  });
  return {
    lines: log.lines,
    async call(name, event, options) {
      const bytes = await invoke(runner, name, event, options);
      await log.whenComplete(name);
      return JSON.parse(bytes.toString());
    },
    async callHttp(name, event, options) {
      const bytes = await invoke(runner, name, event, options);
      await log.whenComplete(name);
      return parseHttpResult(bytes);
    },
    [Symbol.asyncDispose]: () => runner.close(),
  };
}

/** Returns the name that a function has here in AWS's sense, which is the dimension of its metrics. */
export const getFunctionName = (name: string): string => `lambent-test-${name}`;

async function invoke(runner: Runner, name: string, event: object, options: CallOptions = {}): Promise<Buffer> {
  const { body, failure } = await runner.invoke(name, JSON.stringify(event), options);
  const bytes = await buffer(body);
  const failed = failure();
  if (failed !== undefined) throw failed;
  return bytes;
}

/** Parses a streamed response: its head as JSON, eight NUL bytes, and the body. */
function parseHttpResult(bytes: Buffer): HttpResult {
  const end = bytes.indexOf(Buffer.alloc(8));
  if (end === -1) throw new Error('The function has sent no head');
  return { ...JSON.parse(bytes.toString('utf8', 0, end)), text: bytes.toString('utf8', end + 8) };
}

/** Collects log lines, which arrive through a pipe: perhaps later than the response, through a socket. */
class FunctionLog {
  readonly lines: LogLine[] = [];
  /** By function: invocations that have ended, and those whose last line has arrived. */
  readonly #ended = new Map<string, number>();
  readonly #logged = new Map<string, number>();

  add(name: string, text: string): void {
    if (!text.startsWith('{')) return;
    const line: LogLine = JSON.parse(text);
    this.lines.push(line);
    // The last line of a request is its summary, and that of a batch of messages has its latency.
    if (line['message'] === 'request' || line['LatencyMs'] !== undefined) increment(this.#logged, name);
  }

  /** Notes that an invocation of a function has ended. Resolves when as many last lines have arrived. */
  async whenComplete(name: string): Promise<void> {
    const ended = increment(this.#ended, name);
    if (WITHOUT_LATENCY.includes(name)) return;
    await waitUntil(`${ended} last lines of ${name} have arrived`, () => (this.#logged.get(name) ?? 0) >= ended);
  }
}

/** Functions whose invocations log no last line. */
const WITHOUT_LATENCY = ['authorize', 'sweep'];

function increment(counts: Map<string, number>, name: string): number {
  const count = (counts.get(name) ?? 0) + 1;
  counts.set(name, count);
  return count;
}
