import middy, { type MiddyfiedHandler } from '@middy/core';
import { executionModeStreamifyResponse } from '@middy/core/StreamifyResponse';
import type { Context } from 'aws-lambda';
import { LambentError } from '../core/errors.ts';
import { parseJsonBody } from '../core/json-body.ts';
import type { LogFields } from '../core/logger.ts';
import type { ProcessTelemetry, Telemetry } from '../core/telemetry.ts';
import { markInitEnd } from './environment.ts';
import {
  type ApiFormat,
  HttpResponder,
  type HttpResponse,
  type LambdaResponse,
  type ResponderOptions,
} from './http-responder.ts';
import { type ProxyEvent, parseProxyEvent } from './proxy-event.ts';
import { type Defer, RequestContext } from './request-context.ts';
import { answerWarmEvents } from './warm-event.ts';

/** A request as a route sees it: parsed, authorized, and free of API Gateway. */
export interface HttpRequest<Principal> {
  /** Also the response's `x-request-id`. */
  readonly requestId: string;
  readonly pathParameters: Readonly<Record<string, string>>;
  /** A parameter that occurs more than once, as lists do, has its values joined by commas. */
  readonly query: Readonly<Record<string, string>>;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  /** The parsed JSON body; undefined for methods without one. */
  readonly body: unknown;
  readonly principal: Principal;
  /** Aborts at the deadline, or if the response has not begun after 290 s. */
  readonly signal: AbortSignal;
  /** Epoch milliseconds by which the response must have ended. */
  readonly deadlineAt: number;
  readonly telemetry: Telemetry;
  /** Does work after the response's last byte. */
  readonly defer?: Defer | undefined;
  /** Present if the request has an idempotency key. */
  readonly operation?: Operation;
}

/** The operation that all requests with the same idempotency key perform together. */
export interface Operation {
  /**
   * 32 random hexadecimal digits. The ids of everything that the operation stores are derived from it, so that a repeated
   * request finds it.
   */
  readonly id: string;
  /** 1 for the first attempt. */
  readonly attempt: number;
  /** True if an earlier attempt may have stored a result. The route must look for it first. */
  readonly isRepeated: boolean;
}

export interface HttpRoute<Principal> {
  /** True if a POST may have no body; `body` is then undefined. */
  readonly bodyOptional?: true;
  /** Parses the body. Default: `parseJsonBody`. */
  readonly parseBody?: typeof parseJsonBody;
  run(request: HttpRequest<Principal>): Promise<HttpResponse>;
}

/** Determines a request's principal, and whether it may call the route. The pipeline itself knows no keys. */
export interface Authorization<Principal> {
  /**
   * Reads the principal that the Lambda authorizer passed on.
   * @throws LambentError if there is none or it may not call the route
   */
  authorize(event: ProxyEvent): Promise<Principal>;
  /** Returns the log fields that say who calls, and from where. They are logged for refused requests, too. */
  describeCaller(event: ProxyEvent): LogFields;
}

export interface HttpPipelineOptions<Principal> extends ResponderOptions {
  /** By method and resource: `GET /v1/models/{id+}`. */
  readonly routes: Readonly<Record<string, HttpRoute<Principal>>>;
  readonly authorization: Authorization<Principal>;
  readonly telemetry: ProcessTelemetry;
  /** Returns the format of a request whose responses have another one than the function's; undefined for others. */
  readonly loadFormat?: ((resource: string, headers: Headers) => Promise<ApiFormat> | undefined) | undefined;
}

/** A request's headers. Names in lower case. */
type Headers = Readonly<Record<string, string>>;

/** How long before the function's timeout a request is aborted: enough to send an error and write a log line. */
const DEADLINE_MARGIN_MS = 1_500;

/**
 * How long a response may take to begin. API Gateway cuts a regional API's connection that is silent for 5 minutes, while the function
 * would go on and log success.
 * @see https://docs.aws.amazon.com/apigateway/latest/developerguide/response-transfer-mode.html
 */
const LONGEST_SILENCE_MS = 290_000;

/**
 * Creates the pipeline of a function behind API Gateway: context, principal, parse, run, respond, log. Responses are
 * streamed: the status is sent with the first byte. Any error becomes an error response of the API.
 */
export function createHttpPipeline<Principal>(
  options: HttpPipelineOptions<Principal>,
): MiddyfiedHandler<unknown, LambdaResponse | string> {
  markInitEnd();
  const contexts = new WeakMap<Context, RequestContext>();
  return middy<unknown, LambdaResponse | string>({
    executionMode: executionModeStreamifyResponse,
    timeoutEarlyInMillis: 0,
    // Called when the response has been written. Lambda ends the response then, and the invocation with the handler's promise.
    // https://aws.amazon.com/blogs/compute/running-code-after-returning-a-response-from-an-aws-lambda-function/
    requestEnd: async ({ context, response }) => {
      await closeBody(response);
      await contexts.get(context)?.finish();
    },
  })
    .use(answerWarmEvents())
    .handler((event, lambdaContext) => {
      const context = new RequestContext(options.telemetry, lambdaContext, DEADLINE_MARGIN_MS);
      contexts.set(lambdaContext, context);
      return serve(options, event, context);
    });
}

/** Closes a stream that was not read, because the connection had broken before: middy leaves it open. */
async function closeBody(response: LambdaResponse | string | undefined): Promise<void> {
  if (typeof response !== 'object' || typeof response.body === 'string' || response.body.destroyed) return;
  const { body } = response;
  await new Promise((resolve) => body.once('close', resolve).destroy());
}

async function serve<Principal>(
  options: HttpPipelineOptions<Principal>,
  input: unknown,
  context: RequestContext,
): Promise<LambdaResponse> {
  context.limitSilence(LONGEST_SILENCE_MS);
  const responder = new HttpResponder(context, options);
  try {
    const event = parseProxyEvent(input);
    const { httpMethod, resource, requestContext } = event;
    context.identify(requestContext.requestId, { route: `${httpMethod} ${resource}` });
    const headers = toLowerCaseNames(event.headers);
    const format = await options.loadFormat?.(resource, headers);
    if (format !== undefined) responder.useFormat(format);
    const route = findRoute(event, options.routes);
    context.telemetry.logger.annotate(options.authorization.describeCaller(event));
    const principal = await options.authorization.authorize(event);
    const response = await route.run({
      requestId: context.requestId,
      pathParameters: decodeValues(event.pathParameters),
      query: joinQuery(event),
      headers,
      body: hasBody(event, route) ? (route.parseBody ?? parseJsonBody)(event, headers['content-type']) : undefined,
      principal,
      signal: context.signal,
      deadlineAt: context.deadlineAt,
      telemetry: context.telemetry,
      defer: context.defer,
    });
    return await responder.respond(response);
  } catch (thrown) {
    return responder.fail(thrown);
  }
}

function findRoute<Route>({ httpMethod, resource, path }: ProxyEvent, routes: Readonly<Record<string, Route>>): Route {
  const route = Object.hasOwn(routes, `${httpMethod} ${resource}`) ? routes[`${httpMethod} ${resource}`] : undefined;
  if (route === undefined) throw new LambentError('unknown_url', `Invalid URL (${httpMethod} ${path})`);
  return route;
}

function hasBody({ httpMethod, body }: ProxyEvent, { bodyOptional }: { readonly bodyOptional?: true }): boolean {
  return httpMethod === 'POST' && !(bodyOptional && (body ?? '') === '');
}

type Strings = Readonly<Record<string, string | undefined>> | null;

function toLowerCaseNames(headers: Strings): Record<string, string> {
  return Object.fromEntries(Object.entries(toStrings(headers)).map(([name, value]) => [name.toLowerCase(), value]));
}

function toStrings(strings: Strings): Record<string, string> {
  const entries = Object.entries(strings ?? {});
  return Object.fromEntries(entries.filter((entry): entry is [string, string] => entry[1] !== undefined));
}

function joinQuery({ queryStringParameters, multiValueQueryStringParameters }: ProxyEvent): Record<string, string> {
  const lists = Object.entries(multiValueQueryStringParameters ?? {});
  const joined = lists.flatMap(([name, values]) => (values === undefined ? [] : [[name, values.join(',')]]));
  return { ...toStrings(queryStringParameters), ...Object.fromEntries(joined) };
}

/** Decodes path parameters, which API Gateway passes on percent-encoded. */
function decodeValues(parameters: Strings): Record<string, string> {
  const entries = Object.entries(toStrings(parameters)).map(([name, value]) => {
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
