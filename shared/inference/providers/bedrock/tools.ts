import type { ConverseStreamCommandInput, Tool, ToolChoice } from '@aws-sdk/client-bedrock-runtime';
import type { GenerationRequest, Tool as RequestTool } from '../../generation.ts';
import { appendPoint, type CachePlan } from './cache-points.ts';
import type { BedrockFamily } from './family.ts';
import { isToolName, toCalledName } from './messages.ts';
import {
  fitsGrammar,
  flattenParameters,
  isClosed,
  isEnforceable,
  type Schema,
  toGrammarSchema,
  UnsupportedSchemaError,
} from './schemas.ts';
import { invalidValueError, toCallerName, unsupportedValueError } from './value-errors.ts';

type Json = NonNullable<ConverseStreamCommandInput['additionalModelRequestFields']>;
export type Fields = Record<string, Json>;

const ANSWER_TOOL = 'json_answer';

export interface ToolPlan {
  readonly list: readonly Tool[];
  readonly choice: ToolChoice | undefined;
  readonly fields: Fields;
  /** True if the model must call a tool. */
  readonly forced: boolean;
  /** Name of the tool whose arguments are the text of the answer, if JSON output is requested by a tool. */
  readonly answerTool: string | undefined;
}

const NO_TOOLS: ToolPlan = { list: [], choice: undefined, fields: {}, forced: false, answerTool: undefined };

/**
 * Plans which tools a call declares, and whether the model must use one.
 * @throws UpstreamError `unsupported_value` or `invalid_value`, naming the caller's parameter
 */
export function planTools(request: GenerationRequest, family: BedrockFamily, cache: CachePlan): ToolPlan {
  if (needsAnswerTool(request, family)) return planAnswerTool(request, family);
  const { toolChoice } = request;
  if (toolChoice === 'none' || request.tools.length === 0) return planNoCalls(request, family, cache);
  const plan = planChoice(request, declareTools(request, family, cache), family);
  if (family.name !== 'claude' || request.parallelToolCalls) return { ...NO_TOOLS, ...plan };
  // Claude's own field replaces `toolConfig.toolChoice`: a call must not have both.
  const choice = asksForCall(request, family) ? 'auto' : toolChoice;
  return { ...NO_TOOLS, ...plan, choice: undefined, fields: { tool_choice: toSingleToolChoice(choice) } };
}

/**
 * True if JSON output must be requested as the arguments of a forced tool: because Converse can't enforce a format, or
 * because its grammar is stricter than the request (Claude requires `additionalProperties: false`).
 */
function needsAnswerTool(request: GenerationRequest, family: BedrockFamily): boolean {
  return request.format.type !== 'text' && request.tools.length === 0 && !canEnforceFormat(request, family);
}

/** True if JSON output can only be asked for in the prompt: a forced tool would keep the model from calling others. */
export function asksForFormat(request: GenerationRequest, family: BedrockFamily): boolean {
  return request.format.type !== 'text' && request.tools.length > 0 && !canEnforceFormat(request, family);
}

function canEnforceFormat({ format, tools }: GenerationRequest, family: BedrockFamily): boolean {
  const isStrict = format.type === 'jsonSchema' && format.strict;
  const accepted =
    family.structuredOutput &&
    (family.name !== 'claude' || isStrict || (format.type === 'jsonSchema' && isClosed(format.schema)));
  return accepted && (isStrict || tools.length > 0 || family.toolChoices.length === 0);
}

function planAnswerTool(request: GenerationRequest, family: BedrockFamily): ToolPlan {
  const { format } = request;
  const { schema, note } = toParameters(format.type === 'jsonSchema' ? format.schema : {}, family, (reason) =>
    unsupportedValueError(request, 'format', reason),
  );
  const asked = format.type === 'jsonSchema' ? format.description : undefined;
  const description = [asked || 'Gives the whole answer, as JSON.', note].filter(Boolean).join(' ');
  const spec: Tool = { toolSpec: { name: ANSWER_TOOL, description, inputSchema: { json: schema } } };
  const choice: ToolChoice = family.toolChoices.includes('tool') ? { tool: { name: ANSWER_TOOL } } : { any: {} };
  return { list: [spec], choice, fields: {}, forced: true, answerTool: ANSWER_TOOL };
}

/**
 * Plans a call in which the model must not use tools. Converse has no such choice, and requires the tools to be
 * declared if the conversation contains a tool call. Claude has a field of its own for it; for other models, no tools
 * are declared and earlier calls are written as text.
 */
function planNoCalls(request: GenerationRequest, family: BedrockFamily, cache: CachePlan): ToolPlan {
  const called = request.messages.flatMap((message) => (message.role === 'assistant' ? message.content : []));
  const names = new Set(called.flatMap((part) => (part.type === 'toolCall' ? [toCalledName(part.name)] : [])));
  if (family.name !== 'claude' || names.size === 0) return NO_TOOLS;
  const declared = declareTools(request, family, cache);
  for (const { name } of request.tools) names.delete(name);
  const undeclared = [...names].map(
    (name): Tool => ({ toolSpec: { name, inputSchema: { json: { type: 'object' } } } }),
  );
  return { ...NO_TOOLS, list: [...declared, ...undeclared], fields: { tool_choice: { type: 'none' } } };
}

/** Chooses how the model is forced to use a tool, if the caller requests it. */
function planChoice(
  request: GenerationRequest,
  list: readonly Tool[],
  { toolChoices }: BedrockFamily,
): Pick<ToolPlan, 'list' | 'choice' | 'forced'> {
  const { toolChoice } = request;
  // `auto` is the default, and models without other choices refuse the field.
  if (toolChoice === 'auto' || toolChoice === 'none') return { list, choice: undefined, forced: false };
  const name = toolChoice === 'required' ? request.tools.length === 1 && request.tools[0]?.name : toolChoice.name;
  const named = list.filter(({ toolSpec }) => toolSpec?.name === name);
  if (toolChoice === 'required' && toolChoices.includes('any')) return { list, choice: { any: {} }, forced: true };
  if (name && toolChoices.includes('tool')) return { list, choice: { tool: { name } }, forced: true };
  if (name && toolChoices.includes('any')) {
    // The only tool that is declared is the one that is called.
    return { list: named, choice: { any: {} }, forced: true };
  }
  return { list: name ? named : list, choice: undefined, forced: false };
}

/** True if the model must call a tool but can't be forced to, so that it can only be asked for the call in the prompt. */
export function asksForCall({ tools, toolChoice }: GenerationRequest, { toolChoices }: BedrockFamily): boolean {
  return tools.length > 0 && toolChoice !== 'auto' && toolChoice !== 'none' && toolChoices.length === 0;
}

/** Returns the instruction that asks a model for a call. */
export function writeCallInstruction({ toolChoice }: GenerationRequest): string {
  return typeof toolChoice === 'object'
    ? `Answer with a call of the tool ${toolChoice.name}, and with nothing else.`
    : 'Answer with a call of one of the tools, and with nothing else.';
}

function toSingleToolChoice(choice: GenerationRequest['toolChoice']): Fields {
  const single = { disable_parallel_tool_use: true };
  if (choice === 'auto' || choice === 'none') return { type: 'auto', ...single };
  return choice === 'required' ? { type: 'any', ...single } : { type: 'tool', name: choice.name, ...single };
}

function declareTools(request: GenerationRequest, family: BedrockFamily, cache: CachePlan): Tool[] {
  return toToolSpecs(request, family).flatMap((spec, index) =>
    appendPoint<Tool>([spec], cache.rules.tools ? cache.toMarkedPoint(request.tools[index]?.cache) : undefined),
  );
}

/**
 * Returns the declaration of each tool of a request, in the same order.
 * @throws UpstreamError `invalid_value`, naming the caller's parameter
 */
export function toToolSpecs(request: GenerationRequest, family: BedrockFamily): Tool.ToolSpecMember[] {
  const path = toCallerName(request, 'tools');
  const isHeld = holdsStrictTools(request, family);
  return request.tools.map((tool, index) =>
    toToolSpec({ ...tool, strict: tool.strict && isHeld }, `${path}[${index}]`, family),
  );
}

/** The most tools of a request that Claude holds to their schemas. */
const MAX_STRICT_TOOLS = 20;

/** True if the grammars of all strict tools together are not larger than the model accepts. */
function holdsStrictTools({ tools, format }: GenerationRequest, family: BedrockFamily): boolean {
  const strict = tools.filter((tool) => tool.strict);
  if (family.name !== 'claude' || strict.length === 0) return true;
  const formats = format.type === 'jsonSchema' && format.strict ? [format.schema] : [];
  return strict.length <= MAX_STRICT_TOOLS && fitsGrammar([...strict.map(({ parameters }) => parameters), ...formats]);
}

/** True if the model enforces every strict schema of the request completely. */
export function enforcesSchemas(request: GenerationRequest, family: BedrockFamily): boolean {
  const { format, tools } = request;
  const schemas = tools.flatMap(({ strict, parameters }) => (strict ? [parameters] : []));
  if (format.type === 'jsonSchema' && format.strict) schemas.push(format.schema);
  return schemas.every(isEnforceable) && holdsStrictTools(request, family);
}

function toToolSpec(tool: RequestTool, param: string, family: BedrockFamily): Tool.ToolSpecMember {
  if (!isToolName(tool.name)) {
    throw invalidValueError(param, 'a tool name consists of 1 to 64 letters, digits, underscores and hyphens');
  }
  const { schema, note } = toParameters(
    tool.parameters,
    family,
    (reason) => invalidValueError(param, reason),
    tool.strict,
  );
  const description = [tool.description?.trim() ? tool.description : '', note].filter(Boolean).join(' ');
  return {
    toolSpec: {
      name: tool.name,
      // Converse refuses an empty description.
      ...(description && { description }),
      inputSchema: { json: schema },
      ...(tool.strict && { strict: true }),
    },
  };
}

/** The names that Claude accepts for the parameters of a tool. */
const PROPERTY_NAME = /^[a-zA-Z0-9_.-]{1,64}$/;

/**
 * Converts the parameters of a tool: Converse requires `type: object`, which OpenAI doesn't, and strict tools are enforced
 * by a grammar.
 */
function toParameters(
  parameters: Schema,
  family: BedrockFamily,
  refuse: (reason: string) => Error,
  strict = false,
): { readonly schema: Fields; readonly note: string | undefined } {
  const { type = 'object' } = parameters;
  if (type !== 'object' && !(Array.isArray(type) && type.includes('object'))) {
    throw refuse('the schema must describe an object');
  }
  const isClaude = family.name === 'claude';
  const object: Schema = { ...parameters, type: 'object' };
  const { schema, note } = isClaude ? flattenParameters(object) : { schema: object, note: undefined };
  const properties = schema['properties'];
  if (isClaude && Object.keys(properties ?? {}).some((name) => !PROPERTY_NAME.test(name))) {
    throw refuse('this model accepts names of 1 to 64 letters, digits, underscores, dots and hyphens for parameters');
  }
  try {
    return { schema: toJson(strict ? toGrammarSchema(schema, { strict, closes: isClaude }) : schema), note };
  } catch (thrown) {
    throw thrown instanceof UnsupportedSchemaError ? refuse(thrown.message) : thrown;
  }
}

/** Converts a value that was parsed from JSON to the SDK's type, and drops undefined members. */
export function toJson(value: Readonly<Record<string, unknown>>): Fields {
  return JSON.parse(JSON.stringify(value));
}
