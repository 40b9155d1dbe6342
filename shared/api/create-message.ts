import { checkModel } from '../access/model-permissions.ts';
import type { HttpRequest } from '../access/route.ts';
import { encodeMessage } from '../anthropic/message.ts';
import { parseCountTokensRequest, parseMessagesRequest } from '../anthropic/request.ts';
import { encodeMessageStream } from '../anthropic/stream.ts';
import { newId } from '../core/ids.ts';
import { estimatePromptTokens } from '../inference/prompt-tokens.ts';
import type { ModelRegistry } from '../inference/registry.ts';
import type { HttpResponse } from '../lambda/http-responder.ts';
import { listSchemaLimits } from '../limits/schema-limits.ts';
import type { GenerationApi } from './generation-api.ts';
import { describeHandling } from './handling-headers.ts';

/**
 * Generates a message.
 * @throws LambentError for an invalid request, and every failure before the first event of the answer
 */
export async function createMessage(
  request: HttpRequest,
  { router, registry, ids = newId }: GenerationApi,
): Promise<HttpResponse> {
  const { signal, deadlineAt, telemetry, defer, requestId } = request;
  const parsed = parseMessagesRequest(request.body, createParseContext(request, registry));
  const { generation, streamed, model, appliedEdits } = parsed;
  const answer = await router.generate(generation, {
    signal,
    deadlineAt,
    telemetry,
    defer,
    streamed,
    caller: request.principal,
    headerStyle: 'anthropic',
  });
  const headers = describeHandling(parsed.ignored, answer);
  const isThinkingShown = generation.reasoningSummary;
  const options = { id: `msg_${ids()}`, model, isThinkingShown, appliedEdits, requestId };
  return streamed
    ? { headers, frames: encodeMessageStream(answer.events, options) }
    : { headers, json: await encodeMessage(answer.events, options) };
}

/**
 * Estimates the tokens of a message's prompt, without a call of the model.
 * @throws LambentError for an invalid request
 */
export async function countTokens(
  request: HttpRequest,
  { registry }: Pick<GenerationApi, 'registry'>,
): Promise<HttpResponse> {
  const { generation, appliedEdits } = parseCountTokensRequest(request.body, createParseContext(request, registry));
  checkModel(request.principal.policy, generation.model);
  const input_tokens = estimatePromptTokens(generation);
  if (appliedEdits === undefined) return { json: { input_tokens } };
  const cleared = appliedEdits.reduce((sum, { cleared_input_tokens }) => sum + cleared_input_tokens, 0);
  return { json: { input_tokens, context_management: { original_input_tokens: input_tokens + cleared } } };
}

function createParseContext({ principal, headers }: HttpRequest, registry: ModelRegistry) {
  return { registry, tenant: principal.tenant, headers, schemaLimits: listSchemaLimits(principal.policy) };
}
