/**
 * The Lambda runtime that runs inside a function's process: it loads the handler, asks the runner for work over the
 * Lambda Runtime API, and hands back what the handler answers. It behaves as AWS's own Node.js runtime does, down to
 * the order in which a response stream writes its prelude, because handlers depend on that.
 *
 * It has no imports (builtins come from `process.getBuiltinModule`), so that it costs a cold start next to nothing.
 */

import type { ClientRequest, IncomingHttpHeaders, RequestOptions } from 'node:http';

const http = process.getBuiltinModule('node:http');
const { join } = process.getBuiltinModule('node:path');

type Handler = (event: unknown, ...rest: unknown[]) => unknown;

const STREAMING = Symbol.for('aws.lambda.runtime.handler.streaming');
const PRELUDE_CONTENT_TYPE = 'application/vnd.awslambda.http-integration-response';
const PRELUDE_DELIMITER = new Uint8Array(8);

process.title = process.argv0;
defineAwsLambdaGlobal();

const runtimeApi = new URL(`http://${required('AWS_LAMBDA_RUNTIME_API')}/2018-06-01/runtime/`);
// Two connections: one waits for work, the other carries answers, so that the next call is asked for without waiting
// for the acknowledgement of the last answer.
const work = new http.Agent({ keepAlive: true });
const answers = new http.Agent({ keepAlive: true });
let currentRequestId: string | undefined;

process.on('uncaughtException', (error) => crash('Runtime.UncaughtException', error, 129));
process.on('unhandledRejection', (reason) => crash('Runtime.UnhandledPromiseRejection', reason, 128));

void main();

async function main(): Promise<void> {
  let handler: Handler;
  try {
    handler = await loadHandler();
  } catch (error) {
    report('Init Error', error);
    await post('init/error', error).catch(ignore);
    process.exit(1);
  }
  const call = STREAMING in handler ? callStreaming : callBuffered;
  for (;;) {
    const { headers, body } = await next();
    const context = createContext(headers);
    currentRequestId = context.awsRequestId;
    await call(handler, body, context);
    currentRequestId = undefined;
  }
}

/** Loads what `_HANDLER` names below `LAMBDA_TASK_ROOT`: a CommonJS bundle, or an ES module. */
async function loadHandler(): Promise<Handler> {
  const [file, name] = splitHandler(required('_HANDLER'));
  const path = join(required('LAMBDA_TASK_ROOT'), file);
  const { existsSync } = process.getBuiltinModule('node:fs');
  const extension = ['.js', '.cjs', '.mjs'].find((candidate) => existsSync(path + candidate));
  if (extension === undefined) throw runtimeError('Runtime.ImportModuleError', `Cannot find module '${file}'`);
  const loaded: Record<string, unknown> =
    extension === '.cjs'
      ? process.getBuiltinModule('node:module').createRequire(path)(path + extension)
      : await import(process.getBuiltinModule('node:url').pathToFileURL(path + extension).href);
  const handler = loaded[name];
  if (typeof handler === 'function') return handler as Handler;
  throw runtimeError('Runtime.HandlerNotFound', `${file}.${name} is undefined or not a function`);
}

/** `dir/index.handler` is the export `handler` of `dir/index`. */
function splitHandler(handler: string): [file: string, name: string] {
  const dot = handler.lastIndexOf('.');
  if (dot <= handler.lastIndexOf('/')) throw runtimeError('Runtime.MalformedHandlerName', `Bad handler ${handler}`);
  return [handler.slice(0, dot), handler.slice(dot + 1)];
}

interface Work {
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** Waits for the next invocation. The process ends with the connection it waits on: without a runner it has no use. */
function next(): Promise<Work> {
  return new Promise((resolve, reject) => {
    const request = http.get(endpoint('invocation/next', { agent: work }), (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const [first] = chunks;
        const body = chunks.length === 1 && first !== undefined ? first : Buffer.concat(chunks);
        resolve({ headers: response.headers, body: body.toString('utf8') });
      });
    });
    request.on('error', () => process.exit(0));
    request.on('socket', (socket) => {
      if (!socket.listeners('close').includes(exit)) socket.on('close', exit);
    });
  });
}

function exit(): void {
  process.exit(0);
}

type Context = ReturnType<typeof createContext>;

/** The second argument of every handler. */
function createContext(headers: IncomingHttpHeaders) {
  const deadlineMs = Number(headers['lambda-runtime-deadline-ms']);
  const clientContext = headers['lambda-runtime-client-context'];
  process.env['_X_AMZN_TRACE_ID'] = String(headers['lambda-runtime-trace-id'] ?? '');
  return {
    awsRequestId: String(headers['lambda-runtime-aws-request-id']),
    invokedFunctionArn: String(headers['lambda-runtime-invoked-function-arn']),
    functionName: required('AWS_LAMBDA_FUNCTION_NAME'),
    functionVersion: required('AWS_LAMBDA_FUNCTION_VERSION'),
    memoryLimitInMB: required('AWS_LAMBDA_FUNCTION_MEMORY_SIZE'),
    logGroupName: required('AWS_LAMBDA_LOG_GROUP_NAME'),
    logStreamName: required('AWS_LAMBDA_LOG_STREAM_NAME'),
    clientContext: typeof clientContext === 'string' ? (JSON.parse(clientContext) as unknown) : undefined,
    identity: undefined,
    callbackWaitsForEmptyEventLoop: true,
    getRemainingTimeInMillis: () => deadlineMs - Date.now(),
  };
}

async function callBuffered(handler: Handler, body: string, context: Context): Promise<void> {
  let answer: string;
  try {
    answer = JSON.stringify((await handler(JSON.parse(body), context)) ?? null);
  } catch (error) {
    return fail(error, context);
  }
  const request = http.request(
    endpoint(`invocation/${context.awsRequestId}/response`, {
      agent: answers,
      method: 'POST',
      headers: { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(answer) },
    }),
    (response) => response.resume(),
  );
  const finished = finishOf(request);
  request.end(answer);
  await finished;
}

async function callStreaming(handler: Handler, body: string, context: Context): Promise<void> {
  const { request, stream, finished } = openResponseStream(context.awsRequestId);
  try {
    await handler(JSON.parse(body), stream, context);
  } catch (error) {
    if (!request.headersSent) {
      request.destroy();
      await finished.catch(ignore);
      return fail(error, context);
    }
    // Too late for an error of its own: it follows what was sent, as trailers.
    report('Invoke Error', error);
    const shape = errorShape(error);
    request.addTrailers({
      'Lambda-Runtime-Function-Error-Type': shape.errorType,
      'Lambda-Runtime-Function-Error-Body': Buffer.from(JSON.stringify(shape)).toString('base64').slice(0, 8_000),
    });
    if (!request.writableEnded) request.end();
  }
  await finished;
}

async function fail(error: unknown, { awsRequestId }: Context): Promise<void> {
  report('Invoke Error', error);
  await post(`invocation/${awsRequestId}/error`, error);
}

/** Methods and properties of the request that a handler may use as its response stream; AWS offers the same ones. */
const STREAM_METHODS = [
  ...['cork', 'destroy', 'end', 'uncork', 'write', 'addListener', 'on', 'once', 'prependListener', 'setContentType'],
  ...['prependOnceListener', 'off', 'removeListener', 'removeAllListeners', 'setMaxListeners', 'getMaxListeners'],
  ...['listeners', 'rawListeners', 'listenerCount', 'eventNames', 'emit'],
];
const STREAM_PROPERTIES = [
  ...['destroyed', '_onBeforeFirstWrite', 'writableFinished', 'writableObjectMode', 'writableEnded', 'writable'],
  ...['writableNeedDrain', 'writableHighWaterMark', 'writableCorked', 'writableLength'],
];

interface ResponseRequest extends ClientRequest {
  setContentType?: (contentType: string) => void;
  _onBeforeFirstWrite?: (write: (chunk: string | Uint8Array) => void) => void;
}

/**
 * Opens the chunked answer of a streaming handler. The handler gets a façade, not the request itself: `pipeline` would
 * take a request for one and wait for its response.
 */
function openResponseStream(requestId: string): { request: ClientRequest; stream: object; finished: Promise<void> } {
  const request: ResponseRequest = http.request(
    endpoint(`invocation/${requestId}/response`, {
      agent: answers,
      method: 'POST',
      headers: {
        'Content-Type': 'application/octet-stream',
        'Transfer-Encoding': 'chunked',
        Trailer: 'Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body',
        'Lambda-Runtime-Function-Response-Mode': 'streaming',
      },
    }),
    (response) => response.resume(),
  );
  request.setContentType = (contentType) => {
    request.setHeader('Content-Type', contentType);
  };
  const write = request.write.bind(request) as (...args: unknown[]) => boolean;
  let written = false;
  // An empty first write counts as well: it is how a handler sends its status before it has a body.
  const writeAfterPrelude = (chunk: unknown, ...rest: unknown[]): boolean => {
    if (!written) request._onBeforeFirstWrite?.((prelude) => void write(prelude));
    written = true;
    return write(typeof chunk === 'string' || chunk instanceof Uint8Array ? chunk : JSON.stringify(chunk), ...rest);
  };
  Object.assign(request, { write: writeAfterPrelude });
  return { request, stream: facadeOf(request), finished: finishOf(request) };
}

function facadeOf(request: ResponseRequest): object {
  const facade = {};
  const target: Record<string, unknown> = request as unknown as Record<string, unknown>;
  for (const name of STREAM_METHODS) {
    const method = target[name];
    if (typeof method === 'function')
      Object.defineProperty(facade, name, { value: method.bind(request), writable: true });
  }
  for (const name of STREAM_PROPERTIES) {
    Object.defineProperty(facade, name, {
      get: () => target[name],
      set: (value: unknown) => {
        target[name] = value;
      },
    });
  }
  return facade;
}

/** Defines `awslambda`, which AWS's runtime gives to every function. */
function defineAwsLambdaGlobal(): void {
  const streamifyResponse = (handler: Handler): Handler => Object.assign(handler, { [STREAMING]: 'response' });
  const HttpResponseStream = {
    /** Makes `stream` begin with `prelude` (status, headers, cookies) when it is first written to. */
    from(stream: Pick<ResponseRequest, 'setContentType' | '_onBeforeFirstWrite'>, prelude: unknown): object {
      stream.setContentType?.(PRELUDE_CONTENT_TYPE);
      stream._onBeforeFirstWrite = (write) => {
        write(JSON.stringify(prelude));
        write(PRELUDE_DELIMITER);
      };
      return stream;
    },
  };
  Object.assign(globalThis, { awslambda: { streamifyResponse, HttpResponseStream } });
}

/** Resolves when all of `request` has been handed to the system; rejects when its connection fails first. */
function finishOf(request: ClientRequest): Promise<void> {
  return new Promise((resolve, reject) => {
    request.on('finish', resolve);
    request.on('error', reject);
  });
}

/** Sends `error` to the runner and waits until it has it. */
function post(path: string, error: unknown): Promise<void> {
  const shape = errorShape(error);
  const body = JSON.stringify(shape);
  return new Promise((resolve, reject) => {
    const request = http.request(
      endpoint(path, {
        agent: answers,
        method: 'POST',
        headers: {
          'Content-Type': 'application/json',
          'Content-Length': Buffer.byteLength(body),
          'Lambda-Runtime-Function-Error-Type': shape.errorType,
        },
      }),
      (response) => {
        response.resume();
        response.on('end', resolve);
      },
    );
    request.on('error', reject);
    request.end(body);
  });
}

function endpoint(path: string, options: RequestOptions): RequestOptions {
  return { host: runtimeApi.hostname, port: runtimeApi.port, path: runtimeApi.pathname + path, ...options };
}

/** Lambda's JSON of an error. */
function errorShape(error: unknown): { errorType: string; errorMessage: string; trace: string[] } {
  if (!(error instanceof Error)) return { errorType: typeof error, errorMessage: String(error), trace: [] };
  // A header carries it, so nothing but visible ASCII.
  const errorType = (error.name || 'Error').replace(/[^\x21-\x7e]/g, '?');
  return { errorType, errorMessage: error.message, trace: (error.stack ?? '').split('\n') };
}

function runtimeError(name: string, message: string): Error {
  return Object.assign(new Error(message), { name });
}

function report(title: string, error: unknown): void {
  process.stderr.write(`ERROR\t${title}\t${JSON.stringify(errorShape(error))}\n`);
}

/** Ends the process as AWS's runtime does after an error that no handler caught. */
function crash(type: string, error: unknown, exitCode: number): void {
  report(type, error);
  const path = currentRequestId === undefined ? 'init/error' : `invocation/${currentRequestId}/error`;
  const cause = Object.assign(new Error(error instanceof Error ? error.message : String(error)), { name: type });
  post(path, cause).then(
    () => process.exit(exitCode),
    () => process.exit(exitCode),
  );
}

function required(name: string): string {
  const value = process.env[name];
  if (value === undefined) throw runtimeError('Runtime.EnvironmentError', `${name} is not set`);
  return value;
}

function ignore(): void {
  // What failed here only reports another failure, which is on stderr already.
}
