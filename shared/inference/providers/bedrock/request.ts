import type { ConverseStreamCommandInput, Tool, ToolChoice } from '@aws-sdk/client-bedrock-runtime';
import type { GenerationRequest, Tool as RequestTool } from '../../generation.ts';
import { chooseOutputLimit } from '../../model-limits.ts';
import type { BedrockTarget } from '../../registry.ts';
import { addTurnPoint, appendPoint, type CachePlan, endWithPoint, planCachePoints } from './cache-points.ts';
import { type BedrockFamily, detectFamily } from './family.ts';
import { isToolName, toConverseMessages, toSystemBlocks } from './messages.ts';
import { planReasoning, type ReasoningPlan } from './reasoning.ts';
import { invalidValueError, unsupportedValueError } from './value-errors.ts';

export interface ConverseCall {
  readonly input: ConverseStreamCommandInput;
  /** Name of the tool whose arguments are the text of the answer, if JSON output is requested by a tool. */
  readonly answerTool: string | undefined;
}

type Json = NonNullable<ConverseStreamCommandInput['additionalModelRequestFields']>;
type Fields = Record<string, Json>;

const ANSWER_TOOL = 'json_answer';

/**
 * Converts a request to a Converse call. Throws if Converse or the model doesn't support a part of it.
 * @param limits the alias's limits; `maxOutputTokens` is sent even if the caller set no limit, because Bedrock reserves
 *   quota for the limit of each request
 * @throws UpstreamError `unsupported_value` or `invalid_value`, naming the caller's parameter
 */
export function buildConverseCall(
  request: GenerationRequest,
  target: BedrockTarget,
  limits: { readonly maxOutputTokens: number | undefined },
): ConverseCall {
  const family = detectFamily(target.model);
  const maxTokens = chooseOutputLimit(request.maxOutputTokens, limits.maxOutputTokens);
  const answerTool = needsAnswerTool(request, family) ? ANSWER_TOOL : undefined;
  const cache = planCachePoints(request, target, family);
  const tools = planTools(request, family, answerTool, cache);
  const reasoning = planReasoning(request, target, maxTokens, tools.forced);
  const messages = toConverseMessages(request, {
    family: family.name,
    sendsReasoning: reasoning.on,
    toolsAsText: tools.list.length === 0,
    cache,
  });
  const system = toSystemBlocks(request.messages, cache);
  const fields = {
    ...toJson(request.unknown),
    ...buildExtraFields(request, family),
    ...tools.fields,
    ...reasoning.fields,
  };
  const outputConfig = buildOutputConfig(request, reasoning, answerTool);
  const tier = chooseServiceTier(request, target);
  return {
    answerTool,
    input: {
      modelId: target.model,
      messages: addTurnPoint(messages, cache),
      ...(system.length > 0 && { system: endWithPoint(system, cache) }),
      inferenceConfig: buildInferenceConfig(request, family, reasoning, maxTokens),
      ...(tools.list.length > 0 && {
        toolConfig: {
          tools: family.cachesTools ? endWithPoint(tools.list, cache) : [...tools.list],
          ...(tools.choice && { toolChoice: tools.choice }),
        },
      }),
      ...(Object.keys(fields).length > 0 && { additionalModelRequestFields: fields }),
      ...(outputConfig && { outputConfig }),
      ...(target.guardrail && { guardrailConfig: toGuardrailConfig(target.guardrail) }),
      ...(tier && { serviceTier: { type: tier } }),
    },
  };
}

/**
 * True if JSON output must be requested as the arguments of a forced tool: because Converse can't enforce a format, or
 * because its grammar is stricter than the request (Claude requires `additionalProperties: false`, which only strict
 * schemas guarantee).
 */
function needsAnswerTool(request: GenerationRequest, family: BedrockFamily): boolean {
  const { format } = request;
  if (format.type === 'text') return false;
  const enforced = family.structuredOutput && (family.name !== 'claude' || format.type === 'jsonSchema');
  if (enforced && (!family.forcedTools || request.tools.length > 0)) return false;
  if (enforced && format.type === 'jsonSchema' && format.strict) return false;
  if (request.tools.length === 0) return true;
  throw unsupportedValueError(request, 'format', "JSON output can't be combined with tools on this model");
}

interface ToolPlan {
  readonly list: readonly Tool[];
  readonly choice: ToolChoice | undefined;
  readonly fields: Fields;
  /** True if the model must call a tool. */
  readonly forced: boolean;
}

const NO_TOOLS: ToolPlan = { list: [], choice: undefined, fields: {}, forced: false };

function planTools(
  request: GenerationRequest,
  family: BedrockFamily,
  answerTool: string | undefined,
  cache: CachePlan,
): ToolPlan {
  if (answerTool !== undefined) return planAnswerTool(request, answerTool);
  const { toolChoice } = request;
  if (toolChoice === 'none' || request.tools.length === 0) return planNoCalls(request, family, cache);
  const list = toToolSpecs(request, cache);
  const forced = toolChoice !== 'auto';
  if (family.name === 'claude' && !request.parallelToolCalls) {
    // Claude's own field replaces `toolConfig.toolChoice`: a call must not have both.
    return { list, choice: undefined, fields: { tool_choice: toSingleToolChoice(toolChoice) }, forced };
  }
  return { list, choice: toConverseToolChoice(toolChoice), fields: {}, forced };
}

function planAnswerTool({ format }: GenerationRequest, name: string): ToolPlan {
  const schema = format.type === 'jsonSchema' ? toObjectSchema(format.schema) : { type: 'object' };
  const description = (format.type === 'jsonSchema' && format.description) || 'Gives the whole answer, as JSON.';
  const spec: Tool = { toolSpec: { name, description, inputSchema: { json: schema } } };
  return { list: [spec], choice: { tool: { name } }, fields: {}, forced: true };
}

/**
 * Plans a call in which the model must not use tools. Converse has no such choice, and requires the tools to be
 * declared if the conversation contains a tool call. Claude has a field of its own for it; for other models, no tools
 * are declared and earlier calls are written as text.
 */
function planNoCalls(request: GenerationRequest, family: BedrockFamily, cache: CachePlan): ToolPlan {
  const called = request.messages.flatMap((message) => (message.role === 'assistant' ? message.content : []));
  const names = new Set(called.flatMap((part) => (part.type === 'toolCall' ? [part.name] : [])));
  if (family.name !== 'claude' || names.size === 0) return NO_TOOLS;
  const declared = toToolSpecs(request, cache);
  for (const { name } of request.tools) names.delete(name);
  const undeclared = [...names].map(
    (name): Tool => ({ toolSpec: { name, inputSchema: { json: { type: 'object' } } } }),
  );
  return { ...NO_TOOLS, list: [...declared, ...undeclared], fields: { tool_choice: { type: 'none' } } };
}

function toToolSpecs(request: GenerationRequest, cache: CachePlan): Tool[] {
  return request.tools.flatMap((tool, index) =>
    appendPoint<Tool>(
      [toToolSpec(tool, `${toCallerName(request, 'tools')}[${index}]`)],
      cache.allowsTools ? cache.toMarkedPoint(tool.cache) : undefined,
    ),
  );
}

function toToolSpec(tool: RequestTool, param: string): Tool {
  if (!isToolName(tool.name)) {
    throw invalidValueError(param, 'a tool name consists of 1 to 64 letters, digits, underscores and hyphens');
  }
  return {
    toolSpec: {
      name: tool.name,
      // Converse refuses an empty description.
      ...(tool.description?.trim() && { description: tool.description }),
      inputSchema: { json: toObjectSchema(tool.parameters) },
      ...(tool.strict && { strict: true }),
    },
  };
}

/** Adds `type: object` at the top of a schema, which Converse requires and OpenAI doesn't. */
function toObjectSchema(schema: Readonly<Record<string, unknown>>): Fields {
  return { type: 'object', ...toJson(schema) };
}

function toConverseToolChoice(choice: Exclude<GenerationRequest['toolChoice'], 'none'>): ToolChoice | undefined {
  // `auto` is the default, and models without other choices refuse the field.
  if (choice === 'auto') return undefined;
  return choice === 'required' ? { any: {} } : { tool: { name: choice.name } };
}

function toSingleToolChoice(choice: Exclude<GenerationRequest['toolChoice'], 'none'>): Fields {
  const single = { disable_parallel_tool_use: true };
  if (choice === 'auto') return { type: 'auto', ...single };
  return choice === 'required' ? { type: 'any', ...single } : { type: 'tool', name: choice.name, ...single };
}

function buildInferenceConfig(
  request: GenerationRequest,
  family: BedrockFamily,
  reasoning: ReasoningPlan,
  maxTokens: number | undefined,
): NonNullable<ConverseStreamCommandInput['inferenceConfig']> {
  const { temperature, topP, stop } = request;
  if (temperature !== undefined && temperature > 1)
    throw unsupportedValueError(request, 'temperature', 'this model accepts 0 to 1');
  // Claude's sampling is fixed while it thinks, and always from version 4.7 on. The default value is dropped.
  const fixed = family.fixedSampling || (reasoning.on && family.name === 'claude');
  for (const name of ['temperature', 'topP'] as const) {
    if (fixed && (request[name] ?? 1) !== 1)
      throw unsupportedValueError(request, name, 'this model accepts only the default, 1');
  }
  return {
    ...(reasoning.sendsMaxTokens && maxTokens !== undefined && { maxTokens }),
    ...(!fixed && temperature !== undefined && { temperature }),
    ...(!fixed && topP !== undefined && { topP }),
    ...(stop.length > 0 && { stopSequences: [...stop] }),
  };
}

function buildOutputConfig(
  { format }: GenerationRequest,
  { effort }: ReasoningPlan,
  answerTool: string | undefined,
): ConverseStreamCommandInput['outputConfig'] {
  const textFormat = answerTool === undefined && format.type !== 'text' ? toJsonFormat(format) : undefined;
  if (textFormat === undefined && effort === undefined) return undefined;
  return { ...(textFormat && { textFormat }), ...(effort !== undefined && { effort }) };
}

function toJsonFormat(format: Exclude<GenerationRequest['format'], { type: 'text' }>) {
  const jsonSchema =
    format.type === 'json'
      ? { schema: '{"type":"object"}' }
      : {
          schema: JSON.stringify(format.schema),
          name: format.name,
          ...(format.description !== undefined && { description: format.description }),
        };
  return { type: 'json_schema' as const, structure: { jsonSchema } };
}

function toGuardrailConfig({ id, version, trace }: NonNullable<BedrockTarget['guardrail']>) {
  // `sync` checks text before it is streamed; `async` is faster, but may stream text before it is blocked.
  return {
    guardrailIdentifier: id,
    guardrailVersion: version,
    trace,
    streamProcessingMode: 'sync',
  } as const;
}

function chooseServiceTier(request: GenerationRequest, target: BedrockTarget) {
  return request.serviceTier === undefined || request.serviceTier === 'auto' ? target.serviceTier : request.serviceTier;
}

/**
 * Fields that Converse doesn't have. Requests with OpenAI's fields only reach targets for which the operator declared
 * the capability. `topK` is a hint, for the models that document it.
 */
function buildExtraFields(request: GenerationRequest, { name }: BedrockFamily): Fields {
  const { topK } = request;
  return {
    ...(topK !== undefined && name === 'claude' && { top_k: topK }),
    ...(topK !== undefined && name === 'nova' && { inferenceConfig: { topK } }),
    ...(request.seed !== undefined && { seed: request.seed }),
    ...(request.frequencyPenalty && { frequency_penalty: request.frequencyPenalty }),
    ...(request.presencePenalty && { presence_penalty: request.presencePenalty }),
    ...(request.logitBias && { logit_bias: request.logitBias }),
  };
}

function toCallerName(request: GenerationRequest, internalName: string): string {
  return request.parameterNames[internalName] ?? internalName;
}

/** Converts a value that was parsed from JSON to the SDK's type, and drops undefined members. */
function toJson(value: Readonly<Record<string, unknown>>): Fields {
  return JSON.parse(JSON.stringify(value));
}
