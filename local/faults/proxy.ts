import { Agent, createServer, type IncomingMessage, type ServerResponse, request as send } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { listen } from '../listen.ts';
import { createFaultResponse, type FaultyService } from './fault-responses.ts';

/**
 * What befalls a request:
 * - `throttled`, `failed`: it is refused, and not carried out;
 * - `cutBefore`: its connection ends, and it is not carried out;
 * - `cutAfter`: it is carried out, and its connection ends before the answer: whoever sent it can't know.
 */
export const FAULTS = ['throttled', 'failed', 'cutBefore', 'cutAfter'] as const;
export type Fault = (typeof FAULTS)[number];

/** Shares of all requests, from 0 to 1, that meet each fault; together 1 at most. */
export type FaultShares = Readonly<Partial<Record<Fault, number>>>;

/** A request that a service carried out, whatever befell its answer. */
export interface Exchange {
  readonly service: FaultyService;
  readonly method: string;
  /** The operation's name as its protocol has it, such as `DynamoDB_20120810.UpdateItem`; empty where it has none. */
  readonly target: string;
  /** Id of the invocation in which it was sent, which the SDK says in its trace header; empty for other callers. */
  readonly requestId: string;
  readonly request: Buffer;
  readonly status: number;
  readonly response: Buffer;
}

export interface FaultProxy {
  readonly url: string;
  /** From now on. */
  set(shares: FaultShares): void;
  /** How many requests there were, and how many met each fault. */
  counts(): Readonly<Record<Fault | 'requests', number>>;
  close(): Promise<void>;
}

export interface FaultProxyOptions {
  readonly service: FaultyService;
  /** Base URL of the stand-in behind it; a function, asked at each request, where that starts later. */
  readonly target: string | (() => string);
  /** 0 up to 1; one number for each request, so that a seed gives the same faults to the same requests. */
  readonly random: () => number;
  readonly shares?: FaultShares;
  /** What the stand-in gets in place of a request's body. */
  readonly rewrite?: (body: Buffer) => Buffer;
  /** Sees every request that was carried out, with its answer, before whoever sent it does. */
  readonly onExchange?: (exchange: Exchange) => void;
}

/** Puts faults between a stand-in for an AWS service and whoever calls it, on 127.0.0.1. */
export async function startFaultProxy({
  service,
  target,
  random,
  shares = {},
  rewrite,
  onExchange,
}: FaultProxyOptions): Promise<FaultProxy> {
  let current = shares;
  const counted: Record<Fault | 'requests', number> = {
    requests: 0,
    throttled: 0,
    failed: 0,
    cutBefore: 0,
    cutAfter: 0,
  };
  const agent = new Agent({ keepAlive: true });
  const targetOf = typeof target === 'string' ? () => target : target;

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const fault = choose(current, random());
    counted.requests += 1;
    if (fault !== undefined) counted[fault] += 1;
    if (fault === 'cutBefore') return void request.socket.destroy();
    // The whole of it is read in any case: a refusal that came before its end would look like a cut.
    const asked = await buffer(request);
    if (fault === 'throttled' || fault === 'failed') {
      const answer = createFaultResponse(service, fault);
      response.writeHead(answer.status, { ...answer.headers, 'content-length': Buffer.byteLength(answer.body) });
      response.end(answer.body);
      return;
    }
    const body = rewrite?.(asked) ?? asked;
    const answer = await forward(request, body);
    if (onExchange !== undefined) return carriedOut(request, body, answer, response, fault);
    if (fault === 'cutAfter') {
      answer.resume().on('close', () => request.socket.destroy());
      return;
    }
    response.writeHead(answer.statusCode ?? 502, answer.rawHeaders);
    answer.on('error', () => response.destroy()).pipe(response);
  }

  /** Answers as a whole what is watched, so that it is seen before it is answered. */
  async function carriedOut(
    request: IncomingMessage,
    body: Buffer,
    answer: IncomingMessage,
    response: ServerResponse,
    fault: Fault | undefined,
  ): Promise<void> {
    const whole = await buffer(answer);
    const status = answer.statusCode ?? 502;
    onExchange?.({
      service,
      method: request.method ?? '',
      target: String(request.headers['x-amz-target'] ?? ''),
      requestId: /^Root=1-([^;]+)/.exec(String(request.headers['x-amzn-trace-id'] ?? ''))?.[1] ?? '',
      request: body,
      status,
      response: whole,
    });
    if (fault === 'cutAfter') return void request.socket.destroy();
    response.writeHead(status, answer.rawHeaders);
    response.end(whole);
  }

  function forward(request: IncomingMessage, body: Buffer): Promise<IncomingMessage> {
    const { method, url: path, rawHeaders } = request;
    const { hostname: host, port } = new URL(targetOf());
    const headers = rewrite === undefined ? rawHeaders : { ...request.headers, 'content-length': `${body.byteLength}` };
    return new Promise((resolve, reject) => {
      const onward = send({ agent, host, port, method, path, headers }, resolve);
      onward.on('error', reject);
      onward.end(body);
    });
  }

  const server = createServer((request, response) => {
    // Who called has gone, or the stand-in is away: either way the connection ends.
    handle(request, response).catch(() => request.socket.destroy());
  });
  const listening = await listen(server, { port: 0 });
  return {
    url: `http://127.0.0.1:${listening.port}`,
    set(next) {
      current = next;
    },
    counts: () => ({ ...counted }),
    async close() {
      await listening.close();
      agent.destroy();
    },
  };
}

function choose(shares: FaultShares, random: number): Fault | undefined {
  let below = 0;
  return FAULTS.find((fault) => {
    below += shares[fault] ?? 0;
    return random < below;
  });
}
