import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { EVENT_STREAM, encodeEvent } from './reply.ts';

/** What a worker does with a request. */
export interface Conduct {
  /** Answers this status and nothing else. */
  readonly status?: number;
  /** Text of that answer's error. */
  readonly message?: string;
  /** Says at once whose turn it is, as engines do with their first token, before it says anything in it. */
  readonly role?: boolean;
  /** Tokens of a whole answer. */
  readonly tokens?: number;
  /** Milliseconds that each takes. */
  readonly tokenMs?: number;
  /** Falls silent after so many tokens, with the connection open. */
  readonly hangAfter?: number;
  /** Breaks the connection before it says anything, after `tokenMs`. */
  readonly resets?: boolean;
  /** Breaks the connection after so many tokens. */
  readonly cutAfter?: number;
}

/** A request as a worker saw it, and what it did for it. */
export interface Served {
  readonly body: Readonly<Record<string, unknown>>;
  /** When each token was generated: milliseconds of `performance.now()`. */
  readonly tokensAt: readonly number[];
}

/**
 * A GPU worker on the wire that does what it is told. Like an engine, it generates until it sees that its client has gone,
 * whether anybody reads or not.
 */
export interface GpuWorker extends AsyncDisposable {
  /** The API's base. */
  readonly url: string;
  readonly served: readonly Served[];
  /** Tokens generated at or after `time` (of `performance.now()`). */
  tokensAfter(time: number): number;
  behave(conduct: Conduct | ((body: Served['body']) => Conduct)): void;
  /** As a killed process: breaks all connections and listens no more. */
  kill(): Promise<void>;
  /** Listens again at the same address. */
  restart(): Promise<void>;
}

const WELL = { tokens: 3, tokenMs: 1 };

/** Starts a worker on a free port of 127.0.0.1. */
export async function startGpuWorker(first: Conduct = {}): Promise<GpuWorker> {
  const served: (Served & { tokensAt: number[] })[] = [];
  const sockets = new Set<Socket>();
  let conductOf: (body: Served['body']) => Conduct = () => first;
  let server: Server | undefined;
  let port = 0;

  async function serve(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const body: Served['body'] = Object(JSON.parse(await textOf(incoming)));
    const {
      status,
      message,
      resets,
      role,
      tokens = WELL.tokens,
      tokenMs = WELL.tokenMs,
      hangAfter,
      cutAfter,
    } = conductOf(body);
    const mine = { body, tokensAt: [] as number[] };
    served.push(mine);
    if (resets) {
      await sleep(tokenMs);
      return void incoming.socket.resetAndDestroy();
    }
    if (status !== undefined) {
      outgoing.writeHead(status, { 'content-type': 'application/json' });
      outgoing.end(JSON.stringify({ error: { message: message ?? 'told to', code: status } }));
      return;
    }
    outgoing.writeHead(200, EVENT_STREAM);
    outgoing.flushHeaders();
    if (role) outgoing.write(encodeEvent({ choices: [{ index: 0, delta: { role: 'assistant', content: '' } }] }));
    for (let index = 0; index < tokens; index += 1) {
      if (index === hangAfter) return;
      if (index === cutAfter) return void outgoing.destroy();
      await sleep(tokenMs);
      if (outgoing.destroyed) return;
      mine.tokensAt.push(performance.now());
      outgoing.write(chunk(`t${index} `, null));
    }
    outgoing.write(chunk('', 'stop'));
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
    tokensAfter: (time) => served.flatMap(({ tokensAt }) => tokensAt).filter((at) => at >= time).length,
    behave(next) {
      conductOf = typeof next === 'function' ? next : () => next;
    },
    kill,
    restart: open,
    [Symbol.asyncDispose]: kill,
  };
}

function chunk(content: string, finish_reason: string | null): string {
  return encodeEvent({ choices: [{ index: 0, delta: { content }, finish_reason }] });
}

async function textOf(incoming: IncomingMessage): Promise<string> {
  const pieces: Buffer[] = [];
  for await (const piece of incoming) pieces.push(piece);
  return Buffer.concat(pieces).toString('utf8');
}
