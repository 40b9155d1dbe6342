import { omitUndefined } from '../../../core/objects.ts';
import type { Capability } from '../../capabilities.ts';
import type { GenerationRequest, OutputFormat, Tool, ToolChoice } from '../../generation.ts';
import { chooseOutputLimit } from '../../model-limits.ts';
import type { OpenAICompatibleTarget } from '../../registry.ts';
import { addAutomaticMarks, createMarkWriter, paysForWrites, writeToolMark } from './cache-marks.ts';
import { createCallIdWriter } from './call-ids.ts';
import { type Dialect, findDialect, type OptionalField, SHORT_CALL_IDS } from './dialect.ts';
import { toWireMessages } from './messages.ts';
import { CALL_IDS, MESSAGE_REASONING, SYSTEM_MESSAGES } from './refused-fields.ts';
import type { WireObject } from './wire.ts';

/** Maps the fields of the upstream's request to internal names. */
const INTERNAL_NAMES: ReadonlyMap<string, string> = new Map([
  ['max_tokens', 'maxOutputTokens'],
  ['max_completion_tokens', 'maxOutputTokens'],
  ['top_p', 'topP'],
  ['frequency_penalty', 'frequencyPenalty'],
  ['presence_penalty', 'presencePenalty'],
  ['logit_bias', 'logitBias'],
  ['logprobs', 'topLogprobs'],
  ['top_logprobs', 'topLogprobs'],
  ['tool_choice', 'toolChoice'],
  ['parallel_tool_calls', 'parallelToolCalls'],
  ['response_format', 'format'],
  ['reasoning_effort', 'reasoningEffort'],
  ['service_tier', 'serviceTier'],
]);

/** Returns the caller's name for the field in an upstream's error, such as `messages.[0].content` or `max_tokens`. */
export function toCallerParam(request: GenerationRequest, wireParam: string): string {
  const root = wireParam.split(/[.[]/, 1)[0] ?? wireParam;
  const callersName = request.parameterNames[INTERNAL_NAMES.get(root) ?? root] ?? root;
  return callersName === root ? wireParam : callersName;
}

export interface WriterOptions {
  readonly capabilities: ReadonlySet<Capability>;
  /** The alias's output limit. Sent if the caller sets no limit, and never exceeded. */
  readonly maxOutputTokens: number | undefined;
  /** Fingerprint of the target, to recognize its reasoning. */
  readonly upstream: string;
}

/** Creates the function that writes requests for one target. */
export function createRequestWriter(target: OpenAICompatibleTarget, options: WriterOptions) {
  const { capabilities, maxOutputTokens, upstream } = options;
  const dialect = findDialect(target);
  const supportsReasoning = capabilities.has('reasoning');
  const hasCustomTools = capabilities.has('customTools');

  /**
   * Writes the body of `POST /chat/completions`. Omits settings that have OpenAI's default value, because a dialect may
   * refuse fields that it doesn't know.
   * @param refused names of the fields that the upstream has refused; a refused output limit is sent by its other name
   */
  const write = (request: GenerationRequest, streamed: boolean, refused: readonly string[]): WireObject => ({
    ...request.unknown,
    model: target.model,
    messages: toWireMessages(request.messages, {
      dialect,
      upstream,
      callId: createCallIdWriter(refused.includes(CALL_IDS) ? SHORT_CALL_IDS : dialect.callIds),
      omitsReasoning: refused.includes(MESSAGE_REASONING),
      hasOneSystemMessage: refused.includes(SYSTEM_MESSAGES),
      hasCustomTools,
      writeMark: createMarkWriter(request, dialect, target.model),
    }),
    ...(streamed ? { stream: true, stream_options: { include_usage: true } } : {}),
    ...omitUndefined({
      [findOutputLimitName(target, dialect, refused)]: chooseOutputLimit(request.maxOutputTokens, maxOutputTokens),
      temperature: request.temperature,
      top_p: request.topP,
      seed: request.seed,
      frequency_penalty: request.frequencyPenalty || undefined,
      presence_penalty: request.presencePenalty || undefined,
      verbosity: request.verbosity === 'medium' ? undefined : request.verbosity,
    }),
    ...(request.stop.length > 0 ? { stop: request.stop } : {}),
    ...(request.logitBias && Object.keys(request.logitBias).length > 0 ? { logit_bias: request.logitBias } : {}),
    ...toLogprobFields(request.topLogprobs),
    ...toToolFields(request, dialect, hasCustomTools),
    ...omitUndefined({ web_search_options: request.hostedTools?.webSearch }),
    ...toFormatFields(request.format),
    ...(supportsReasoning ? toReasoningFields(request, dialect) : {}),
    ...toOptionalFields(request, target.model, dialect.optionalFields),
  });
  return (request: GenerationRequest, streamed: boolean, refused: readonly string[]): WireObject =>
    addAutomaticMarks(write(request, streamed, refused), request, dialect, target.model);
}

/** Returns the upstream's name of the output limit: the other one if it has refused the usual one. */
export function findOutputLimitName(
  target: Pick<OpenAICompatibleTarget, 'maxTokensParameter'>,
  dialect: Dialect,
  refused: readonly string[],
): 'max_tokens' | 'max_completion_tokens' {
  const name = dialect.maxTokensParameter ?? target.maxTokensParameter;
  if (!refused.includes(name)) return name;
  return name === 'max_tokens' ? 'max_completion_tokens' : 'max_tokens';
}

function toLogprobFields(topLogprobs: number | undefined): WireObject {
  if (topLogprobs === undefined) return {};
  return topLogprobs === 0 ? { logprobs: true } : { logprobs: true, top_logprobs: topLogprobs };
}

function toToolFields(
  { tools, hostedTools, toolChoice, parallelToolCalls }: GenerationRequest,
  dialect: Dialect,
  hasCustomTools: boolean,
): WireObject {
  const functions = tools.map((tool) => ({
    ...toWireTool(tool, hasCustomTools),
    ...writeToolMark(tool.cache, dialect),
  }));
  const all = [...functions, ...(hostedTools?.tools ?? [])];
  if (all.length === 0) return {};
  const choice =
    hostedTools?.choice ?? (toolChoice === 'auto' ? undefined : toWireToolChoice(toolChoice, tools, hasCustomTools));
  return {
    tools: all,
    ...omitUndefined({ tool_choice: choice }),
    ...(parallelToolCalls ? {} : { parallel_tool_calls: false }),
  };
}

function toWireTool({ name, description, parameters, strict, custom }: Tool, hasCustomTools: boolean): WireObject {
  if (custom && hasCustomTools) {
    const { grammar, ...rest } = custom;
    const format = grammar && { type: 'grammar', grammar };
    return { type: 'custom', custom: { name, ...rest, ...omitUndefined({ format }) } };
  }
  const definition = { name, ...omitUndefined({ description }), parameters, ...(strict ? { strict } : {}) };
  return { type: 'function', function: definition };
}

function toWireToolChoice(choice: ToolChoice, tools: readonly Tool[], hasCustomTools: boolean): string | WireObject {
  if (typeof choice === 'string') return choice;
  const { name } = choice;
  const isCustom = hasCustomTools && tools.some((tool) => tool.name === name && tool.custom);
  return isCustom ? { type: 'custom', custom: { name } } : { type: 'function', function: { name } };
}

function toFormatFields(format: OutputFormat): WireObject {
  switch (format.type) {
    case 'text':
      return {};
    case 'json':
      return { response_format: { type: 'json_object' } };
    case 'jsonSchema': {
      const { name, description, schema, strict } = format;
      const definition = { name, ...omitUndefined({ description }), schema, ...(strict ? { strict } : {}) };
      return { response_format: { type: 'json_schema', json_schema: definition } };
    }
  }
}

function toReasoningFields({ reasoningEffort }: GenerationRequest, dialect: Dialect): WireObject {
  if (reasoningEffort === undefined) return {};
  if (reasoningEffort === 'none' && dialect.thinkingSwitch) return { thinking: { type: 'disabled' } };
  return { reasoning_effort: reasoningEffort };
}

function toOptionalFields(request: GenerationRequest, model: string, accepted: readonly OptionalField[]): WireObject {
  const { hints, serviceTier } = request;
  const hasCache = accepted.includes('prompt_cache_retention');
  const pays = paysForWrites(model);
  // `metadata` is never sent: OpenAI accepts it only with `store`, and Lambent stores responses itself.
  const all: Record<OptionalField, string | undefined> = {
    user: hints.user,
    safety_identifier: hints.safetyIdentifier,
    prompt_cache_key: hints.promptCacheKey,
    prompt_cache_retention: pays ? undefined : hints.promptCacheRetention,
    service_tier: serviceTier === 'auto' ? undefined : serviceTier,
  };
  return {
    ...Object.fromEntries(accepted.flatMap((name) => (all[name] === undefined ? [] : [[name, all[name]]]))),
    // Without marks, OpenAI then reads and writes no cache.
    ...(hasCache && pays && hints.cachesMarksOnly && { prompt_cache_options: { mode: 'explicit' } }),
  };
}
