import { Agent, createServer, type IncomingMessage, type ServerResponse, request as send } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import type { AccessKeys } from '../access/access-keys.ts';
import { SignatureVerifier } from '../access/signature.ts';
import { listen } from '../listen.ts';
import { createFaultResponse, type FaultyService } from './fault-responses.ts';

/**
 * Faults of a request:
 * - `throttled`, `failed`: the client gets an error response, and the service does not perform the request;
 * - `cutBefore`: the connection closes, and the service does not perform the request;
 * - `cutAfter`: the service performs the request, and the connection closes before the response. The client can't
 *   distinguish it from `cutBefore`;
 * - `slow`: the service performs the request after a delay.
 */
export const FAULTS = ['throttled', 'failed', 'cutBefore', 'cutAfter', 'slow'] as const;
export type Fault = (typeof FAULTS)[number];

/** The share of requests, from 0 to 1, that get each fault. The sum is at most 1. */
export type FaultShares = Readonly<Partial<Record<Fault, number>>>;

/** A request that a service performed, and its response, whether or not the client got it. */
export interface Exchange {
  readonly service: FaultyService;
  readonly method: string;
  /** With the query. */
  readonly path: string;
  /** The operation's name, such as `DynamoDB_20120810.UpdateItem`; empty if the protocol has no operation names. */
  readonly target: string;
  /** Id of the invocation that sent the request, from the SDK's trace header; empty for other clients. */
  readonly requestId: string;
  readonly request: Buffer;
  readonly status: number;
  readonly response: Buffer;
}

export interface FaultProxy {
  readonly url: string;
  /** Sets the shares for the requests that follow. */
  set(shares: FaultShares): void;
  /** Returns the number of requests, and how many of them got each fault. */
  counts(): Readonly<Record<Fault | 'requests', number>>;
  close(): Promise<void>;
}

export interface FaultProxyOptions {
  readonly service: FaultyService;
  /** Base URL of the stand-in, or a function that is called for each request if the stand-in starts later. */
  readonly target: string | (() => string);
  /**
   * Returns a number from 0 up to 1. Called once for each request, so that the same seed repeats the same faults.
   * @param operation as the `target` of an `Exchange`
   */
  readonly random: (operation: string) => number;
  readonly shares?: FaultShares;
  /** Milliseconds by which `slow` requests are delayed. Default: 1000. */
  readonly slowMs?: number;
  /** Returns the body that the stand-in gets instead of a request's own. */
  readonly rewrite?: (body: Buffer) => Buffer;
  /** The keys with which a request is signed again whose body was rewritten; empty if the stand-in checks no signatures. */
  readonly accessKeys?: AccessKeys;
  /** Called with every request that the service performed, before the client gets the response. */
  readonly onExchange?: (exchange: Exchange) => void;
}

/** Starts a proxy on 127.0.0.1 that injects faults between a stand-in for an AWS service and its clients. */
export async function startFaultProxy({
  service,
  target,
  random,
  shares = {},
  slowMs = 1_000,
  rewrite,
  accessKeys = new Map(),
  onExchange,
}: FaultProxyOptions): Promise<FaultProxy> {
  let current = shares;
  const counts: Record<Fault | 'requests', number> = {
    requests: 0,
    throttled: 0,
    failed: 0,
    cutBefore: 0,
    cutAfter: 0,
    slow: 0,
  };
  const signer = new SignatureVerifier(service, accessKeys);
  const agent = new Agent({ keepAlive: true });
  const targetUrl = typeof target === 'string' ? () => target : target;

  async function handle(request: IncomingMessage, client: ServerResponse): Promise<void> {
    const fault = chooseFault(current, random(getOperation(request)));
    counts.requests += 1;
    if (fault !== undefined) counts[fault] += 1;
    if (fault === 'cutBefore') return void request.socket.destroy();
    // Always read the whole body: an error response before its end would look like a cut connection to the client.
    const original = await buffer(request);
    if (fault === 'throttled' || fault === 'failed') {
      const { status, headers, body } = createFaultResponse(service, fault);
      client.writeHead(status, { ...headers, 'content-length': Buffer.byteLength(body) }).end(body);
      return;
    }
    if (fault === 'slow') await sleep(slowMs);
    const body = rewrite?.(original) ?? original;
    const response = await forward(request, body);
    if (onExchange !== undefined) return reportExchange(request, body, response, client, fault);
    if (fault === 'cutAfter') {
      response.resume().on('close', () => request.socket.destroy());
      return;
    }
    client.writeHead(response.statusCode ?? 502, response.rawHeaders);
    response.on('error', () => client.destroy()).pipe(client);
  }

  /** Reads the whole response, so that `onExchange` gets it before the client does. */
  async function reportExchange(
    request: IncomingMessage,
    body: Buffer,
    response: IncomingMessage,
    client: ServerResponse,
    fault: Fault | undefined,
  ): Promise<void> {
    const content = await buffer(response);
    const status = response.statusCode ?? 502;
    onExchange?.({
      service,
      method: request.method ?? '',
      path: request.url ?? '',
      target: getOperation(request),
      requestId: /^Root=1-([^;]+)/.exec(String(request.headers['x-amzn-trace-id'] ?? ''))?.[1] ?? '',
      request: body,
      status,
      response: content,
    });
    if (fault === 'cutAfter') return void request.socket.destroy();
    client.writeHead(status, response.rawHeaders);
    client.end(content);
  }

  function forward(request: IncomingMessage, body: Buffer): Promise<IncomingMessage> {
    const { method = '', url: path = '/', rawHeaders } = request;
    const { hostname: host, port } = new URL(targetUrl());
    const rewritten = { ...request.headers, 'content-length': `${body.byteLength}` };
    const headers =
      rewrite === undefined ? rawHeaders : signer.signAgain({ method, url: path, headers: rewritten }, body);
    return new Promise((resolve, reject) => {
      const forwarded = send({ agent, host, port, method, path, headers }, resolve);
      forwarded.on('error', reject);
      forwarded.end(body);
    });
  }

  const server = createServer((request, client) => {
    // The client has disconnected, or the stand-in is not running. The connection closes in both cases.
    handle(request, client).catch(() => request.socket.destroy());
  });
  const listening = await listen(server, { port: 0 });
  return {
    url: `http://127.0.0.1:${listening.port}`,
    set(next) {
      current = next;
    },
    counts: () => ({ ...counts }),
    async close() {
      await listening.close();
      agent.destroy();
    },
  };
}

function getOperation({ headers }: IncomingMessage): string {
  return String(headers['x-amz-target'] ?? '');
}

function chooseFault(shares: FaultShares, random: number): Fault | undefined {
  let below = 0;
  return FAULTS.find((fault) => {
    below += shares[fault] ?? 0;
    return random < below;
  });
}
