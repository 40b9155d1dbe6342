import type { Readable } from 'node:stream';
import { type LambentError, toLambentError } from '../core/errors.ts';
import { describeError } from '../core/logger.ts';
import { type MetricValues, toCounts } from '../core/metrics.ts';
import { recordedAs } from '../core/recorded-line.ts';
import { createKeepAliveStream } from './keep-alive.ts';
import type { RequestContext } from './request-context.ts';

/**
 * What a route returns: JSON, or a stream of server-sent event frames, which is sent with status 200. The stream's
 * iterator returns `true` if the stream is complete. `stored` is the id of the stored response that it contains: after
 * that one is deleted, this HTTP response must not be replayed.
 */
export type HttpResponse = {
  readonly headers?: Readonly<Record<string, string>>;
  readonly stored?: string;
} & ({ readonly status?: number; readonly json: unknown } | { readonly frames: AsyncIterable<string, unknown> });

/** A handler's result in middy's streaming mode: status and headers are sent first, then the body. */
export interface LambdaResponse {
  readonly statusCode: number;
  readonly headers: Record<string, string>;
  readonly body: string | Readable;
}

/** The parts of a response that depend on the public API. Passed in, so that the pipeline knows no API. */
export interface ApiFormat {
  /** Encodes an error that occurs before the first byte of the response. */
  errorResponse(
    error: LambentError,
    requestId: string,
  ): {
    readonly status: number;
    readonly headers: Readonly<Record<string, string>>;
    readonly json: unknown;
  };
  /** Encodes an error that occurs within a stream, as one server-sent event frame. */
  errorFrame(error: LambentError, requestId: string): string;
  /** The frame that keeps a silent stream's connection open. */
  readonly keepAliveFrame: string;
  /** Returns headers that the API adds to every response. */
  responseHeaders(elapsedMs: number, requestId: string): Readonly<Record<string, string>>;
  /** Value of `access-control-expose-headers`: the headers that a browser's script may read. */
  readonly exposedHeaders: string;
}

export interface ResponderOptions {
  /** The format of responses, unless the request has another one. */
  readonly format: ApiFormat;
  readonly corsOrigin?: string | undefined;
}

/** Comments keep idle connections open through proxies, some of which close them after 30 s. */
const KEEP_ALIVE_INTERVAL_MS = 15_000;

/** How long after its deadline a stream's sources may take to close before its line is written: the function is about to time out. */
const CLOSING_MS = 500;

/**
 * Encodes the response to one HTTP request, and writes the request's log line with its metrics when the response ends.
 */
export class HttpResponder {
  readonly #context: RequestContext;
  readonly #corsOrigin: string | undefined;
  #responseMetrics: MetricValues | undefined;

  #format: ApiFormat;
  #isClosed: true | undefined;

  constructor(context: RequestContext, { format, corsOrigin }: ResponderOptions) {
    this.#context = context;
    this.#format = format;
    this.#corsOrigin = corsOrigin;
  }

  /** Sets the format of this request's responses. */
  useFormat(format: ApiFormat): void {
    this.#format = format;
  }

  /** Encodes a route's response. Waits for a stream's first frame, so that an error before it gets its own status. */
  async respond(response: HttpResponse): Promise<LambdaResponse> {
    if ('json' in response) return this.#respondWithJson(response.status ?? 200, response.json, response.headers);
    const iterator = response.frames[Symbol.asyncIterator]();
    const first = await iterator.next();
    this.#context.endSilence();
    const ms = [this.#context.elapsedMs, 'Milliseconds'] as const;
    this.#responseMetrics = { FirstByteMs: ms, FirstTokenMs: ms };
    const frames = this.#yieldFrames(first, iterator);
    // A generator that was not started closes nothing if the connection is broken already.
    await frames.next();
    return {
      statusCode: 200,
      headers: this.#buildHeaders('text/event-stream; charset=utf-8', {
        'cache-control': 'no-cache',
        ...response.headers,
      }),
      body: createKeepAliveStream(frames, KEEP_ALIVE_INTERVAL_MS, this.#format.keepAliveFrame),
    };
  }

  /** Encodes an error that was thrown before the first byte. */
  fail(thrown: unknown): LambdaResponse {
    const { status, headers, json } = this.#report('request failed', toLambentError(thrown));
    return this.#respondWithJson(status, json, headers);
  }

  #respondWithJson(
    statusCode: number,
    json: unknown,
    headers: Readonly<Record<string, string>> | undefined,
  ): LambdaResponse {
    const body = JSON.stringify(json);
    this.#close(statusCode);
    return { statusCode, headers: this.#buildHeaders('application/json', headers), body };
  }

  /**
   * Yields an empty frame, then the frames. Encoders report upstream failures in their own frames, so anything they throw is a bug.
   */
  async *#yieldFrames(first: IteratorResult<string>, iterator: AsyncIterator<string>): AsyncGenerator<string> {
    let status = 200;
    try {
      yield '';
      for (let frame = first; !frame.done; frame = await iterator.next()) yield frame.value;
    } catch (thrown) {
      const error = toLambentError(thrown);
      ({ status } = this.#report('stream failed', error));
      yield this.#format.errorFrame(error, this.#context.requestId);
    } finally {
      // What ends now still adds to the line: the usage of an answer whose client has left, for example.
      const late = setTimeout(() => this.#close(status), this.#context.deadlineAt + CLOSING_MS - Date.now());
      try {
        await iterator.return?.();
      } finally {
        clearTimeout(late);
        this.#close(status);
      }
    }
  }

  /** Logs an error. Returns its encoding. */
  #report(message: string, error: LambentError): ReturnType<ApiFormat['errorResponse']> {
    const { requestId, telemetry } = this.#context;
    const response = this.#format.errorResponse(error, requestId);
    telemetry.logger[response.status >= 500 ? 'error' : 'info'](message, describeError(error));
    telemetry.logger.annotate({ errorCode: error.code });
    return response;
  }

  #buildHeaders(contentType: string, more: Readonly<Record<string, string>> | undefined): Record<string, string> {
    const corsOrigin = this.#corsOrigin;
    return {
      'content-type': contentType,
      'x-request-id': this.#context.requestId,
      ...this.#format.responseHeaders(this.#context.elapsedMs, this.#context.requestId),
      ...(corsOrigin === undefined
        ? {}
        : { 'access-control-allow-origin': corsOrigin, 'access-control-expose-headers': this.#format.exposedHeaders }),
      ...more,
    };
  }

  #close(status: number): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#context.end();
    const { elapsedMs, cold, telemetry } = this.#context;
    telemetry.metrics.gather({
      ...this.#context.getStartMetrics(),
      ...toCounts({ ServerErrors: status >= 500 ? 1 : 0 }),
      // JSON is sent at once.
      FirstByteMs: [elapsedMs, 'Milliseconds'],
      ...this.#responseMetrics,
    });
    telemetry.logger.summarize(
      'request',
      { ...recordedAs('call'), status, ms: Math.round(elapsedMs), cold },
      telemetry.metrics.takeGathered(),
    );
  }
}
