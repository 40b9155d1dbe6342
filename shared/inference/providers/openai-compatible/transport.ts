import { Agent, type ClientRequest, type IncomingHttpHeaders, type IncomingMessage, request } from 'node:http';
import type { Readable } from 'node:stream';
import { UpstreamError } from '../../model.ts';
import { connectionError, malformedAnswerError } from './errors.ts';

/** Why not `fetch`: its first call costs 20 ms of a cold start, and it can't tell a stale connection from a lost one. */
export interface Transport {
  /**
   * Sends one POST and waits for the answer's headers. Redirects are answers like any other.
   * @param signal closes the connection at once, whatever it waits for
   * @throws UpstreamError `upstream_unavailable` when there is no connection, `upstream_malformed` when it isn't HTTP
   */
  post(headers: Readonly<Record<string, string>>, body: string, signal: AbortSignal): Promise<UpstreamResponse>;
}

export interface UpstreamResponse {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /**
   * The body as text, as it arrives; reads no faster than it is iterated. Throws Node's error when it is cut. Leaving
   * the loop does not close the connection: `release` decides.
   */
  readonly body: AsyncIterable<string>;
  /** Ends the exchange: keeps the connection if the upstream ends the body right away, closes it otherwise. */
  release(): void;
  /** Ends the exchange by closing the connection, unless it was released or has ended by itself. */
  close(): void;
}

/** A connection whose body has not ended by then after its last event is not worth waiting for. */
const DRAIN_MS = 1_000;

/**
 * Makes the transport to one URL. Connections are kept and shared by all transports, as long as the upstream keeps
 * them. There is no timeout of its own but for making a connection, if that is given: all others come through the signal.
 * @param connectMs milliseconds in which there has to be a connection: a machine that is gone answers nothing at all
 */
export function createTransport(url: URL, connectMs?: number): Transport {
  const { send, agent } = url.protocol === 'https:' ? getSecureTransport() : plain;

  const begin = (headers: Readonly<Record<string, string>>): ClientRequest => {
    try {
      return send(url, { method: 'POST', agent, headers });
    } catch (cause) {
      // Node checks the headers: a line break in a key, say. Its message names the header, not the value.
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
        // Text and headers go out in one packet, and Node counts the content-length itself.
        outgoing.end(body);
      }),
  };
}

const plain = { send: request, agent: new Agent({ keepAlive: true }) };
let secured: typeof plain | undefined;

/** TLS takes 5 ms to load: only for an upstream that needs it. */
function getSecureTransport(): typeof plain {
  if (secured === undefined) {
    const https = process.getBuiltinModule('node:https');
    secured = { send: https.request, agent: new https.Agent({ keepAlive: true }) };
  }
  return secured;
}

/** Ends a request for which there is no connection in time, in the words of a system that gave up by itself. */
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
  // Without a listener, a connection that breaks while nobody reads would end the process.
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

/** We ask for `identity`; an upstream that compresses all the same is understood. */
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
      throw malformedAnswerError('The upstream answered in a compression that was not asked for', 'nextTarget');
  }
}
