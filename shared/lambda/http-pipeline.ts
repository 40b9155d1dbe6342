import middy, { type MiddyfiedHandler } from '@middy/core';
import { executionModeStreamifyResponse } from '@middy/core/StreamifyResponse';
import type { Context } from 'aws-lambda';
import { fromAuthorizerContext } from '../access/keys.ts';
import type { Principal, Scope } from '../access/principal.ts';
import { LambentError } from '../core/errors.ts';
import { parseBody } from '../core/json-body.ts';
import type { Logger } from '../core/logger.ts';
import type { Metrics } from '../core/metrics.ts';
import { endInit } from './environment.ts';
import { type ProxyEvent, parseProxyEvent } from './proxy-event.ts';
import { Exchange, type HttpAnswer, type StreamedResponse } from './request-context.ts';
import { warm } from './warm-event.ts';

/** A request as a route sees it: parsed, authorized, and free of API Gateway. */
export interface HttpRequest {
  /** Also the answer's `x-request-id`. */
  readonly requestId: string;
  readonly pathParameters: Readonly<Record<string, string>>;
  /** The values of a name that comes more than once, as lists do, are joined by commas. */
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

export interface Route {
  /** The scope a key needs for it. */
  readonly scope: Scope;
  /** Whether a POST may come without a body: it is then undefined. */
  readonly bodyOptional?: true;
  run(request: HttpRequest): Promise<HttpAnswer>;
}
export type { HttpAnswer };

export interface HttpPipeline {
  /** By method and resource: `GET /v1/models/{id+}`. */
  readonly routes: Readonly<Record<string, Route>>;
  readonly logger: Logger;
  readonly metrics: Metrics;
  /** Value of `access-control-allow-origin`; no CORS headers when absent. */
  readonly corsOrigin?: string | undefined;
}

/**
 * The pipeline of every function behind API Gateway: context, principal, parse, run, answer, log. Answers are streamed:
 * the status goes out with the first byte. Whatever is thrown on the way becomes one of OpenAI's error objects.
 */
export function httpPipeline(options: HttpPipeline): MiddyfiedHandler<unknown, StreamedResponse | string> {
  endInit();
  return middy<unknown, StreamedResponse | string>({
    executionMode: executionModeStreamifyResponse,
    timeoutEarlyInMillis: 0,
  })
    .use(warm())
    .handler((event, context) => serve(options, event, context));
}

async function serve(options: HttpPipeline, thing: unknown, context: Context): Promise<StreamedResponse> {
  const exchange = new Exchange(options, context);
  try {
    const event = parseProxyEvent(thing);
    exchange.begin(event);
    const route = routeOf(event, options.routes);
    const principal = principalOf(event, route);
    options.logger.annotate({ tenant: principal.tenant, keyId: principal.keyId });
    const headers = lowerCased(event.headers);
    const answer = await route.run({
      requestId: exchange.requestId,
      pathParameters: decoded(event.pathParameters),
      query: queryOf(event),
      headers,
      body: hasBody(event, route) ? parseBody(event, headers['content-type']) : undefined,
      principal,
      signal: exchange.signal,
      deadlineAt: exchange.deadlineAt,
    });
    return await exchange.answer(answer);
  } catch (thrown) {
    return exchange.fail(thrown);
  }
}

function routeOf({ httpMethod, resource, path }: ProxyEvent, routes: HttpPipeline['routes']): Route {
  const route = Object.hasOwn(routes, `${httpMethod} ${resource}`) ? routes[`${httpMethod} ${resource}`] : undefined;
  if (route === undefined) throw new LambentError('unknown_url', `Invalid URL (${httpMethod} ${path})`);
  return route;
}

function hasBody({ httpMethod, body }: ProxyEvent, { bodyOptional }: Route): boolean {
  return httpMethod === 'POST' && !(bodyOptional && (body ?? '') === '');
}

function principalOf({ requestContext }: ProxyEvent, { scope }: Route): Principal {
  const principal = fromAuthorizerContext(requestContext.authorizer);
  if (principal === undefined) throw new LambentError('invalid_api_key', 'No API key was provided.');
  if (principal.scopes.includes(scope)) return principal;
  throw new LambentError('insufficient_permissions', `This API key lacks the scope \`${scope}\`.`);
}

type Strings = Readonly<Record<string, string | undefined>> | null;

function lowerCased(headers: Strings): Record<string, string> {
  return Object.fromEntries(Object.entries(present(headers)).map(([name, value]) => [name.toLowerCase(), value]));
}

function present(strings: Strings): Record<string, string> {
  const entries = Object.entries(strings ?? {});
  return Object.fromEntries(entries.filter((entry): entry is [string, string] => entry[1] !== undefined));
}

function queryOf({ queryStringParameters, multiValueQueryStringParameters }: ProxyEvent): Record<string, string> {
  const lists = Object.entries(multiValueQueryStringParameters ?? {});
  const joined = lists.flatMap(([name, values]) => (values === undefined ? [] : [[name, values.join(',')]]));
  return { ...present(queryStringParameters), ...Object.fromEntries(joined) };
}

/** Path parameters come as they were sent, percent-encoded. */
function decoded(parameters: Strings): Record<string, string> {
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
