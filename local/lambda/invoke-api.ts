import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { buffer } from 'node:stream/consumers';
import type { AccessKeys } from '../access/access-keys.ts';
import { SignatureVerifier } from '../access/signature.ts';
import { type Listening, listen } from '../listen.ts';
import { readBody } from '../read-body.ts';
import { FunctionError, LambdaServiceError } from './errors.ts';
import { MAX_REQUEST_BYTES } from './function.ts';
import type { InvokeOptions } from './invocation.ts';
import type { Runner } from './runner.ts';

type Invoker = Pick<Runner, 'invoke'>;

export interface InvokeApiOptions {
  /** 0, the default, takes any free port. */
  readonly port?: number;
  /** The keys with which requests must be signed. Signatures are not checked when absent. */
  readonly accessKeys?: AccessKeys;
}

/**
 * Serves Lambda's Invoke API, through which `@aws-sdk/client-lambda` reaches the runner by `AWS_ENDPOINT_URL_LAMBDA`:
 * `POST /2015-03-31/functions/{name}/invocations`, synchronous, asynchronous and as a dry run.
 * @see https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html
 */
export async function startInvokeApi(
  runner: Invoker,
  { port = 0, accessKeys }: InvokeApiOptions = {},
): Promise<{ url: string } & Listening> {
  const server = createServer((request, response) => {
    handle(runner, request, response).catch((error: unknown) => sendError(response, error));
  });
  const listening = await listen(server, { port, verifier: accessKeys && new SignatureVerifier('lambda', accessKeys) });
  return { url: `http://127.0.0.1:${listening.port}`, ...listening };
}

async function handle(runner: Invoker, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(request.url ?? '/', 'http://localhost');
  const encodedName = /^\/2015-03-31\/functions\/([^/]+)\/invocations$/.exec(url.pathname)?.[1];
  if (request.method !== 'POST' || encodedName === undefined) {
    throw new LambdaServiceError('ResourceNotFoundException', 'The local cloud supports only the operation Invoke.');
  }
  const { name, qualifier } = splitName(decodeURIComponent(encodedName), url.searchParams.get('Qualifier'));
  const payload = await readPayload(request);
  const clientContext = readHeader(request, 'x-amz-client-context');
  const traceHeader = readHeader(request, 'x-amzn-trace-id');
  const options = {
    ...(qualifier === undefined ? {} : { qualifier }),
    ...(clientContext === undefined ? {} : { clientContext: Buffer.from(clientContext, 'base64').toString('utf8') }),
    ...(traceHeader === undefined ? {} : { traceHeaders: [traceHeader] }),
  };
  switch (readHeader(request, 'x-amz-invocation-type') ?? 'RequestResponse') {
    case 'DryRun':
      response.writeHead(204).end();
      return;
    case 'Event':
      void invokeWithoutResponse(runner, name, payload, options);
      response.writeHead(202, { 'Content-Length': 0 }).end();
      return;
    default:
      await invokeAndRespond(runner, name, payload, options, response);
  }
}

type Options = InvokeOptions | undefined;

/** Invokes a function asynchronously. Only the function's own log shows a failure. */
async function invokeWithoutResponse(
  runner: Invoker,
  name: string,
  payload: Uint8Array,
  options: Options,
): Promise<void> {
  try {
    const { body } = await runner.invoke(name, payload, options);
    body.on('error', () => undefined).resume();
  } catch {
    // Lambda would retry the event twice, minutes later, and then drop it. Here it is dropped at once.
  }
}

async function invokeAndRespond(
  runner: Invoker,
  name: string,
  payload: Uint8Array,
  options: Options,
  response: ServerResponse,
): Promise<void> {
  const headers = { 'Content-Type': 'application/json', 'X-Amz-Executed-Version': '$LATEST' };
  try {
    const { body, failure } = await runner.invoke(name, payload, options);
    const answer = await buffer(body).catch(() => {
      throw new FunctionError('Runtime.ExitError', 'The function ended before its response was complete.');
    });
    const failed = failure();
    if (failed !== undefined) throw failed;
    response.writeHead(200, { ...headers, 'Content-Length': answer.length }).end(answer);
  } catch (error) {
    if (!(error instanceof FunctionError)) throw error;
    response.writeHead(200, {
      ...headers,
      'X-Amz-Function-Error': 'Unhandled',
      'Content-Length': Buffer.byteLength(error.payload),
    });
    response.end(error.payload);
  }
}

/** Splits a name or ARN from the qualifier at its end. A qualifier in the query takes precedence. */
function splitName(name: string, qualifier: string | null): { name: string; qualifier?: string } {
  const [, unqualified, suffix] = /^(.*?function:[^:]+|[^:]+)(?::([^:]+))?$/.exec(name) ?? [];
  const chosen = qualifier ?? suffix;
  return { name: unqualified ?? name, ...(chosen === undefined ? {} : { qualifier: chosen }) };
}

async function readPayload(request: IncomingMessage): Promise<Uint8Array> {
  const payload = await readBody(request, MAX_REQUEST_BYTES);
  if (payload === undefined) {
    const message = `Request must be smaller than ${MAX_REQUEST_BYTES} bytes for the InvokeFunction operation`;
    throw new LambdaServiceError('RequestTooLargeException', message);
  }
  if (payload.length === 0) return Buffer.from('{}');
  try {
    JSON.parse(payload.toString('utf8'));
  } catch {
    throw new LambdaServiceError('InvalidRequestContentException', 'Could not parse request body into json');
  }
  return payload;
}

function sendError(response: ServerResponse, error: unknown): void {
  if (response.headersSent) return void response.destroy();
  const { type, status, message, reason } =
    error instanceof LambdaServiceError ? error : new LambdaServiceError('ServiceException', String(error));
  const body = JSON.stringify({ Type: status < 500 ? 'User' : 'Service', message, ...(reason && { Reason: reason }) });
  response.writeHead(status, {
    'Content-Type': 'application/json',
    'Content-Length': Buffer.byteLength(body),
    'x-amzn-errortype': type,
  });
  response.end(body);
}

function readHeader(request: IncomingMessage, name: string): string | undefined {
  const value = request.headers[name];
  return Array.isArray(value) ? value[0] : value;
}
