import type {
  ContentBlock,
  Message as ConverseMessage,
  ConverseStreamCommandInput,
} from '@aws-sdk/client-bedrock-runtime';
import type { GenerationRequest } from '../../generation.ts';
import { appendInstruction, writeJsonInstruction } from '../../json-instruction.ts';
import { chooseOutputLimit } from '../../model-limits.ts';
import type { BedrockTarget } from '../../registry.ts';
import { addTurnPoints, endWithPoint, limitPoints, planCachePoints } from './cache-points.ts';
import { type BedrockFamily, describeTarget } from './family.ts';
import { toConverseMessages, toSystemBlocks } from './messages.ts';
import { planReasoning, type ReasoningPlan } from './reasoning.ts';
import { buildInferenceConfig } from './sampling.ts';
import { fitsGrammar, type Schema, toGrammarSchema, UnsupportedSchemaError } from './schemas.ts';
import { asksForCall, asksForFormat, type Fields, planTools, toJson, writeCallInstruction } from './tools.ts';
import { unsupportedValueError } from './value-errors.ts';

export interface ConverseCall {
  readonly input: ConverseStreamCommandInput;
  /** Name of the tool whose arguments are the text of the answer, if JSON output is requested by a tool. */
  readonly answerTool: string | undefined;
}

/**
 * Converts a request to a Converse call. Throws if Converse or the model doesn't support a part of it.
 * @param limits the alias's limits; `maxOutputTokens` is sent even if the caller set no limit, because Bedrock reserves
 *   quota for the limit of each request
 * @throws UpstreamError `unsupported_value` or `invalid_value`, naming the caller's parameter
 */
export function buildConverseCall(
  given: GenerationRequest,
  target: BedrockTarget,
  limits: { readonly maxOutputTokens: number | undefined },
): ConverseCall {
  const family = describeTarget(target);
  const request = writeChoice(writeFormat(given, family), family);
  const maxTokens = chooseOutputLimit(request.maxOutputTokens, limits.maxOutputTokens);
  const cache = planCachePoints(request, target, family);
  const tools = planTools(request, family, cache);
  const reasoning = planReasoning(request, target, maxTokens, tools.forced);
  const turns = toConverseMessages(request, {
    family,
    sendsReasoning: reasoning.on,
    toolsAsText: tools.list.length === 0,
    cache,
  });
  const prompt = toSystemBlocks(request.messages, cache);
  const placed = limitPoints({
    tools: cache.rules.tools && tools.list.length > 0 ? endWithPoint(tools.list, cache) : tools.list,
    system: family.systemPrompt && prompt.length > 0 ? endWithPoint(prompt, cache) : [],
    messages: addTurnPoints(family.systemPrompt ? turns : addToFirstTurn(turns, prompt), cache),
  });
  const fields = {
    ...toJson(request.unknown),
    ...buildExtraFields(request, family),
    ...tools.fields,
    ...reasoning.fields,
  };
  const outputConfig = buildOutputConfig(request, family, reasoning, tools.answerTool);
  const tier = chooseServiceTier(request, target);
  return {
    answerTool: tools.answerTool,
    input: {
      modelId: target.model,
      messages: [...placed.messages],
      ...(placed.system.length > 0 && { system: [...placed.system] }),
      inferenceConfig: buildInferenceConfig(request, target.model, family, reasoning, maxTokens),
      ...(placed.tools.length > 0 && {
        toolConfig: { tools: [...placed.tools], ...(tools.choice && { toolChoice: tools.choice }) },
      }),
      ...(Object.keys(fields).length > 0 && { additionalModelRequestFields: fields }),
      ...(outputConfig && { outputConfig }),
      ...(target.guardrail && { guardrailConfig: toGuardrailConfig(target.guardrail) }),
      ...(tier && { serviceTier: { type: tier } }),
    },
  };
}

/** Writes a format that the model can't enforce into the prompt. */
function writeFormat(request: GenerationRequest, family: BedrockFamily): GenerationRequest {
  const { format, messages } = request;
  if (format.type === 'text' || !asksForFormat(request, family)) return request;
  const instruction = `Unless you call a tool: ${writeJsonInstruction(format)}`;
  return { ...request, format: { type: 'text' }, messages: appendInstruction(messages, instruction) };
}

/** Writes into the prompt that the answer must be a tool call, for a model that can't be forced to call one. */
function writeChoice(request: GenerationRequest, family: BedrockFamily): GenerationRequest {
  if (!asksForCall(request, family)) return request;
  return { ...request, messages: appendInstruction(request.messages, writeCallInstruction(request)) };
}

/** Writes the system prompt in front of the first user message, for a model that has no field for it. */
function addToFirstTurn(turns: readonly ConverseMessage[], prompt: readonly ContentBlock[]): ConverseMessage[] {
  return turns.map((turn, index) => (index === 0 ? { ...turn, content: [...prompt, ...(turn.content ?? [])] } : turn));
}

function buildOutputConfig(
  request: GenerationRequest,
  family: BedrockFamily,
  { effort }: ReasoningPlan,
  answerTool: string | undefined,
): ConverseStreamCommandInput['outputConfig'] {
  const { format } = request;
  const textFormat = answerTool === undefined && format.type !== 'text' ? toJsonFormat(request, family) : undefined;
  if (textFormat === undefined && effort === undefined) return undefined;
  return { ...(textFormat && { textFormat }), ...(effort !== undefined && { effort }) };
}

function toJsonFormat(request: GenerationRequest, family: BedrockFamily) {
  const { format } = request;
  const jsonSchema =
    format.type === 'jsonSchema'
      ? {
          schema: JSON.stringify(toFormatSchema(request, format, family)),
          name: format.name,
          ...(format.description !== undefined && { description: format.description }),
        }
      : { schema: '{"type":"object"}' };
  return { type: 'json_schema' as const, structure: { jsonSchema } };
}

function toFormatSchema(
  request: GenerationRequest,
  { schema, strict }: Extract<GenerationRequest['format'], { type: 'jsonSchema' }>,
  family: BedrockFamily,
): Schema {
  const isClaude = family.name === 'claude';
  try {
    const converted = toGrammarSchema(schema, { strict, closes: isClaude && strict });
    if (!isClaude || fitsGrammar([converted])) return converted;
  } catch (thrown) {
    if (thrown instanceof UnsupportedSchemaError) throw unsupportedValueError(request, 'format', thrown.message);
    throw thrown;
  }
  throw unsupportedValueError(request, 'format', 'the schema is larger than this model accepts');
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

/** Returns the service tier of a call: the caller's, or else the target's. */
export function chooseServiceTier(request: GenerationRequest, target: BedrockTarget) {
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
    ...(Object.keys(request.logitBias ?? {}).length > 0 && { logit_bias: { ...request.logitBias } }),
  };
}
