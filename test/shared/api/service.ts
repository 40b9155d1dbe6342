import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import OpenAI from 'openai';
import { type Policy, UNRESTRICTED } from '../../../shared/access/policy.ts';
import { mayStoreContent } from '../../../shared/access/retention.ts';
import type { HttpRequest, Route } from '../../../shared/access/route.ts';
import type { ApiState } from '../../../shared/api/api-state.ts';
import {
  conversationReference,
  createConversationRoute,
  createItemsRoute,
  itemsReference,
} from '../../../shared/api/conversation-routes.ts';
import type { GenerationApi } from '../../../shared/api/generation-api.ts';
import {
  chatCompletionsRoute,
  compactRoute,
  listModelsRoute,
  responsesRoute,
  retrieveModelRoute,
} from '../../../shared/api/generation-routes.ts';
import { countTokensRoute, messagesRoute } from '../../../shared/api/messages-routes.ts';
import { toLambentError } from '../../../shared/core/errors.ts';
import type { Telemetry } from '../../../shared/core/telemetry.ts';
import { idempotent } from '../../../shared/idempotency/idempotent.ts';
import type { Idempotency, IdempotentOptions } from '../../../shared/idempotency/idempotent-options.ts';
import { CAPABILITIES } from '../../../shared/inference/capabilities.ts';
import type { GenerationEvent, GenerationRequest } from '../../../shared/inference/generation.ts';
import { type ModelRegistry, parseModelRegistry } from '../../../shared/inference/registry.ts';
import { createRouter } from '../../../shared/inference/router.ts';
import type { HttpResponse } from '../../../shared/lambda/http-responder.ts';
import { encodeErrorBody } from '../../../shared/openai/errors.ts';
import { createSystemFingerprint } from '../../../shared/openai/fingerprint.ts';
import { runsInBackground, storesAnswer } from '../../../shared/openai/request-flags.ts';
import { errorHeadersFor, httpStatusFor } from '../../../shared/wire/error-responses.ts';
import { isFinalFrame } from '../../../shared/wire/sse.ts';
import { recordTelemetry } from '../core/recorded-telemetry.ts';

export const TENANT = 'acme';

/** Creates a registry whose alias `default` has one target. `changes` are for the alias, `top` for the registry. */
export function createTestRegistry(
  changes: Record<string, unknown> = {},
  top: Record<string, unknown> = {},
): ModelRegistry {
  const alias = { targets: [{ provider: 'bedrock', model: 'some.model' }], maxOutputTokens: 4_096, ...changes };
  return parseModelRegistry(JSON.stringify({ models: { default: alias }, patterns: {}, ...top }), 'models.json');
}

/** The events of one call to the model. An error is thrown. */
export type Script = readonly (GenerationEvent | Error)[];

export interface Service extends AsyncDisposable {
  readonly client: OpenAI;
  readonly url: string;
  /** The requests that the model has received, in order. */
  readonly generationRequests: GenerationRequest[];
  /** The parsed log lines of all requests. */
  readonly logLines: readonly object[];
}

/**
 * Starts an HTTP server with the generation routes, the real router and a scripted model. Instead of the HTTP pipeline,
 * it has the minimum that a test of the routes needs. Without `state` nothing is stored. `onGenerate` is called when the model is.
 */
export async function startService(
  scripts: readonly Script[],
  registry = createTestRegistry(),
  state?: ApiState,
  idempotency?: Idempotency,
  clock: Pick<GenerationApi, 'now' | 'sleep'> = {},
  policy: Policy = UNRESTRICTED,
  onGenerate: () => void = () => {},
): Promise<Service> {
  const generationRequests: GenerationRequest[] = [];
  const remainingScripts = [...scripts];
  const telemetry = recordTelemetry();
  const router = createRouter({
    registry,
    getCapabilities: () => new Set(CAPABILITIES),
    createModel: async () => ({
      async *generate(request) {
        generationRequests.push(request);
        onGenerate();
        for (const step of remainingScripts.shift() ?? []) {
          if (step instanceof Error) throw step;
          yield step;
        }
      },
    }),
  });
  let count = 0;
  const now = state === undefined ? () => 1_700_000_000_000 : Date.now;
  const stateOption = state === undefined ? {} : { state: async () => state };
  const fingerprint = createSystemFingerprint('key-1', registry);
  const api = { router, registry, fingerprint, ids: () => String(++count), now, ...stateOption, ...clock };
  const withKeys = (route: Route, options: Omit<IdempotentOptions, 'open'>): Route =>
    idempotency === undefined ? route : idempotent(route, { ...options, open: async () => idempotency });
  const generating = {
    isFinalFrame,
    mayStore: ({ body, principal }: HttpRequest) => storesAnswer(body, true, mayStoreContent(principal.policy)),
    showsRunning: runsInBackground,
  };
  const routes = new Map([
    ['POST /v1/chat/completions', withKeys(chatCompletionsRoute(api), { ...generating, name: 'chat.completions' })],
    ['POST /v1/responses', withKeys(responsesRoute(api), { ...generating, name: 'responses' })],
    ['POST /v1/responses/compact', compactRoute(api)],
    ['POST /v1/messages', withKeys(messagesRoute(api), { ...generating, name: 'messages' })],
    ['POST /v1/messages/count_tokens', countTokensRoute(api)],
    ['GET /v1/models', listModelsRoute(api)],
    ...(state === undefined ? [] : createConversationRoutes(state, withKeys)),
  ]);
  const server = createServer((request, response) => {
    const url = request.url ?? '';
    const id = /^\/v1\/(?:models|conversations)\/(.+?)(?:\/items)?$/.exec(url)?.[1];
    const path = url.split('?')[0]?.replace(/^(\/v1\/conversations\/).+(\/items)$/, '$1{id}$2');
    const route = routes.get(`${request.method} ${path}`) ?? retrieveModelRoute(api);
    const pathParameters = id === undefined ? {} : { id: decodeURIComponent(id) };
    readBody(request)
      .then((body) =>
        route?.run({ ...createHttpRequest(body, telemetry, policy), headers: readHeaders(request), pathParameters }),
      )
      .then((answer) => writeAnswer(answer, response))
      .catch((thrown: unknown) => {
        if (response.headersSent) return void response.destroy();
        const error = toLambentError(thrown);
        response.writeHead(httpStatusFor(error), { 'content-type': 'application/json', ...errorHeadersFor(error) });
        response.end(JSON.stringify(encodeErrorBody(error)));
      });
  });
  const url = await listen(server);
  return {
    generationRequests,
    logLines: telemetry.lines,
    url,
    client: new OpenAI({ baseURL: `${url}/v1`, apiKey: 'sk-test', maxRetries: 0 }),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function createConversationRoutes(
  { conversations, openStorageLimits }: ApiState,
  withKeys: (route: Route, options: Omit<IdempotentOptions, 'open'>) => Route,
): readonly (readonly [string, Route])[] {
  const api = { conversations, openStorageLimits };
  const reference = conversationReference(api);
  return [
    ['POST /v1/conversations', withKeys(createConversationRoute(api), { name: 'conversations', reference })],
    [
      'POST /v1/conversations/{id}/items',
      withKeys(createItemsRoute(api), { name: 'conversations.items', reference: itemsReference(api) }),
    ],
  ];
}

/** Creates a request as the HTTP pipeline passes it to a route. */
function createHttpRequest(body: unknown, telemetry: Telemetry, policy: Policy): HttpRequest {
  return {
    requestId: 'request',
    pathParameters: {},
    query: {},
    headers: {},
    body,
    principal: { tenant: TENANT, keyId: 'key', scopes: ['inference', 'models'], policy },
    signal: new AbortController().signal,
    deadlineAt: Date.now() + 60_000,
    telemetry,
  };
}

async function listen(server: Server): Promise<string> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('The server has no port');
  return `http://127.0.0.1:${address.port}`;
}

function readHeaders({ headers }: IncomingMessage): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)]));
}

async function readBody(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk);
  return chunks.length === 0 ? undefined : JSON.parse(Buffer.concat(chunks).toString('utf8'));
}

async function writeAnswer(answer: HttpResponse | undefined, response: ServerResponse): Promise<void> {
  if (answer === undefined) throw new Error('This route does not exist');
  if ('json' in answer) {
    response.writeHead(answer.status ?? 200, { 'content-type': 'application/json' });
    response.end(JSON.stringify(answer.json));
    return;
  }
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  for await (const frame of answer.frames) response.write(frame);
  response.end();
}
