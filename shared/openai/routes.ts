import { randomUUID } from 'node:crypto';
import type { Registry } from '../inference/registry.ts';
import type { Router } from '../inference/router.ts';
import type { HttpRequest, Route } from '../runtime/http.ts';
import { chatAnswer } from './chat-answer.ts';
import { parseChatRequest } from './chat-request.ts';
import { chatFrames } from './chat-stream.ts';
import { fingerprint } from './fingerprint.ts';
import { listedModels, retrievedModel } from './models.ts';
import { responsesAnswer } from './responses-answer.ts';
import { parseResponsesRequest } from './responses-request.ts';
import { responsesFrames } from './responses-stream.ts';

export interface GenerationApi {
  readonly router: Router;
  readonly registry: Registry;
  /** Makes the variable part of an id, never twice the same. */
  readonly ids?: () => string;
  /** Epoch milliseconds. */
  readonly now?: () => number;
}

/** `POST /v1/chat/completions`. */
export function chatCompletionsRoute({ router, registry, ids = newId, now = Date.now }: GenerationApi): Route {
  return {
    scope: 'inference',
    async run(request) {
      const { generation, streamed, includeUsage } = parseChatRequest(request.body, contextOf(request, registry));
      const { events } = await router.generate(generation, callOf(request, streamed));
      const options = {
        head: {
          id: `chatcmpl-${ids()}`,
          created: Math.floor(now() / 1000),
          model: generation.model,
          system_fingerprint: fingerprint(registry.models[generation.model]),
        },
        logprobs: generation.topLogprobs !== undefined,
        includeUsage,
      };
      return streamed ? { frames: chatFrames(events, options) } : { json: await chatAnswer(events, options) };
    },
  };
}

/** `POST /v1/responses`. */
export function responsesRoute({ router, registry, ids = newId, now = Date.now }: GenerationApi): Route {
  const seconds = () => Math.floor(now() / 1000);
  return {
    scope: 'inference',
    async run(request) {
      const asked = parseResponsesRequest(request.body, contextOf(request, registry));
      const { generation, streamed, body } = asked;
      const { events } = await router.generate(generation, callOf(request, streamed));
      const options = {
        body,
        id: `resp_${ids()}`,
        createdAt: seconds(),
        now: seconds,
        ids,
        logprobs: generation.topLogprobs !== undefined,
        reasoningSummary: generation.reasoningSummary,
        continuations: asked.includeContinuations,
      };
      return streamed ? { frames: responsesFrames(events, options) } : { json: await responsesAnswer(events, options) };
    },
  };
}

/** `GET /v1/models`. */
export function listModelsRoute({ registry }: Pick<GenerationApi, 'registry'>): Route {
  return { scope: 'models', run: async () => ({ json: listedModels(registry) }) };
}

/** `GET /v1/models/{id}`; the id may have slashes in it. */
export function retrieveModelRoute({ registry }: Pick<GenerationApi, 'registry'>): Route {
  return {
    scope: 'models',
    run: async ({ pathParameters }) => ({ json: retrievedModel(pathParameters['id'] ?? '', registry) }),
  };
}

function contextOf({ principal }: HttpRequest, registry: Registry) {
  return { registry, tenant: principal.tenant };
}

function callOf({ signal, deadlineAt }: HttpRequest, streamed: boolean) {
  return { signal, deadlineAt, streamed };
}

function newId(): string {
  return randomUUID().replaceAll('-', '');
}
