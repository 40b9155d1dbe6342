import type { HttpRequest } from '../access/route.ts';
import { sleepInBackground } from '../core/heartbeat.ts';
import { newId } from '../core/ids.ts';
import type { GenerationRequest } from '../inference/generation.ts';
import type { HttpResponse } from '../lambda/http-responder.ts';
import { asksForCompaction } from '../openai/context-management.ts';
import type { ParseContext } from '../openai/parameters.ts';
import {
  includesEncryptedReasoning,
  type ParsedResponsesBody,
  parseResponsesBody,
  refersToStoredObjects,
  toStatelessRequest,
} from '../openai/responses/request.ts';
import { encodeResponseAnswer, encodeResponseAnswerStream } from './encode-response.ts';
import type { GenerationApi } from './generation-api.ts';
import { describeHandling } from './handling-headers.ts';
import { createParseContext } from './parse-context.ts';

/**
 * Answers `POST /v1/responses`. A request that stores nothing and uses no stored objects loads no stores.
 * @throws LambentError for an invalid request, every failure before the first event of the answer, and the errors of the
 * stores
 */
export async function createResponse(
  request: HttpRequest,
  { ids = newId, now = Date.now, sleep = sleepInBackground, state, ...api }: GenerationApi,
): Promise<HttpResponse> {
  const { router, registry } = api;
  const context = createParseContext(request, registry);
  const parsed = parseResponsesBody(request.body, context);
  if (state !== undefined && needsState(parsed)) {
    const [{ createStatefulResponse }, stores] = await Promise.all([import('./stateful-response.ts'), state()]);
    return createStatefulResponse(parsed, request, { ...api, ids, now, sleep }, stores);
  }
  const { streamed, body } = parsed;
  const { signal, deadlineAt, telemetry, defer, principal } = request;
  const { generation, droppedItems } = await buildStatelessRequest(parsed, context);
  const answer = await router.generate(generation, {
    signal,
    deadlineAt,
    telemetry,
    defer,
    streamed,
    caller: principal,
  });
  const headers = {
    ...describeHandling(parsed.ignored, answer),
    ...(droppedItems === 0 ? {} : { 'x-lambent-dropped-items': String(droppedItems) }),
  };
  const nowSeconds = () => Math.floor(now() / 1000);
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
  return streamed
    ? { headers, frames: encodeResponseAnswerStream(answer, options) }
    : { headers, json: await encodeResponseAnswer(answer, options) };
}

/** Returns whether a response is stored, refers to stored objects, or may be compacted, which seals an item. */
function needsState({ body, stored }: ParsedResponsesBody): boolean {
  return stored || refersToStoredObjects(body) || asksForCompaction(body);
}

/** Builds the generation request of a response that refers to no stored objects. */
async function buildStatelessRequest(
  parsed: ParsedResponsesBody,
  context: ParseContext,
): Promise<{ readonly generation: GenerationRequest; readonly droppedItems: number }> {
  const generation = toStatelessRequest(parsed, context);
  if (parsed.body.truncation !== 'auto') return { generation, droppedItems: 0 };
  const { fitRequest } = await import('./response-context.ts');
  const { request, droppedItems } = fitRequest(parsed, generation, false);
  return { generation: request, droppedItems };
}
