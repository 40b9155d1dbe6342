import type { GenerationRequest, OutputFormat, Tool, ToolChoice } from '../generation.ts';
import type { OpenAICompatibleTarget } from '../registry.ts';
import { type Dialect, dialectOf, type Extra, openAICompatibleCapabilities } from './openai-compatible-dialect.ts';
import { wireMessages } from './openai-compatible-messages.ts';
import type { WireObject } from './openai-compatible-wire.ts';

/** What a target has to be asked with; an upstream's refusal may teach otherwise while the function runs. */
export interface RequestSettings {
  readonly maxTokensParameter: 'max_tokens' | 'max_completion_tokens';
  /** Whether usage is asked for in streams; upstreams that don't know `stream_options` may refuse it. */
  readonly streamOptions: boolean;
}

/** Settings to begin with. */
export function initialSettings(target: OpenAICompatibleTarget): RequestSettings {
  return { maxTokensParameter: dialectOf(target).maxTokensParameter ?? target.maxTokensParameter, streamOptions: true };
}

/**
 * Makes the function that writes requests for one target.
 * @param maxOutputTokens the alias's limit, sent when the caller gives none and never exceeded
 * @param upstream fingerprint of the target, for its own reasoning
 */
export function requestWriter(target: OpenAICompatibleTarget, maxOutputTokens: number, upstream: string) {
  const dialect = dialectOf(target);
  const reasons = openAICompatibleCapabilities(target).has('reasoning');

  /**
   * Writes the body of `POST /chat/completions`. Settings that are neutral at OpenAI are left out, so that a dialect
   * which doesn't know them has nothing to refuse.
   */
  return (request: GenerationRequest, streamed: boolean, settings: RequestSettings): WireObject => ({
    ...request.unknown,
    model: target.model,
    messages: wireMessages(request.messages, dialect, upstream),
    ...(streamed ? { stream: true } : {}),
    ...(streamed && settings.streamOptions ? { stream_options: { include_usage: true } } : {}),
    [settings.maxTokensParameter]: Math.min(request.maxOutputTokens ?? maxOutputTokens, maxOutputTokens),
    ...defined({
      temperature: request.temperature,
      top_p: request.topP,
      seed: request.seed,
      frequency_penalty: request.frequencyPenalty || undefined,
      presence_penalty: request.presencePenalty || undefined,
      verbosity: request.verbosity === 'medium' ? undefined : request.verbosity,
    }),
    ...(request.stop.length > 0 ? { stop: request.stop } : {}),
    ...(request.logitBias && Object.keys(request.logitBias).length > 0 ? { logit_bias: request.logitBias } : {}),
    ...logprobFields(request.topLogprobs),
    ...toolFields(request),
    ...formatFields(request.format),
    ...(reasons ? reasoningFields(request, dialect) : {}),
    ...extraFields(request, dialect.extras),
  });
}

function logprobFields(topLogprobs: number | undefined): WireObject {
  if (topLogprobs === undefined) return {};
  return topLogprobs === 0 ? { logprobs: true } : { logprobs: true, top_logprobs: topLogprobs };
}

function toolFields({ tools, toolChoice, parallelToolCalls }: GenerationRequest): WireObject {
  if (tools.length === 0) return {};
  return {
    tools: tools.map(wireTool),
    ...(toolChoice === 'auto' ? {} : { tool_choice: wireToolChoice(toolChoice) }),
    ...(parallelToolCalls ? {} : { parallel_tool_calls: false }),
  };
}

function wireTool({ name, description, parameters, strict }: Tool): WireObject {
  const definition = { name, ...defined({ description }), parameters, ...(strict ? { strict } : {}) };
  return { type: 'function', function: definition };
}

function wireToolChoice(choice: ToolChoice): string | WireObject {
  return typeof choice === 'string' ? choice : { type: 'function', function: { name: choice.name } };
}

function formatFields(format: OutputFormat): WireObject {
  switch (format.type) {
    case 'text':
      return {};
    case 'json':
      return { response_format: { type: 'json_object' } };
    case 'jsonSchema': {
      const { name, description, schema, strict } = format;
      const definition = { name, ...defined({ description }), schema, ...(strict ? { strict } : {}) };
      return { response_format: { type: 'json_schema', json_schema: definition } };
    }
  }
}

function reasoningFields({ reasoningEffort }: GenerationRequest, dialect: Dialect): WireObject {
  if (reasoningEffort === undefined) return {};
  if (reasoningEffort === 'none' && dialect.thinkingSwitch) return { thinking: { type: 'disabled' } };
  return { reasoning_effort: reasoningEffort };
}

function extraFields({ hints, serviceTier }: GenerationRequest, taken: readonly Extra[]): WireObject {
  // `metadata` is never sent: OpenAI takes it only with `store`, and what is stored is Lambent's to store.
  const all: Record<Extra, string | undefined> = {
    user: hints.user,
    safety_identifier: hints.safetyIdentifier,
    prompt_cache_key: hints.promptCacheKey,
    service_tier: serviceTier === 'auto' ? undefined : serviceTier,
  };
  return Object.fromEntries(taken.flatMap((name) => (all[name] === undefined ? [] : [[name, all[name]]])));
}

function defined(fields: WireObject): WireObject {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}
