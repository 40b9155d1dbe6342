import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { replyAsChatModel } from './chat-model.ts';
import type { Reply } from './reply.ts';

/** A request that the upstream has received. */
export interface ReceivedRequest {
  readonly method: string;
  readonly path: string;
  /** Names in lower case. */
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** The parsed JSON body, or undefined if it isn't JSON. */
  readonly body: unknown;
  /** The client's port, which identifies the connection. */
  readonly connection: number;
  /** Resolves at the end of the response: true if the client closed the connection before it was complete. */
  readonly closedEarly: Promise<boolean>;
}

/** Returns the reply to a request. `index` counts requests from 0. `'cut'` closes the connection without a byte. */
export type Script = (request: ReceivedRequest, index: number) => Reply | 'cut' | Promise<Reply | 'cut'>;

export interface Upstream {
  /** For an `openai-compatible` target: `http://127.0.0.1:…/v1`. */
  readonly baseUrl: string;
  /** All requests so far, in order. */
  readonly requests: readonly ReceivedRequest[];
  /** Closes idle keep-alive connections, as a load balancer does after a while. */
  closeIdle(): void;
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Starts an HTTP server for OpenAI's API on a free port of 127.0.0.1. Its replies come from `script`, or by default
 * from the deterministic model in `chat-model.ts`.
 */
export async function startUpstream(script: Script = ({ body }) => replyAsChatModel(body)): Promise<Upstream> {
  const requests: ReceivedRequest[] = [];
  const server = createServer({ keepAliveTimeout: 60_000 }, (incoming, outgoing) => {
    void serve(incoming, outgoing).catch(() => outgoing.destroy());
  });

  async function serve(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    outgoing.on('error', () => {});
    const closedEarly = once(outgoing, 'close').then(() => !outgoing.writableFinished);
    const text = await readText(incoming);
    const request: ReceivedRequest = {
      method: incoming.method ?? '',
      path: incoming.url ?? '',
      headers: incoming.headers,
      text,
      body: parseJson(text),
      connection: incoming.socket.remotePort ?? 0,
      closedEarly,
    };
    requests.push(request);
    const reply = await script(request, requests.length - 1);
    if (reply === 'cut') incoming.socket.destroy();
    else await sendReply(outgoing, reply);
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

async function sendReply(outgoing: ServerResponse, { status = 200, headers = {}, body, steps }: Reply): Promise<void> {
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
      // Lets the bytes sent so far arrive first.
      await sleep(5);
      outgoing.destroy();
      return;
    }
    if ('waitMs' in step) await sleep(step.waitMs);
    else if ('until' in step) await step.until;
    else if (!outgoing.write(step.send)) await waitForDrain(outgoing);
    else await new Promise(setImmediate);
  }
  outgoing.end();
}

/** Resolves when the client has read the buffered bytes or closed the connection. */
function waitForDrain(outgoing: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      outgoing.off('drain', done).off('close', done);
      resolve();
    };
    outgoing.on('drain', done).on('close', done);
  });
}

async function readText(incoming: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
