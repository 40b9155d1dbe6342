import { Agent, type ClientRequest, type IncomingHttpHeaders, type IncomingMessage, request } from 'node:http';
import type { Readable } from 'node:stream';
import { UpstreamError } from '../../model.ts';
import { connectionError, malformedAnswerError } from './errors.ts';

/**
 * Sends requests to one URL with `node:http`. The first call of `fetch` would add 20 ms to a cold start, and its errors
 * don't distinguish a stale connection from a lost one.
 */
export interface Transport {
  /**
   * Sends a POST request and waits for the response's headers. Redirects are returned, not followed.
   * @param signal closes the connection immediately
   * @throws UpstreamError `upstream_unavailable` without a connection; `upstream_malformed` if the response isn't HTTP
   */
  post(headers: Readonly<Record<string, string>>, body: Buffer, signal: AbortSignal): Promise<UpstreamResponse>;
}

export interface UpstreamResponse {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /**
   * The body as text, as it arrives and with backpressure. Throws Node's error if the body is cut off. Ending the
   * iteration early doesn't close the connection: call `release` or `close`.
   */
  readonly body: AsyncIterable<string>;
  /** Ends the exchange. Keeps the connection if the upstream ends the body soon, and closes it otherwise. */
  release(): void;
  /** Ends the exchange and closes the connection, unless `release` was called or the body has ended. */
  close(): void;
}

/** Time for a body to end after its last event. After it, the connection is closed. */
const DRAIN_MS = 1_000;

/**
 * Creates the transport to one URL. All transports share kept-alive connections. The only timeout is `connectMs`;
 * callers use the signal for all others.
 * @param connectMs milliseconds within which a connection must be made: a machine that is gone doesn't even refuse one
 */
export function createTransport(url: URL, connectMs?: number): Transport {
  const { send, agent } = url.protocol === 'https:' ? getSecureTransport() : plain;

  const begin = (headers: Readonly<Record<string, string>>): ClientRequest => {
    try {
      return send(url, { method: 'POST', agent, headers });
    } catch (cause) {
      // Node refuses invalid headers, for instance a line break in a key. Its message has the header's name, no value.
      const recovery = 'nextTarget';
      throw new UpstreamError('upstream_misconfigured', `A header for ${url.host} cannot be sent`, { recovery, cause });
    }
  };

  return {
    post: (headers, body, signal) =>
      new Promise((resolve, reject) => {
        signal.throwIfAborted();
        const outgoing = begin(headers);
        let incoming: IncomingMessage | undefined;
        const abort = (): void => {
          (incoming ?? outgoing).destroy();
          reject(signal.reason);
        };
        signal.addEventListener('abort', abort, { once: true });
        outgoing.once('close', () => signal.removeEventListener('abort', abort));
        if (connectMs !== undefined) limitConnecting(outgoing, connectMs);
        outgoing.on('error', (thrown) => reject(connectionError(thrown, url.host, isStale(outgoing, thrown))));
        outgoing.once('response', (response) => {
          incoming = response;
          try {
            resolve(openResponse(response));
          } catch (thrown) {
            reject(thrown);
          }
        });
        // Sends body and headers in one packet, and lets Node set the content-length.
        outgoing.end(body);
      }),
  };
}

const plain = { send: request, agent: new Agent({ keepAlive: true }) };
let secured: typeof plain | undefined;

/** Returns the TLS transport. Loads it on first use, because that takes 5 ms. */
function getSecureTransport(): typeof plain {
  if (secured === undefined) {
    const https = process.getBuiltinModule('node:https');
    secured = { send: https.request, agent: new https.Agent({ keepAlive: true }) };
  }
  return secured;
}

/** Ends a request without a connection after `connectMs`, with the error of a system timeout. */
function limitConnecting(outgoing: ClientRequest, connectMs: number): void {
  outgoing.once('socket', (socket) => {
    if (!socket.connecting) return;
    const giveUp = () => outgoing.destroy(Object.assign(new Error('No connection in time'), { code: 'ETIMEDOUT' }));
    const timer = setTimeout(giveUp, connectMs);
    socket.once('connect', () => clearTimeout(timer));
    outgoing.once('close', () => clearTimeout(timer));
  });
}

function isStale(outgoing: ClientRequest, thrown: Error): boolean {
  return outgoing.reusedSocket && 'code' in thrown && (thrown.code === 'ECONNRESET' || thrown.code === 'EPIPE');
}

function openResponse(incoming: IncomingMessage): UpstreamResponse {
  let released = false;
  // Without a listener, a connection that breaks while the body is not being read would end the process.
  incoming.on('error', ignore);
  const readable = decompress(incoming);
  readable.setEncoding('utf8');
  return {
    status: incoming.statusCode ?? 0,
    headers: incoming.headers,
    body: readable.iterator({ destroyOnReturn: false }),
    release() {
      released = true;
      if (!incoming.complete) {
        const timer = setTimeout(() => incoming.destroy(), DRAIN_MS).unref();
        incoming.once('close', () => clearTimeout(timer));
      }
      incoming.resume();
    },
    close() {
      if (!released && !incoming.readableEnded) incoming.destroy();
    },
  };
}

function ignore(): void {}

/** Decompresses a body. Requests ask for `identity`, but some upstreams compress anyway. */
function decompress(incoming: IncomingMessage): Readable {
  const encoding = incoming.headers['content-encoding']?.trim().toLowerCase() || 'identity';
  if (encoding === 'identity') return incoming;
  const zlib = process.getBuiltinModule('node:zlib');
  const { pipeline } = process.getBuiltinModule('node:stream');
  switch (encoding) {
    case 'gzip':
    case 'x-gzip':
      return pipeline(incoming, zlib.createGunzip(), ignore);
    case 'deflate':
      return pipeline(incoming, zlib.createInflate(), ignore);
    case 'br':
      return pipeline(incoming, zlib.createBrotliDecompress(), ignore);
    default:
      incoming.destroy();
      throw malformedAnswerError('The upstream answered with an unsupported compression', 'nextTarget');
  }
}
