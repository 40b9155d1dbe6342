import { Agent, request as httpRequest } from 'node:http';
import { measureTravelMs } from '../targets/tokens.ts';

/** A request that is sent repeatedly. */
export interface RepeatedRequest {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  readonly streamed: boolean;
  /** Text that a complete answer contains and a part of one doesn't. */
  readonly expected: string;
}

/** When things happened to one request, in milliseconds of `performance.now()`. */
export interface Timing {
  readonly startedAt: number;
  readonly firstByteAt: number;
  readonly endedAt: number;
  /** As in `LoadResult`. */
  readonly firstTokenTravelMs: number | undefined;
}

/**
 * Returns a function that sends the request and reads the complete answer.
 * @param connections the most that are open at once
 */
export function createSender(repeated: RepeatedRequest, connections: number): () => Promise<Timing> {
  const { body, streamed, expected } = repeated;
  const agent = new Agent({ keepAlive: true, maxSockets: connections });
  const target = new URL(repeated.url);
  const headers = {
    'content-type': 'application/json',
    'content-length': String(Buffer.byteLength(body)),
    ...repeated.headers,
  };
  return () =>
    new Promise((resolve, reject) => {
      const startedAt = performance.now();
      const request = httpRequest(target, { method: 'POST', headers, agent }, (response) => {
        let firstByteAt = 0;
        let firstTokenTravelMs: number | undefined;
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (chunk: string) => {
          if (text === '') firstByteAt = performance.now();
          text += chunk;
          if (streamed) firstTokenTravelMs ??= measureTravelMs(text);
        });
        response.on('error', reject);
        response.on('end', () => {
          const endedAt = performance.now();
          if (response.statusCode === 200 && text.includes(expected))
            resolve({ startedAt, firstByteAt, endedAt, firstTokenTravelMs });
          else reject(new Error(`status ${response.statusCode}: ${text.slice(0, 500)}`));
        });
      });
      request.on('error', reject);
      request.end(body);
    });
}
