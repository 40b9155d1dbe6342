import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { CallerProblem, CallerRules } from '../access/callers.ts';
import { describeCallerProblem } from '../access/guard.ts';
import { LambdaServiceError } from '../lambda/errors.ts';
import { ACCOUNT_ID } from '../lambda/function.ts';
import type { FunctionResponse } from '../lambda/invocation.ts';
import type { Runner } from '../lambda/runner.ts';
import { listen } from '../listen.ts';
import { readBody } from '../read-body.ts';
import { type Authorizer, createAuthorizer } from './authorizer.ts';
import {
  type ApiIdentity,
  createProxyEvent,
  createRequestContext,
  describeRequest,
  type ProxyRequestContext,
} from './event.ts';
import {
  createGatewayResponses,
  type GatewayResponseDefinition,
  type GatewayResponseType,
} from './gateway-responses.ts';
import { type RelayOutcome, relayBuffered, relayStreamed } from './relay.ts';
import { type AuthorizerDefinition, createRouter, type FunctionRoute, type MockRoute, type Route } from './routes.ts';

export interface GatewayOptions {
  /** 0 for any free port. */
  readonly port: number;
  readonly api: ApiIdentity;
  readonly routes: readonly Route[];
  readonly responses: readonly GatewayResponseDefinition[];
  /** Host names and web origins that are accepted, besides those of this machine. */
  readonly callers?: CallerRules;
  readonly runner: Pick<Runner, 'invoke'>;
}

export interface Gateway {
  /** `http://127.0.0.1:port`. */
  readonly url: string;
  close(): Promise<void>;
}

/** Limits of API Gateway: https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html. */
const MAX_BODY_BYTES = 10 * 1024 * 1024;
const MAX_HEADER_BYTES = 10_240;
/** Milliseconds without data after which a Regional API ends a stream. */
const IDLE_TIMEOUT_MS = 5 * 60_000;

/**
 * Starts an HTTP server that behaves like a Regional REST API of API Gateway. It routes requests, invokes the
 * authorizer, creates proxy events, and forwards buffered and streamed responses.
 */
export async function startGateway({
  port,
  api,
  routes,
  responses,
  callers,
  runner,
}: GatewayOptions): Promise<Gateway> {
  const route = createRouter(routes);
  const gatewayResponses = createGatewayResponses(responses);
  const authorizers = createAuthorizers(routes, runner);

  function respond(type: GatewayResponseType, context: ProxyRequestContext, client: ServerResponse): void {
    if (client.headersSent || client.destroyed) return;
    const { status, headers, body } = gatewayResponses.render(type, { ...context });
    client.writeHead(status, { ...headers, 'Content-Length': Buffer.byteLength(body) }).end(body);
  }

  async function serve(request: IncomingMessage, client: ServerResponse): Promise<void> {
    const path = parsePath(request.url ?? '/');
    const context = createRequestContext(request, path, api);
    client.setHeader('x-amzn-RequestId', context.requestId);
    client.setHeader('x-amz-apigw-id', context.extendedRequestId);
    const [match, body] = [route(context.httpMethod, path), await readBody(request, MAX_BODY_BYTES)];
    if (body === undefined) return respond('REQUEST_TOO_LARGE', context, client);
    if (match === undefined) return respond('MISSING_AUTHENTICATION_TOKEN', context, client);
    if (match.route.kind === 'mock') return respondAsMock(match.route, client);

    const description = describeRequest(request, match, context);
    const authorizer = authorizers.get(identify(match.route.authorizer));
    const authorization = await authorizer?.authorize(description, buildMethodArn(api, context));
    if (authorization?.allowed === false) return respond(authorization.response, context, client);

    await integrate(match.route, createProxyEvent(description, authorization?.context, body, api), context, client);
  }

  /** Invokes the function and forwards its response within the route's timeout, which does not stop the function. */
  async function integrate(
    route: FunctionRoute,
    event: string,
    context: ProxyRequestContext,
    client: ServerResponse,
  ): Promise<void> {
    const timer = setTimeout(() => {
      if (client.headersSent) client.destroy();
      else respond('INTEGRATION_TIMEOUT', context, client);
    }, route.timeoutMs);
    try {
      const response = await runner.invoke(route.function, event);
      const outcome = client.writableEnded ? drain(response) : await relay(route, response, client);
      if (outcome === 'malformed') respond('INTEGRATION_FAILURE', context, client);
    } catch (error) {
      const tooLarge = error instanceof LambdaServiceError && error.type === 'RequestTooLargeException';
      respond(tooLarge ? 'REQUEST_TOO_LARGE' : 'INTEGRATION_FAILURE', context, client);
    } finally {
      clearTimeout(timer);
    }
  }

  /**
   * Responds to a request that can't be parsed: invalid syntax, headers that are too large, or an incomplete request.
   */
  function rejectUnparsed(error: Error & { code?: string }, socket: Duplex): void {
    if (!socket.writable || error.code === 'ECONNRESET') return void socket.destroy();
    const failure = CLIENT_ERRORS[error.code ?? ''] ?? { status: 400, message: 'Bad Request' };
    const requestId = crypto.randomUUID();
    const { status, headers, body } = gatewayResponses.render('BAD_REQUEST_PARAMETERS', { requestId }, failure);
    const lines = Object.entries({
      ...headers,
      'x-amzn-RequestId': requestId,
      'Content-Length': Buffer.byteLength(body),
      Connection: 'close',
    }).map(([name, value]) => `${name}: ${value}\r\n`);
    socket.end(`HTTP/1.1 ${status} ${failure.message}\r\n${lines.join('')}\r\n${body}`);
  }

  const server = createServer(
    // With `requireHostHeader`, Node would refuse a request without Host with a response of its own.
    { maxHeaderSize: MAX_HEADER_BYTES, requireHostHeader: false },
    (request, client) => {
      serve(request, client).catch((error: unknown) => {
        // A client that disconnected midway needs no response. Any other error is a bug in the gateway.
        if (request.complete) console.error('The gateway failed:', error);
        client.destroy();
      });
    },
  );
  server.setTimeout(IDLE_TIMEOUT_MS);
  server.on('clientError', rejectUnparsed);
  server.on('checkExpectation', (request, client) => server.emit('request', request, client));
  const listening = await listen(server, { port, ...callers, refuse: refuseCaller });
  return { url: `http://127.0.0.1:${listening.port}`, close: listening.close };
}

/** Returns the response to a request from another site, in OpenAI's format. API Gateway has no such check. */
function refuseCaller(code: CallerProblem) {
  const message = `${describeCallerProblem(code)} See docs/laptop.md.`;
  const error = { message, type: 'invalid_request_error', param: null, code };
  return { status: 403, headers: { 'content-type': 'application/json' }, body: JSON.stringify({ error }) };
}

const CLIENT_ERRORS: Readonly<Record<string, { status: number; message: string }>> = {
  HPE_HEADER_OVERFLOW: { status: 431, message: 'Request Header Fields Too Large' },
  ERR_HTTP_REQUEST_TIMEOUT: { status: 408, message: 'Request Timeout' },
};

/** Creates one authorizer for each definition. Routes share it and its cache. */
function createAuthorizers(routes: readonly Route[], runner: Pick<Runner, 'invoke'>): Map<string, Authorizer> {
  const definitions = routes.flatMap((route) =>
    route.kind === 'function' && route.authorizer ? [route.authorizer] : [],
  );
  return new Map(definitions.map((definition) => [identify(definition), createAuthorizer(definition, runner)]));
}

function identify(definition: AuthorizerDefinition | undefined): string {
  return JSON.stringify(definition ?? null);
}

function respondAsMock({ headers, body }: MockRoute, client: ServerResponse): void {
  const length = Buffer.byteLength(body);
  client.writeHead(200, { ...headers, 'Content-Type': 'application/json', 'Content-Length': length }).end(body);
}

function relay(route: FunctionRoute, response: FunctionResponse, client: ServerResponse): Promise<RelayOutcome> {
  return route.streamed ? relayStreamed(response, client) : relayBuffered(response, client);
}

/** Discards a response, so that the function runs to its end. */
function drain({ body }: FunctionResponse): RelayOutcome {
  body.on('error', () => undefined).resume();
  return 'sent';
}

/** Returns the request's path, undecoded and without its query. Clients may send an absolute URL. */
function parsePath(url: string): string {
  const path = url.startsWith('/') ? url : (URL.parse(url)?.pathname ?? '/');
  return path.split('?', 1)[0] ?? '/';
}

function buildMethodArn({ region, apiId, stage }: ApiIdentity, { httpMethod, path }: ProxyRequestContext): string {
  return `arn:aws:execute-api:${region}:${ACCOUNT_ID}:${apiId}/${stage}/${httpMethod}${path}`;
}
