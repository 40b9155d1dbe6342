import type { Readable } from 'node:stream';
import middy, { type MiddyfiedHandler } from '@middy/core';
import { executionModeStreamifyResponse } from '@middy/core/StreamifyResponse';
import type { APIGatewayProxyEvent, Context } from 'aws-lambda';
import { fromAuthorizerContext } from '../access/keys.ts';
import type { Principal, Scope } from '../access/principal.ts';
import { errorBody, errorHeaders, errorStatus } from '../openai/errors.ts';
import { parseBody } from './body.ts';
import { beginInvocation } from './environment.ts';
import { LambentError, toLambentError } from './errors.ts';
import { keptAlive } from './keep-alive.ts';
import { describeError, type Logger } from './logger.ts';
import type { Metrics, Unit } from './metrics.ts';
import { warm } from './warm.ts';

/** A request as a route sees it: parsed, authorized, and free of API Gateway. */
export interface HttpRequest {
  /** Also the answer's `x-request-id`. */
  readonly requestId: string;
  readonly pathParameters: Readonly<Record<string, string>>;
  readonly query: Readonly<Record<string, string>>;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  /** The parsed JSON body; undefined where the method has none. */
  readonly body: unknown;
  readonly principal: Principal;
  /** Aborts at the deadline. */
  readonly signal: AbortSignal;
  /** Epoch milliseconds by which the answer must have ended. */
  readonly deadlineAt: number;
}

/** A JSON answer, or a stream of server-sent event frames whose first one is sent with status 200. */
export type HttpAnswer =
  | { readonly status?: number; readonly headers?: Readonly<Record<string, string>>; readonly json: unknown }
  | { readonly headers?: Readonly<Record<string, string>>; readonly frames: AsyncIterable<string> };

export interface Route {
  /** The scope a key needs for it. */
  readonly scope: Scope;
  run(request: HttpRequest): Promise<HttpAnswer>;
}

export interface HttpPipeline {
  /** By method and resource: `GET /v1/models/{id}`. */
  readonly routes: Readonly<Record<string, Route>>;
  readonly logger: Logger;
  readonly metrics: Metrics;
  /** Value of `access-control-allow-origin`; no CORS headers when absent. */
  readonly corsOrigin?: string | undefined;
}

/** What middy's streaming mode writes: the head as the prelude, then the body. */
interface StreamedResponse {
  readonly statusCode: number;
  readonly headers: Record<string, string>;
  readonly body: string | Readable;
}

/** Left of the function's own time when the deadline strikes: to send an error and a log line. */
const DEADLINE_MARGIN_MS = 1_500;
/** Comment lines keep idle connections open through proxies, which cut them from 30 s on. */
const KEEP_ALIVE_MS = 15_000;

/**
 * The pipeline of every function behind API Gateway: context, principal, parse, run, answer, log. Answers are streamed:
 * the status goes out with the first byte. Whatever is thrown on the way becomes one of OpenAI's error objects.
 */
export function httpPipeline(options: HttpPipeline): MiddyfiedHandler<APIGatewayProxyEvent, StreamedResponse | string> {
  return middy<APIGatewayProxyEvent, StreamedResponse | string>({
    executionMode: executionModeStreamifyResponse,
    timeoutEarlyInMillis: 0,
  })
    .use(warm())
    .handler((event, context) => serve(options, event, context));
}

async function serve(options: HttpPipeline, event: APIGatewayProxyEvent, context: Context): Promise<StreamedResponse> {
  const exchange = new Exchange(options, event, context);
  try {
    const { route, request } = exchange.open();
    return await exchange.answer(await route.run(request));
  } catch (thrown) {
    return exchange.fail(thrown);
  }
}

/** One request and its answer. */
class Exchange {
  readonly #startedAt = performance.now();
  readonly #start = beginInvocation();
  readonly #deadline = new AbortController();
  readonly #options: HttpPipeline;
  readonly #event: APIGatewayProxyEvent;
  readonly #requestId: string;
  readonly #deadlineAt: number;
  readonly #timer: NodeJS.Timeout;
  readonly #values: Record<string, readonly [number, Unit]> = {};

  constructor(options: HttpPipeline, event: APIGatewayProxyEvent, context: Context) {
    this.#options = options;
    this.#event = event;
    this.#requestId = event.requestContext?.requestId ?? context.awsRequestId;
    const remainingMs = Math.max(0, context.getRemainingTimeInMillis() - DEADLINE_MARGIN_MS);
    this.#deadlineAt = Date.now() + remainingMs;
    this.#timer = setTimeout(() => {
      this.#deadline.abort(new LambentError('deadline_exceeded', "The function's time is up"));
    }, remainingMs);
    options.logger.reset();
    options.logger.annotate({ requestId: this.#requestId, route: `${event.httpMethod} ${event.resource}` });
  }

  /** Who calls, where to, with what. Throws LambentError for whatever is wrong with it. */
  open(): { route: Route; request: HttpRequest } {
    const event = this.#event;
    const route = this.#options.routes[`${event.httpMethod} ${event.resource}`];
    if (route === undefined) throw new LambentError('unknown_url', `Invalid URL (${event.httpMethod} ${event.path})`);
    const principal = fromAuthorizerContext(event.requestContext.authorizer);
    if (principal === undefined)
      throw new LambentError('invalid_api_key', 'No principal was handed on with the request.');
    this.#options.logger.annotate({ tenant: principal.tenant, keyId: principal.keyId });
    if (!principal.scopes.includes(route.scope)) {
      throw new LambentError('insufficient_permissions', `This API key lacks the scope \`${route.scope}\`.`);
    }
    const headers = lowerCased(event.headers ?? {});
    return {
      route,
      request: {
        requestId: this.#requestId,
        pathParameters: decoded(event.pathParameters ?? {}),
        query: present(event.queryStringParameters ?? {}),
        headers,
        body: event.httpMethod === 'POST' ? parseBody(event, headers['content-type']) : undefined,
        principal,
        signal: this.#deadline.signal,
        deadlineAt: this.#deadlineAt,
      },
    };
  }

  /** Encodes an answer; a streamed one only when its first frame is there. */
  async answer(answer: HttpAnswer): Promise<StreamedResponse> {
    if ('json' in answer) {
      const body = JSON.stringify(answer.json);
      this.#close(answer.status ?? 200);
      return { statusCode: answer.status ?? 200, headers: this.#headers('application/json', answer.headers), body };
    }
    const iterator = answer.frames[Symbol.asyncIterator]();
    const first = await iterator.next();
    this.#values['FirstTokenMs'] = [performance.now() - this.#startedAt, 'Milliseconds'];
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
    this.#options.logger[statusCode >= 500 ? 'error' : 'info']('request failed', {
      status: statusCode,
      ...describeError(error),
    });
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
      'x-request-id': this.#requestId,
      'openai-processing-ms': String(Math.round(performance.now() - this.#startedAt)),
      ...(corsOrigin === undefined
        ? {}
        : {
            'access-control-allow-origin': corsOrigin,
            'access-control-expose-headers':
              'x-request-id, openai-processing-ms, retry-after, retry-after-ms, x-should-retry',
          }),
      ...more,
    };
  }

  /** Ends the exchange: one log line, one set of metrics, no timer left. */
  #close(status: number): void {
    clearTimeout(this.#timer);
    const ms = performance.now() - this.#startedAt;
    const { cold, initMs } = this.#start;
    this.#options.logger.info('request', { status, ms: Math.round(ms), cold });
    this.#options.metrics.publish({
      LatencyMs: [ms, 'Milliseconds'],
      ServerErrors: [status >= 500 ? 1 : 0, 'Count'],
      ColdStart: [cold ? 1 : 0, 'Count'],
      ...(cold ? { InitMs: [initMs, 'Milliseconds'] } : {}),
      ...this.#values,
    });
  }
}

function lowerCased(headers: Readonly<Record<string, string | undefined>>): Record<string, string> {
  return Object.fromEntries(Object.entries(present(headers)).map(([name, value]) => [name.toLowerCase(), value]));
}

function present(record: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const entries = Object.entries(record).filter((entry): entry is [string, string] => entry[1] !== undefined);
  return Object.fromEntries(entries);
}

/** Path parameters come as they were sent, percent-encoded. */
function decoded(parameters: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const entries = Object.entries(present(parameters)).map(([name, value]) => {
    try {
      return [name, decodeURIComponent(value)];
    } catch {
      throw new LambentError('invalid_value', `Invalid path: '${name}' is not valid percent-encoding.`, {
        param: name,
      });
    }
  });
  return Object.fromEntries(entries);
}
