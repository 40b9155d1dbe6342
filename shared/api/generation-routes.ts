import type { Route } from '../access/route.ts';
import { LambentError } from '../core/errors.ts';
import { sleepInBackground } from '../core/heartbeat.ts';
import { newId } from '../core/ids.ts';
import { isObject } from '../core/objects.ts';
import { maySpeak } from '../inference/registry.ts';
import { encodeChatCompletion, toCompletionOptions } from '../openai/chat/completion.ts';
import { type ChatRequest, parseChatRequest } from '../openai/chat/request.ts';
import type { ParseContext } from '../openai/parameters.ts';
import { encodeChatAnswer } from './encode-chat.ts';
import type { GenerationApi } from './generation-api.ts';
import { describeHandling } from './handling-headers.ts';
import { createParseContext } from './parse-context.ts';

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
    async run(request) {
      const parsed = await parseBody(request.body, createParseContext(request, registry));
      if (state !== undefined && parsed.stored) {
        const [{ createStoredChat }, stores] = await Promise.all([import('./stored-chat.ts'), state()]);
        return createStoredChat(parsed, request, { router, registry, fingerprint, ids, now, sleep }, stores);
      }
      const { generation, model, streamed, includeUsage, ignored } = parsed;
      const { signal, deadlineAt, telemetry, defer } = request;
      const answer = await router.generate(generation, {
        signal,
        deadlineAt,
        telemetry,
        defer,
        streamed,
        caller: request.principal,
      });
      const headers = describeHandling(ignored, answer);
      const source = { id: ids(), createdAt: now(), model, generation, fingerprint };
      const options = { ...toCompletionOptions(source), includeUsage };
      return streamed
        ? { headers, frames: await encodeChatAnswer(answer, options) }
        : { headers, json: await encodeChatCompletion(answer.events, options) };
    },
  };
}

/** Parses the body of a chat completion. The code for the body of a response is loaded with the first such body. */
async function parseBody(body: unknown, context: ParseContext): Promise<ChatRequest> {
  if (!isObject(body) || body['input'] == null) {
    const parsed = parseChatRequest(body, context);
    if (!maySpeak('chat', parsed.generation.model, context.registry)) return parsed;
    return (await import('../openai/chat/original.ts')).addOriginalChat(parsed, body, context.registry);
  }
  return (await import('../openai/chat/responses-body.ts')).parseChatRequestWithInput(body, context);
}

/**
 * Creates the route `POST /v1/responses`. Its code is loaded with its first request, so that chats start without it.
 */
export function responsesRoute(api: GenerationApi): Route {
  return {
    run: async (request) => (await import('./create-response.ts')).createResponse(request, api),
  };
}

/** Creates the route `POST /v1/responses/compact`. */
export function compactRoute({ router, registry, ids = newId, now = Date.now, state }: GenerationApi): Route {
  return {
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
    bodyOptional: true,
    run: async (request) => (await import('./count-input-tokens.ts')).countInputTokens(request, api),
  };
}

/** Creates the route `GET /v1/models`. Clients of Anthropic's API get its format. */
export function listModelsRoute(api: Pick<GenerationApi, 'registry'>): Route {
  return { run: async (request) => (await import('./show-models.ts')).showModels(request, api) };
}

/** Creates the route `GET /v1/models/{id}`. The id may contain slashes. */
export function retrieveModelRoute(api: Pick<GenerationApi, 'registry'>): Route {
  return { run: async (request) => (await import('./show-models.ts')).showModel(request, api) };
}

/** Imports the code of responses and messages. Use it only where no caller waits for it, as `preloadProviders`. */
export async function preloadRoutes(): Promise<void> {
  await Promise.all([import('./create-response.ts'), import('./create-message.ts')]);
}
