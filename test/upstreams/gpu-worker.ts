import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { EVENT_STREAM, encodeEvent } from './reply.ts';

/** How a worker handles a request. By default it generates three tokens. */
export interface WorkerBehavior {
  /** Responds with this HTTP status and an error. */
  readonly status?: number;
  /** Message of that error. */
  readonly message?: string;
  /** Sends a chunk with the assistant role before the first token, as engines do. */
  readonly role?: boolean;
  /** Tokens of a complete answer. */
  readonly tokens?: number;
  /** Milliseconds per token. */
  readonly tokenMs?: number;
  /** The first token waits for it. */
  readonly after?: Promise<unknown>;
  /** Sends nothing more after this many tokens, and keeps the connection open. */
  readonly hangAfter?: number;
  /** Resets the connection after `tokenMs`, before any response. */
  readonly resets?: boolean;
  /** Closes the connection after this many tokens. */
  readonly cutAfter?: number;
}

/** A request that a worker received, and the tokens that it generated for it. */
export interface ServedRequest {
  readonly body: Readonly<Record<string, unknown>>;
  /** The time at which each token was generated, by `performance.now()`. */
  readonly tokensAt: readonly number[];
  /** Resolves when the connection is closed or the response is complete. */
  readonly closed: Promise<void>;
}

/**
 * A scripted GPU worker that speaks HTTP. Like an engine, it generates tokens until its client disconnects, even if the
 * client reads none.
 */
export interface GpuWorker extends AsyncDisposable {
  /** The base URL of the API. */
  readonly url: string;
  readonly served: readonly ServedRequest[];
  /** Returns the number of tokens generated at or after `time` (of `performance.now()`). */
  countTokensSince(time: number): number;
  /** Sets the behavior for the following requests. */
  behave(behavior: WorkerBehavior | ((body: ServedRequest['body']) => WorkerBehavior)): void;
  /** Resets all connections and stops listening, like a killed process. */
  kill(): Promise<void>;
  /** Listens again at the same address. */
  restart(): Promise<void>;
}

const HEALTHY = { tokens: 3, tokenMs: 1 };

/** Starts a worker on a free port of 127.0.0.1. */
export async function startGpuWorker(first: WorkerBehavior = {}): Promise<GpuWorker> {
  const served: (ServedRequest & { tokensAt: number[] })[] = [];
  const sockets = new Set<Socket>();
  let behaviorFor: (body: ServedRequest['body']) => WorkerBehavior = () => first;
  let server: Server | undefined;
  let port = 0;

  async function serve(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const body: ServedRequest['body'] = Object(JSON.parse(await readText(incoming)));
    const {
      status,
      message,
      resets,
      role,
      tokens = HEALTHY.tokens,
      tokenMs = HEALTHY.tokenMs,
      hangAfter,
      cutAfter,
      after,
    } = behaviorFor(body);
    const closed = once(outgoing, 'close').then(() => {});
    const request = { body, tokensAt: [] as number[], closed };
    served.push(request);
    if (resets) {
      await sleep(tokenMs);
      return void incoming.socket.resetAndDestroy();
    }
    if (status !== undefined) {
      outgoing.writeHead(status, { 'content-type': 'application/json' });
      outgoing.end(JSON.stringify({ error: { message: message ?? 'scripted error', code: status } }));
      return;
    }
    outgoing.writeHead(200, EVENT_STREAM);
    outgoing.flushHeaders();
    await after;
    if (role) outgoing.write(encodeEvent({ choices: [{ index: 0, delta: { role: 'assistant', content: '' } }] }));
    for (let index = 0; index < tokens; index += 1) {
      if (index === hangAfter) return;
      if (index === cutAfter) return void outgoing.destroy();
      await sleep(tokenMs);
      if (outgoing.destroyed) return;
      request.tokensAt.push(performance.now());
      outgoing.write(encodeChunk(`t${index} `, null));
    }
    outgoing.write(encodeChunk('', 'stop'));
    const usage = { prompt_tokens: 100, completion_tokens: tokens, total_tokens: 100 + tokens };
    outgoing.write(encodeEvent({ choices: [], usage }));
    outgoing.end(encodeEvent('[DONE]'));
  }

  async function open(): Promise<void> {
    server = createServer((incoming, outgoing) => {
      outgoing.on('error', () => {});
      serve(incoming, outgoing).catch(() => outgoing.destroy());
    });
    server.on('connection', (socket) => {
      sockets.add(socket);
      socket.once('close', () => sockets.delete(socket));
    });
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
    port = Object(server.address()).port;
  }

  async function kill(): Promise<void> {
    if (server === undefined) return;
    const closed = once(server, 'close');
    server.close();
    for (const socket of sockets) socket.resetAndDestroy();
    await closed;
    server = undefined;
  }

  await open();
  return {
    url: `http://127.0.0.1:${port}/v1`,
    served,
    countTokensSince: (time) => served.flatMap(({ tokensAt }) => tokensAt).filter((at) => at >= time).length,
    behave(next) {
      behaviorFor = typeof next === 'function' ? next : () => next;
    },
    kill,
    restart: open,
    [Symbol.asyncDispose]: kill,
  };
}

function encodeChunk(content: string, finish_reason: string | null): string {
  return encodeEvent({ choices: [{ index: 0, delta: { content }, finish_reason }] });
}

async function readText(incoming: IncomingMessage): Promise<string> {
  const pieces: Buffer[] = [];
  for await (const piece of incoming) pieces.push(piece);
  return Buffer.concat(pieces).toString('utf8');
}
