import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { chatModel } from './chat-model.ts';
import type { Reply } from './reply.ts';

/** A request as the upstream saw it. */
export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  /** Names in lower case. */
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** The parsed JSON body, undefined when it is none. */
  readonly body: unknown;
  /** Client port: the same for requests that came over one connection. */
  readonly connection: number;
  /** Resolves when the exchange is over: true if the client closed it before the answer had ended. */
  readonly closedEarly: Promise<boolean>;
}

/** Decides the answer to a request; `nth` counts from 0. `'cut'` closes the connection without a byte. */
export type Script = (request: SeenRequest, nth: number) => Reply | 'cut' | Promise<Reply | 'cut'>;

export interface Upstream {
  /** For an `openai-compatible` target: `http://127.0.0.1:…/v1`. */
  readonly baseUrl: string;
  /** All requests so far, in order. */
  readonly requests: readonly SeenRequest[];
  /** Closes idle keep-alive connections, as a load balancer does after a while. */
  closeIdle(): void;
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Starts an upstream that speaks OpenAI's API as `script` says, on a free port of 127.0.0.1. Without a script it is a
 * small deterministic chat model, see `chat-model.ts`.
 */
export async function startUpstream(script: Script = ({ body }) => chatModel(body)): Promise<Upstream> {
  const requests: SeenRequest[] = [];
  const server = createServer({ keepAliveTimeout: 60_000 }, (incoming, outgoing) => {
    void serve(incoming, outgoing).catch(() => outgoing.destroy());
  });

  async function serve(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    outgoing.on('error', () => {});
    const closedEarly = once(outgoing, 'close').then(() => !outgoing.writableFinished);
    const text = await readText(incoming);
    const seen: SeenRequest = {
      method: incoming.method ?? '',
      path: incoming.url ?? '',
      headers: incoming.headers,
      text,
      body: parsed(text),
      connection: incoming.socket.remotePort ?? 0,
      closedEarly,
    };
    requests.push(seen);
    const reply = await script(seen, requests.length - 1);
    if (reply === 'cut') incoming.socket.destroy();
    else await answer(outgoing, reply);
  }

  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('The upstream has no port');

  const close = async (): Promise<void> => {
    if (!server.listening) return;
    server.close();
    server.closeAllConnections();
    await once(server, 'close');
  };
  return {
    baseUrl: `http://127.0.0.1:${address.port}/v1`,
    requests,
    closeIdle: () => server.closeIdleConnections(),
    close,
    [Symbol.asyncDispose]: close,
  };
}

async function answer(outgoing: ServerResponse, { status = 200, headers = {}, body, steps }: Reply): Promise<void> {
  const isRaw = typeof body === 'string' || body instanceof Uint8Array;
  const type = body === undefined || isRaw ? {} : { 'content-type': 'application/json' };
  outgoing.writeHead(status, { ...type, ...headers });
  if (body !== undefined) {
    outgoing.end(isRaw ? body : JSON.stringify(body));
    return;
  }
  outgoing.flushHeaders();
  for (const step of steps ?? []) {
    if (outgoing.destroyed || step === 'stall') return;
    if (step === 'cut') {
      // A tick for what was sent before: it should arrive.
      await sleep(5);
      outgoing.destroy();
      return;
    }
    if ('waitMs' in step) await sleep(step.waitMs);
    else if ('until' in step) await step.until;
    else if (!outgoing.write(step.send)) await drained(outgoing);
    else await new Promise(setImmediate);
  }
  outgoing.end();
}

/** Waits until the client has read, or has gone. */
function drained(outgoing: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      outgoing.off('drain', done).off('close', done);
      resolve();
    };
    outgoing.on('drain', done).on('close', done);
  });
}

async function readText(incoming: IncomingMessage): Promise<string> {
  const pieces: Buffer[] = [];
  for await (const piece of incoming) pieces.push(piece);
  return Buffer.concat(pieces).toString('utf8');
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
