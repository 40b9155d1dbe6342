import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer as createHttpServer, type IncomingMessage, ServerResponse } from 'node:http';
import { createServer as createHttp2Server, type Http2ServerRequest, type Http2ServerResponse } from 'node:http2';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ConverseStreamOutput } from '@aws-sdk/client-bedrock-runtime';
import type { AccessKeys } from '../access/access-keys.ts';
import { refuseCaller, refuseSignature } from '../access/guard.ts';
import { SignatureVerifier } from '../access/signature.ts';
import { buildConverseResponse } from './buffered.ts';
import type { ConverseBody } from './converse-request.ts';
import { invokeEmbeddingModel, isEmbeddingModel } from './embeddings.ts';
import {
  type ConverseCall,
  type ErrorFrame,
  encodeEvent,
  encodeException,
  encodeJson,
  type Responder,
} from './frames.ts';
import { applyGuardrail, type Guardrails, isGuardrailPath } from './guardrails.ts';
import { respondNatively, translateNativeBody } from './native.ts';
import { listPromptBlocks } from './prompt-blocks.ts';
import { PromptCache } from './prompt-cache.ts';
import { validateRequest } from './request.ts';

export interface BedrockStandIn {
  /** The value for `AWS_ENDPOINT_URL_BEDROCK_RUNTIME`. */
  readonly url: string;
  /** Closes every connection, including running responses. */
  close(): Promise<void>;
}

export interface BedrockOptions {
  readonly respond: Responder;
  /** The guardrails that exist; none when absent. */
  readonly guardrails?: Guardrails | undefined;
  /** 0, the default, takes any free port. */
  readonly port?: number;
  /** The keys with which requests must be signed. Signatures are not checked when absent. */
  readonly accessKeys?: AccessKeys;
  /** The clock of the prompt cache, in epoch milliseconds; the system's when absent. */
  readonly now?: () => number;
}

type Request = IncomingMessage | Http2ServerRequest;
type Response = ServerResponse | Http2ServerResponse;

/**
 * Starts a stand-in for Bedrock Runtime's Converse, ConverseStream and ApplyGuardrail, and InvokeModel for Claude, on
 * 127.0.0.1. It has the service's event stream, errors and prompt cache, and serves HTTP/1.1 and HTTP/2 without TLS on one port, because the AWS
 * SDK uses HTTP/2 by default.
 * @throws Error `EADDRINUSE` if the port is in use
 */
export async function startBedrock({
  respond,
  guardrails = {},
  port = 0,
  accessKeys,
  now,
}: BedrockOptions): Promise<BedrockStandIn> {
  const verifier = accessKeys && new SignatureVerifier('bedrock', accessKeys);
  const cache = new PromptCache(now);
  const handle = (request: Request, response: Response): void => {
    handleRequest(request, response, { respond, guardrails, verifier, cache }).catch(() => cut(response));
  };
  const http1 = createHttpServer(handle);
  const http2 = createHttp2Server(handle);
  const sockets = new Set<Socket>();
  // Without `noDelay`, which Node's HTTP servers set too, Nagle's algorithm would delay each small frame by 40 ms.
  const server = createServer({ noDelay: true }, (socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    // A connection that the client resets is not an error of the server.
    socket.on('error', () => socket.destroy());
    socket.once('readable', () => {
      const start: unknown = socket.read();
      if (!(start instanceof Buffer)) return;
      socket.unshift(start);
      (start.toString('latin1', 0, 3) === 'PRI' ? http2 : http1).emit('connection', socket);
    });
  });
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${readPort(server.address())}`,
    async close() {
      const closed = once(server, 'close');
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

function readPort(address: AddressInfo | string | null): number {
  if (address === null || typeof address === 'string') throw new Error('The server has no port');
  return address.port;
}

const PATH = /^\/model\/([^/]+)\/(converse|converse-stream|invoke|invoke-with-response-stream)$/;

interface Parts {
  readonly respond: Responder;
  readonly guardrails: Guardrails;
  readonly verifier: SignatureVerifier | undefined;
  readonly cache: PromptCache;
}

async function handleRequest(request: Request, response: Response, parts: Parts): Promise<void> {
  const { respond, guardrails, verifier, cache } = parts;
  const disconnected = new AbortController();
  response.on('close', () => disconnected.abort());
  const body = await buffer(request);
  const refusal = refuseCaller(request.headers, {}) ?? (verifier && refuseSignature(verifier, request, [body]));
  if (refusal !== undefined) return send(response, refusal.status, refusal.headers, refusal.body);
  const path = request.url?.split('?')[0] ?? '';
  if (request.method === 'POST' && isGuardrailPath(path)) {
    const applied = await applyGuardrail(path, body.toString('utf8'), guardrails, disconnected.signal);
    return 'type' in applied ? sendError(response, applied) : send(response, 200, {}, JSON.stringify(applied));
  }
  const [, modelId, operation] = PATH.exec(path) ?? [];
  if (request.method !== 'POST' || modelId === undefined) {
    sendError(response, { type: 'error', status: 404, name: 'UnknownOperationException', message: '' });
    return;
  }
  const json = body.toString('utf8');
  const streamed = operation?.endsWith('-stream') === true;
  const isNative = operation?.startsWith('invoke') === true;
  const model = decodeURIComponent(modelId);
  if (operation === 'invoke' && isEmbeddingModel(model)) {
    const embeddings = invokeEmbeddingModel(model, json);
    return send(response, embeddings.status, embeddings.headers, JSON.stringify(embeddings.body));
  }
  const converse = parseBody(model, streamed, json, isNative);
  if (typeof converse === 'string') {
    sendError(response, { type: 'error', status: 400, name: 'ValidationException', message: converse });
    return;
  }
  const prompt = cache.account(model, listPromptBlocks(JSON.parse(json)));
  const call = { modelId: model, streamed, body: converse, json, prompt, signal: disconnected.signal };
  await (streamed ? sendStream : sendBuffered)(response, call, isNative ? respondNatively(respond) : respond);
}

function parseBody(modelId: string, streamed: boolean, json: string, isNative: boolean): ConverseBody | string {
  let body: unknown;
  try {
    body = JSON.parse(json);
  } catch {
    return 'The request body is not valid JSON.';
  }
  const native = isNative ? translateNativeBody(modelId, body) : body;
  return typeof native === 'string' ? native : validateRequest(modelId, streamed, native);
}

async function sendStream(response: Response, call: ConverseCall, respond: Responder): Promise<void> {
  for await (const frame of respond(call)) {
    if (call.signal.aborted) return;
    if (frame.type === 'pause') {
      await sleep(frame.ms, undefined, { signal: call.signal }).catch(() => undefined);
      continue;
    }
    if (frame.type === 'error') return sendError(response, frame);
    setHead(response, 200, { 'content-type': 'application/vnd.amazon.eventstream' });
    // The empty write sends the status and headers before the connection is cut.
    if (frame.type === 'cut') return write(response, new Uint8Array()).then(() => cut(response));
    if (frame.type === 'event') await write(response, encodeEvent(frame.event));
    if (frame.type === 'exception') await write(response, encodeException(frame.name, frame.message));
    if (frame.type === 'bytes') await write(response, frame.bytes);
  }
  setHead(response, 200, { 'content-type': 'application/vnd.amazon.eventstream' });
  response.end();
}

async function sendBuffered(response: Response, call: ConverseCall, respond: Responder): Promise<void> {
  const events: ConverseStreamOutput[] = [];
  for await (const frame of respond(call)) {
    if (call.signal.aborted) return;
    // Short pauses between words are skipped in a buffered response; longer pauses are part of a test.
    if (frame.type === 'pause' && frame.ms >= NOTICEABLE_MS) {
      await sleep(frame.ms, undefined, { signal: call.signal }).catch(() => undefined);
    }
    if (frame.type === 'error') return sendError(response, frame);
    if (frame.type === 'exception') return sendError(response, toErrorFrame(frame.name, frame.message));
    if (frame.type === 'cut') return cut(response);
    if (frame.type === 'event') events.push(frame.event);
    if (frame.type === 'bytes') return send(response, 200, {}, frame.bytes);
  }
  send(response, 200, {}, encodeJson(buildConverseResponse(events)));
}

const NOTICEABLE_MS = 100;

/** HTTP status by the exception's name; 500 for others. */
const STATUS: Readonly<Record<string, number>> = {
  ThrottlingException: 429,
  ValidationException: 400,
  ModelStreamErrorException: 424,
  ModelTimeoutException: 408,
  ServiceUnavailableException: 503,
};

/** Converts an exception in a stream to the error response of a buffered call. */
function toErrorFrame(wireName: string, message: string): ErrorFrame {
  const name = wireName.charAt(0).toUpperCase() + wireName.slice(1);
  return { type: 'error', status: STATUS[name] ?? 500, name, message };
}

function sendError(response: Response, { status, name, message, headers }: ErrorFrame): void {
  const type = `${name}:http://internal.amazon.com/coral/com.amazon.bedrock/`;
  send(response, status, { 'x-amzn-errortype': type, ...headers }, JSON.stringify({ message }));
}

function send(
  response: Response,
  status: number,
  headers: Readonly<Record<string, string>>,
  body: string | Uint8Array,
): void {
  setHead(response, status, { 'content-type': 'application/json', ...headers });
  response.end(body);
}

/** Sets the status and headers, unless they are already sent. */
function setHead(response: Response, status: number, headers: Readonly<Record<string, string>>): void {
  if (response.headersSent) return;
  response.statusCode = status;
  const all = { 'x-amzn-requestid': randomUUID(), ...headers };
  for (const [name, value] of Object.entries(all)) response.setHeader(name, value);
}

/** Writes bytes. Resolves when the operating system has accepted them, or the client has disconnected. */
function write(response: Response, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => resolve();
    // Two branches, because the types declare `write` with different overloads.
    if (response instanceof ServerResponse) response.write(bytes, done);
    else response.write(bytes, done);
  });
}

/** Closes the connection in the middle of a response. */
function cut(response: Response): void {
  if (response instanceof ServerResponse) response.socket?.destroy();
  else response.stream.session?.destroy();
}
