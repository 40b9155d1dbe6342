/**
 * The Lambda runtime inside a function's process: loads the handler, polls the runner for invocations over the Lambda
 * Runtime API, and posts the handler's responses. It behaves as AWS's own Node.js runtime does, down to the order in
 * which a response stream writes its prelude, because handlers depend on that.
 *
 * Standard Lambda serves one invocation at a time. With `AWS_LAMBDA_MAX_CONCURRENCY`, as on Lambda Managed Instances,
 * several polls wait at once and their invocations run concurrently. AWS spreads these over worker threads
 * (`AWS_LAMBDA_NODEJS_WORKER_COUNT`); here there is one worker, the process itself.
 *
 * It imports only Node's own modules, so that it adds almost nothing to a cold start.
 * @see https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
 * @see https://docs.aws.amazon.com/lambda/latest/dg/lambda-managed-instances-nodejs-runtime.html
 */
import type { ClientRequest } from 'node:http';
import { openAnswer, pollNext, postError, type Work } from './api-client.ts';
import { type Context, createContext, readTraceId } from './context.ts';
import { runtimeError, toErrorReport } from './errors.ts';
import { type Handler, loadHandler } from './handler.ts';
import { InvokeStore } from './invoke-store.ts';
import { isStreaming, openResponseStream, streamingGlobals } from './response-stream.ts';
import { installStructuredConsole } from './structured-console.ts';
import { maxConcurrency } from './variables.ts';

process.title = process.argv0;
/** Ids of the invocations that the handler runs. */
const running = new Set<string>();
const store = maxConcurrency === undefined ? undefined : new InvokeStore();
Object.assign(globalThis, {
  awslambda: { ...streamingGlobals, ...(store === undefined ? {} : { InvokeStore: store }) },
});
if (store !== undefined) installStructuredConsole(() => (store.hasContext() ? store.getRequestId() : undefined));

process.on('uncaughtException', (error) => crash('Runtime.UncaughtException', error, 129));
process.on('unhandledRejection', (reason) => crash('Runtime.UnhandledPromiseRejection', reason, 128));

void start();

async function start(): Promise<void> {
  let handler: Handler;
  try {
    handler = await loadHandler();
  } catch (error) {
    logError('Init Error', error);
    await postError('init/error', error).catch(ignore);
    process.exit(1);
  }
  poll(handler);
}

let pollers = 0;
let idlePollers = 0;

/**
 * Polls for invocations and serves them, one after another. When the last idle poller gets one, another poller starts,
 * up to the maximum. A process thus has one connection more than it ever had concurrent invocations.
 */
async function poll(handler: Handler): Promise<void> {
  pollers += 1;
  for (;;) {
    idlePollers += 1;
    const work = await pollNext();
    idlePollers -= 1;
    if (work === undefined) continue;
    if (idlePollers === 0 && pollers < (maxConcurrency ?? 1)) void poll(handler);
    await serve(handler, work);
  }
}

async function serve(handler: Handler, { headers, payload }: Work): Promise<void> {
  const context = createContext(headers);
  const { awsRequestId } = context;
  const call = (): Promise<void> =>
    isStreaming(handler) ? callStreaming(handler, payload, context) : callBuffered(handler, payload, context);
  running.add(awsRequestId);
  if (store === undefined) {
    process.env['_X_AMZN_TRACE_ID'] = readTraceId(headers);
    await call();
  } else {
    await store.runInvocation(awsRequestId, readTraceId(headers), call);
  }
  running.delete(awsRequestId);
}

async function callBuffered(handler: Handler, payload: string, context: Context): Promise<void> {
  let answer: string;
  try {
    answer = JSON.stringify((await handler(JSON.parse(payload), context)) ?? null);
  } catch (error) {
    return reportFailure(error, context);
  }
  const headers = { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(answer) };
  const request = openAnswer(context.awsRequestId, headers);
  const sent = waitUntilSent(request);
  request.end(answer);
  await sent;
}

/**
 * Runs a streaming handler. Its error is in trailers after the sent bytes, of which there may be none: AWS's client never
 * posts it to `invocation/{id}/error`.
 * @see https://github.com/aws/aws-lambda-nodejs-runtime-interface-client/blob/main/src/stream/response-stream.ts
 */
async function callStreaming(handler: Handler, payload: string, context: Context): Promise<void> {
  const { request, stream } = openResponseStream(context.awsRequestId);
  const sent = waitUntilSent(request);
  try {
    const result = handler(JSON.parse(payload), stream, context);
    if (!isThenable(result)) throw new Error('Streaming does not support non-async handlers.');
    await result;
  } catch (error) {
    logError('Invoke Error', error);
    const report = toErrorReport(error);
    request.addTrailers({
      'Lambda-Runtime-Function-Error-Type': report.errorType,
      'Lambda-Runtime-Function-Error-Body': Buffer.from(JSON.stringify(report)).toString('base64').slice(0, 8_000),
    });
    if (!request.writableEnded) request.end();
  }
  await sent;
}

function isThenable(value: unknown): boolean {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function';
}

/**
 * Resolves when all of `request` has been handed to the operating system, or when its connection fails. In that case
 * the runner knows that the response is incomplete, and the process continues to serve.
 */
function waitUntilSent(request: ClientRequest): Promise<void> {
  return new Promise((resolve) => {
    request.on('finish', resolve);
    request.on('error', () => resolve());
    request.on('close', resolve);
  });
}

async function reportFailure(error: unknown, { awsRequestId }: Context): Promise<void> {
  logError('Invoke Error', error);
  await postError(`invocation/${awsRequestId}/error`, error).catch(ignore);
}

/** Writes an error to the log: as JSON with the invocation's id in the structured format, else as a line of text. */
function logError(title: string, error: unknown): void {
  if (store !== undefined) console.error(error);
  else process.stderr.write(`ERROR\t${title}\t${JSON.stringify(toErrorReport(error))}\n`);
}

/**
 * Ends the process, as AWS's runtime does after an uncaught error. All invocations that it runs fail with that error.
 */
function crash(type: string, error: unknown, exitCode: number): void {
  logError(type, error);
  const cause = runtimeError(type, error instanceof Error ? error.message : String(error));
  const paths = running.size === 0 ? ['init/error'] : [...running].map((id) => `invocation/${id}/error`);
  void Promise.allSettled(paths.map((path) => postError(path, cause))).then(() => process.exit(exitCode));
}

function ignore(): void {
  // The failed request was only to report another error, which is in the log already.
}
