import type { HttpRequest, Route } from '../access/route.ts';
import { LambentError } from '../core/errors.ts';
import { sleepInBackground } from '../core/heartbeat.ts';
import { newId } from '../core/ids.ts';
import type { GenerationRequest } from '../inference/generation.ts';
import type { ModelRegistry } from '../inference/registry.ts';
import { encodeChatCompletion } from '../openai/chat/completion.ts';
import { parseAnyChatRequest } from '../openai/chat/responses-body.ts';
import { encodeChatStream } from '../openai/chat/stream.ts';
import { findCustomTools } from '../openai/custom-tools.ts';
import { listModels, retrieveModel } from '../openai/models.ts';
import type { ParseContext } from '../openai/parameters.ts';
import {
  includesEncryptedReasoning,
  type ParsedResponsesBody,
  parseResponsesBody,
  refersToStoredObjects,
  requireResolvedInput,
  toGenerationRequest,
} from '../openai/responses/request.ts';
import { encodeResponse } from '../openai/responses/response.ts';
import type { ResponsesBody } from '../openai/responses/schema.ts';
import { encodeResponseStream } from '../openai/responses/stream.ts';
import type { GenerationApi } from './generation-api.ts';
import { describeHandling } from './handling-headers.ts';
import { isAnthropicRequest } from './messages-routes.ts';

/** Creates the route `POST /v1/chat/completions`. */
export function chatCompletionsRoute({
  router,
  registry,
  fingerprint,
  ids = newId,
  now = Date.now,
  sleep = sleepInBackground,
  state,
}: GenerationApi): Route {
  return {
    scope: 'inference',
    async run(request) {
      const parsed = parseAnyChatRequest(request.body, createParseContext(request, registry));
      if (state !== undefined && parsed.stored) {
        const [{ createStoredChat }, stores] = await Promise.all([import('./stored-chat.ts'), state()]);
        return createStoredChat(parsed, request, { router, fingerprint, ids, now, sleep }, stores);
      }
      const { generation, model, streamed, includeUsage, ignored } = parsed;
      const answer = await router.generate(generation, createRouterCall(request, streamed));
      const headers = describeHandling(ignored, answer);
      const options = {
        head: {
          id: `chatcmpl-${ids()}`,
          created: Math.floor(now() / 1000),
          model,
          system_fingerprint: fingerprint(generation.model),
        },
        customTools: findCustomTools(generation.tools),
        includeLogprobs: generation.topLogprobs !== undefined,
        includeUsage,
      };
      return streamed
        ? { headers, frames: encodeChatStream(answer.events, options) }
        : { headers, json: await encodeChatCompletion(answer.events, options) };
    },
  };
}

/** Creates the route `POST /v1/responses`. A request that stores nothing and uses no stored objects loads no stores. */
export function responsesRoute({
  router,
  registry,
  ids = newId,
  now = Date.now,
  sleep = sleepInBackground,
  state,
}: GenerationApi): Route {
  const nowSeconds = () => Math.floor(now() / 1000);
  return {
    scope: 'inference',
    async run(request) {
      const parsed = parseResponsesBody(request.body, { registry });
      if (state !== undefined && needsState(parsed.body)) {
        const [{ createStatefulResponse }, stores] = await Promise.all([import('./stateful-response.ts'), state()]);
        return createStatefulResponse(parsed, request, { router, registry, ids, now, sleep }, stores);
      }
      const { streamed, body } = parsed;
      const { generation, droppedItems } = await buildStatelessRequest(parsed, createParseContext(request, registry));
      const answer = await router.generate(generation, createRouterCall(request, streamed));
      const headers = {
        ...describeHandling(parsed.ignored, answer),
        ...(droppedItems === 0 ? {} : { 'x-lambent-dropped-items': String(droppedItems) }),
      };
      const options = {
        body,
        id: `resp_${ids()}`,
        createdAt: nowSeconds(),
        now: nowSeconds,
        createItemId: ids,
        tools: generation.tools,
        includeLogprobs: generation.topLogprobs !== undefined,
        reasoningSummary: generation.reasoningSummary,
        includeContinuations: includesEncryptedReasoning(body),
      };
      if (streamed) return { headers, frames: encodeResponseStream(answer.events, options) };
      return { headers, json: await encodeResponse(answer.events, options) };
    },
  };
}

/** Returns whether a response is stored or refers to stored objects. */
function needsState(body: ResponsesBody): boolean {
  return (body.store ?? true) || refersToStoredObjects(body);
}

/** Creates the route `POST /v1/responses/compact`. */
export function compactRoute({ router, registry, ids = newId, now = Date.now, state }: GenerationApi): Route {
  return {
    scope: 'inference',
    async run(request) {
      if (state === undefined) throw new LambentError('configuration', 'Compaction needs a vault');
      const [{ compactResponse }, stores] = await Promise.all([import('./compact-response.ts'), state()]);
      return compactResponse(request, { router, registry, ids, now }, stores);
    },
  };
}

/** Creates the route `POST /v1/responses/input_tokens`. */
export function inputTokensRoute(api: Pick<GenerationApi, 'registry' | 'state'>): Route {
  return {
    scope: 'inference',
    bodyOptional: true,
    run: async (request) => (await import('./count-input-tokens.ts')).countInputTokens(request, api),
  };
}

/** Builds the generation request of a response that refers to no stored objects. */
async function buildStatelessRequest(
  parsed: ParsedResponsesBody,
  context: ParseContext,
): Promise<{ readonly generation: GenerationRequest; readonly droppedItems: number }> {
  const generation = toGenerationRequest(parsed, context, [], requireResolvedInput(parsed.body.input));
  if (parsed.body.truncation !== 'auto') return { generation, droppedItems: 0 };
  const { fitRequest } = await import('./response-context.ts');
  const { request, droppedItems } = fitRequest(parsed, generation, false);
  return { generation: request, droppedItems };
}

/** Creates the route `GET /v1/models`. Clients of Anthropic's API get its format. */
export function listModelsRoute({ registry }: Pick<GenerationApi, 'registry'>): Route {
  return {
    scope: 'models',
    async run({ headers }) {
      if (!isAnthropicRequest(headers)) return { json: listModels(registry) };
      return { json: (await import('../anthropic/models.ts')).listModels(registry) };
    },
  };
}

/** Creates the route `GET /v1/models/{id}`. The id may contain slashes. */
export function retrieveModelRoute({ registry }: Pick<GenerationApi, 'registry'>): Route {
  return {
    scope: 'models',
    async run({ pathParameters, headers }) {
      const id = pathParameters['id'] ?? '';
      if (!isAnthropicRequest(headers)) return { json: retrieveModel(id, registry) };
      return { json: (await import('../anthropic/models.ts')).retrieveModel(id, registry) };
    },
  };
}

function createParseContext({ principal }: HttpRequest, registry: ModelRegistry) {
  return { registry, tenant: principal.tenant };
}

function createRouterCall({ signal, deadlineAt, telemetry }: HttpRequest, streamed: boolean) {
  return { signal, deadlineAt, telemetry, streamed };
}
