import type { Readable } from 'node:stream';
import type { Context } from 'aws-lambda';
import { LambentError, toLambentError } from '../core/errors.ts';
import { describeError, type Logger } from '../core/logger.ts';
import type { Metrics, Unit } from '../core/metrics.ts';
import { errorBody, errorHeaders, errorStatus } from '../openai/errors.ts';
import { beginInvocation } from './environment.ts';
import { keptAlive } from './keep-alive.ts';
import type { ProxyEvent } from './proxy-event.ts';

/**
 * A JSON answer, or a stream of server-sent event frames whose first one is sent with status 200. A stream whose iterator
 * returns `true` at its end says that the answer was whole. `stored` is the id of the response that it shows, if that is
 * stored by its end: the answer isn't to be given again once it has been deleted.
 */
export type HttpAnswer = {
  readonly headers?: Readonly<Record<string, string>>;
  readonly stored?: string;
} & ({ readonly status?: number; readonly json: unknown } | { readonly frames: AsyncIterable<string, unknown> });

/** What middy's streaming mode writes: the head as the prelude, then the body. */
export interface StreamedResponse {
  readonly statusCode: number;
  readonly headers: Record<string, string>;
  readonly body: string | Readable;
}

export interface ExchangeOptions {
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly corsOrigin?: string | undefined;
}

/** Left of the function's own time when the deadline strikes: to send an error and a log line. */
const DEADLINE_MARGIN_MS = 1_500;
/** Comment lines keep idle connections open through proxies, which cut them from 30 s on. */
const KEEP_ALIVE_MS = 15_000;
/** What a browser's script may read besides the body. */
const EXPOSED_HEADERS = 'x-request-id, openai-processing-ms, retry-after, retry-after-ms, x-should-retry';

/** One HTTP request and its answer: its id, its deadline, and the one log line that holds its metrics. */
export class Exchange {
  /** API Gateway's id of the request, or Lambda's until that is known. */
  requestId: string;
  /** Epoch milliseconds by which the answer must have ended. */
  readonly deadlineAt: number;
  readonly #startedAt = performance.now();
  readonly #start = beginInvocation();
  readonly #deadline = new AbortController();
  readonly #timer: NodeJS.Timeout;
  readonly #values: Record<string, readonly [number, Unit]> = {};
  readonly #options: ExchangeOptions;

  constructor(options: ExchangeOptions, context: Context) {
    this.#options = options;
    this.requestId = context.awsRequestId;
    const remainingMs = Math.max(0, context.getRemainingTimeInMillis() - DEADLINE_MARGIN_MS);
    this.deadlineAt = Date.now() + remainingMs;
    this.#timer = setTimeout(() => {
      this.#deadline.abort(new LambentError('deadline_exceeded', "The function's time is up"));
    }, remainingMs);
    options.logger.reset();
    options.logger.annotate({ requestId: this.requestId });
  }

  /** Aborts at the deadline. */
  get signal(): AbortSignal {
    return this.#deadline.signal;
  }

  begin({ httpMethod, resource, requestContext }: ProxyEvent): void {
    this.requestId = requestContext.requestId;
    this.#options.logger.annotate({ requestId: this.requestId, route: `${httpMethod} ${resource}` });
  }

  /** Encodes an answer; a streamed one only when its first frame is there, so that a failure before it has a status. */
  async answer(answer: HttpAnswer): Promise<StreamedResponse> {
    if ('json' in answer) {
      const statusCode = answer.status ?? 200;
      const body = JSON.stringify(answer.json);
      this.#close(statusCode);
      return { statusCode, headers: this.#headers('application/json', answer.headers), body };
    }
    const iterator = answer.frames[Symbol.asyncIterator]();
    const first = await iterator.next();
    this.#values['FirstTokenMs'] = [this.#ms, 'Milliseconds'];
    return {
      statusCode: 200,
      headers: this.#headers('text/event-stream; charset=utf-8', { 'cache-control': 'no-cache', ...answer.headers }),
      body: keptAlive(this.#frames(first, iterator), KEEP_ALIVE_MS),
    };
  }

  /** The answer to anything thrown before the first byte. */
  fail(thrown: unknown): StreamedResponse {
    const error = toLambentError(thrown);
    const statusCode = errorStatus(error);
    this.#options.logger[statusCode >= 500 ? 'error' : 'info']('request failed', describeError(error));
    this.#close(statusCode);
    return {
      statusCode,
      headers: this.#headers('application/json', errorHeaders(error)),
      body: JSON.stringify(errorBody(error)),
    };
  }

  /** The frames as they come. An encoder says itself when an answer was cut: what it throws is a bug of ours. */
  async *#frames(first: IteratorResult<string>, iterator: AsyncIterator<string>): AsyncGenerator<string> {
    let status = 200;
    try {
      for (let frame = first; !frame.done; frame = await iterator.next()) yield frame.value;
    } catch (thrown) {
      const error = toLambentError(thrown);
      status = errorStatus(error);
      this.#options.logger.error('stream failed', describeError(error));
      yield `data: ${JSON.stringify(errorBody(error))}\n\n`;
    } finally {
      this.#close(status);
      await iterator.return?.();
    }
  }

  #headers(contentType: string, more: Readonly<Record<string, string>> | undefined): Record<string, string> {
    const { corsOrigin } = this.#options;
    return {
      'content-type': contentType,
      'x-request-id': this.requestId,
      'openai-processing-ms': String(Math.round(this.#ms)),
      ...(corsOrigin === undefined
        ? {}
        : { 'access-control-allow-origin': corsOrigin, 'access-control-expose-headers': EXPOSED_HEADERS }),
      ...more,
    };
  }

  get #ms(): number {
    return performance.now() - this.#startedAt;
  }

  #close(status: number): void {
    clearTimeout(this.#timer);
    const ms = this.#ms;
    const { cold, initMs } = this.#start;
    const { logger, metrics } = this.#options;
    metrics.gather({
      LatencyMs: [ms, 'Milliseconds'],
      ServerErrors: [status >= 500 ? 1 : 0, 'Count'],
      ColdStart: [cold ? 1 : 0, 'Count'],
      ...(cold ? { InitMs: [initMs, 'Milliseconds'] } : {}),
      ...this.#values,
    });
    logger.summarize('request', { status, ms: Math.round(ms), cold }, metrics.gathered());
  }
}
