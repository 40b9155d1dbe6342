import type { Readable } from 'node:stream';
import { type LambentError, toLambentError } from '../core/errors.ts';
import { describeError } from '../core/logger.ts';
import type { Unit } from '../core/metrics.ts';
import { createKeepAliveStream } from './keep-alive.ts';
import type { RequestContext } from './request-context.ts';

/**
 * A JSON answer, or a stream of server-sent event frames whose first one is sent with status 200. A stream whose iterator
 * returns `true` at its end says that the answer was whole. `stored` is the id of the response that it shows, if that is
 * stored by its end: the answer isn't to be given again once it has been deleted.
 */
export type HttpResponse = {
  readonly headers?: Readonly<Record<string, string>>;
  readonly stored?: string;
} & ({ readonly status?: number; readonly json: unknown } | { readonly frames: AsyncIterable<string, unknown> });

/** What middy's streaming mode writes: the head as the prelude, then the body. */
export interface LambdaResponse {
  readonly statusCode: number;
  readonly headers: Record<string, string>;
  readonly body: string | Readable;
}

/** The parts of a response that depend on the public API. Passed in, so that the pipeline knows no API. */
export interface ApiFormat {
  /** Encodes an error that occurs before the first byte of the response. */
  errorResponse(error: LambentError): {
    readonly status: number;
    readonly headers: Readonly<Record<string, string>>;
    readonly json: unknown;
  };
  /** Encodes an error that occurs within a stream, as one server-sent event frame. */
  errorFrame(error: LambentError): string;
  /** Returns headers that the API adds to every response. */
  responseHeaders(elapsedMs: number): Readonly<Record<string, string>>;
  /** Value of `access-control-expose-headers`: the headers that a browser's script may read. */
  readonly exposedHeaders: string;
}

export interface ResponderOptions {
  readonly format: ApiFormat;
  readonly corsOrigin?: string | undefined;
}

/** Comment lines keep idle connections open through proxies, which cut them from 30 s on. */
const KEEP_ALIVE_MS = 15_000;

/** Encodes the response to one HTTP request, and writes the request's log line with its metrics when the response ends. */
export class HttpResponder {
  readonly #context: RequestContext;
  readonly #options: ResponderOptions;
  readonly #values: Record<string, readonly [number, Unit]> = {};

  constructor(context: RequestContext, options: ResponderOptions) {
    this.#context = context;
    this.#options = options;
  }

  /** Encodes an answer. A streamed one only when its first frame is there, so that a failure before it has a status. */
  async respond(answer: HttpResponse): Promise<LambdaResponse> {
    if ('json' in answer) return this.#json(answer.status ?? 200, answer.json, answer.headers);
    const iterator = answer.frames[Symbol.asyncIterator]();
    const first = await iterator.next();
    this.#values['FirstTokenMs'] = [this.#context.elapsedMs, 'Milliseconds'];
    return {
      statusCode: 200,
      headers: this.#headers('text/event-stream; charset=utf-8', { 'cache-control': 'no-cache', ...answer.headers }),
      body: createKeepAliveStream(this.#frames(first, iterator), KEEP_ALIVE_MS),
    };
  }

  /** Encodes an error that was thrown before the first byte. */
  fail(thrown: unknown): LambdaResponse {
    const error = toLambentError(thrown);
    const { status, headers, json } = this.#options.format.errorResponse(error);
    this.#context.telemetry.logger[status >= 500 ? 'error' : 'info']('request failed', describeError(error));
    return this.#json(status, json, headers);
  }

  #json(statusCode: number, json: unknown, headers: Readonly<Record<string, string>> | undefined): LambdaResponse {
    const body = JSON.stringify(json);
    this.#close(statusCode);
    return { statusCode, headers: this.#headers('application/json', headers), body };
  }

  /** Yields the frames. An encoder reports a truncated answer in its own frames: anything it throws is a bug. */
  async *#frames(first: IteratorResult<string>, iterator: AsyncIterator<string>): AsyncGenerator<string> {
    let status = 200;
    try {
      for (let frame = first; !frame.done; frame = await iterator.next()) yield frame.value;
    } catch (thrown) {
      const error = toLambentError(thrown);
      const { format } = this.#options;
      status = format.errorResponse(error).status;
      this.#context.telemetry.logger.error('stream failed', describeError(error));
      yield format.errorFrame(error);
    } finally {
      this.#close(status);
      await iterator.return?.();
    }
  }

  #headers(contentType: string, more: Readonly<Record<string, string>> | undefined): Record<string, string> {
    const { corsOrigin, format } = this.#options;
    return {
      'content-type': contentType,
      'x-request-id': this.#context.requestId,
      ...format.responseHeaders(this.#context.elapsedMs),
      ...(corsOrigin === undefined
        ? {}
        : { 'access-control-allow-origin': corsOrigin, 'access-control-expose-headers': format.exposedHeaders }),
      ...more,
    };
  }

  #close(status: number): void {
    this.#context.end();
    const { elapsedMs, cold, telemetry } = this.#context;
    telemetry.metrics.gather({
      ...this.#context.invocationMetrics(),
      ServerErrors: [status >= 500 ? 1 : 0, 'Count'],
      ...this.#values,
    });
    telemetry.logger.summarize(
      'request',
      { status, ms: Math.round(elapsedMs), cold },
      telemetry.metrics.takeGathered(),
    );
  }
}
