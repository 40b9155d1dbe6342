import { LambentError } from '../../core/errors.ts';
import type { GenerationRequest, OutputFormat, Tool } from '../../inference/generation.ts';
import type { Alias } from '../../inference/registry.ts';
import { deriveConversationKey } from '../../wire/conversation-key.ts';
import { checkSchemas, type RequestSchema } from '../../wire/json-schema.ts';
import { toMark } from '../cache-marks.ts';
import { toCustomTool } from '../custom-tools.ts';
import {
  checkMaxTokens,
  checkStreamOptions,
  omitNullish,
  type ParseContext,
  splitBody,
  toHints,
  toModeration,
} from '../parameters.ts';
import { storesAnswer } from '../request-flags.ts';
import type { ResponsesBody } from '../responses/schema.ts';
import { type RequestedChoice, resolveTools } from '../tool-choice.ts';
import { invalidValueError, listUnknownFields, unsupportedValueError, validate } from '../validation.ts';
import { translateChatMessages } from './messages.ts';
import { type ChatBody, chatParameters, chatRequestSchema } from './schema.ts';

/** A parsed chat completion request and how to encode its response. */
export interface ChatRequest {
  /** The caller's name of the model, which the answer repeats. */
  readonly model: string;
  readonly generation: GenerationRequest;
  /** The valid request, as it is stored. That of a response is never stored. */
  readonly body: ChatBody | ResponsesBody;
  /** Whether the completion is to be stored. */
  readonly stored: boolean;
  readonly streamed: boolean;
  /** Whether the stream ends with a usage chunk. */
  readonly includeUsage: boolean;
  /** Paths of the fields that have no effect. */
  readonly ignored: readonly string[];
}

/**
 * Parses the body of `POST /v1/chat/completions`.
 * @throws LambentError with status 400 or 404 for any JSON value that is not a valid request
 */
export function parseChatRequest(
  body: unknown,
  { registry, tenant, session, schemaLimits, mayStore }: ParseContext,
): ChatRequest {
  const { name, alias, known, unknown } = splitBody(body, chatParameters, registry);
  const chat = validate(chatRequestSchema, known);
  checkFunctions(known);
  checkWebSearch(chat, alias);
  checkSchemas(listSchemas(chat), schemaLimits);
  const messages = translateChatMessages(chat.messages, registry);
  const streamed = chat.stream ?? false;
  checkStreamOptions(chat.stream_options, streamed);
  const { tokens, param } = parseOutputLimit(chat);
  checkMaxTokens(tokens, alias, param);
  const stored = storesAnswer(chat, false, mayStore);
  return {
    model: chat.model,
    body: chat,
    stored,
    streamed,
    includeUsage: chat.stream_options?.include_usage ?? false,
    ignored: [
      ...listUnknownFields(known, chat),
      ...listDroppedSearch(chat, alias),
      ...(chat.store && !stored ? ['store'] : []),
    ],
    generation: {
      tenant,
      model: name,
      messages,
      ...resolveTools((chat.tools ?? []).map(toTool), toRequestedChoice(chat.tool_choice)),
      ...toHostedTools(chat, alias),
      parallelToolCalls: chat.parallel_tool_calls ?? true,
      format: toOutputFormat(chat.response_format),
      stop: typeof chat.stop === 'string' ? [chat.stop] : (chat.stop ?? []),
      ...omitNullish({
        maxOutputTokens: tokens,
        temperature: chat.temperature,
        topP: chat.top_p,
        seed: chat.seed,
        frequencyPenalty: chat.frequency_penalty,
        presencePenalty: chat.presence_penalty,
        logitBias: chat.logit_bias,
        topLogprobs: parseTopLogprobs(chat),
        reasoningEffort: chat.reasoning_effort,
        verbosity: chat.verbosity,
        serviceTier: chat.service_tier,
      }),
      // This API has no parameter for reasoning summaries. The model's reasoning text is always returned, as
      // `reasoning_content`.
      reasoningSummary: true,
      omitsContinuations: true,
      conversationKey: deriveConversationKey(tenant, chat.prompt_cache_key ?? session, messages),
      ...(session !== undefined && { inSession: true }),
      hints: toHints(chat),
      ...toModeration(chat.moderation, registry),
      unknown,
      parameterNames: param === 'max_tokens' ? NAMES_WITH_MAX_TOKENS : NAMES,
    },
  };
}

/** Maps internal names to this API's parameters, for error messages. */
const NAMES = {
  messages: 'messages',
  tools: 'tools',
  toolChoice: 'tool_choice',
  parallelToolCalls: 'parallel_tool_calls',
  format: 'response_format',
  maxOutputTokens: 'max_completion_tokens',
  temperature: 'temperature',
  topP: 'top_p',
  stop: 'stop',
  seed: 'seed',
  frequencyPenalty: 'frequency_penalty',
  presencePenalty: 'presence_penalty',
  logitBias: 'logit_bias',
  topLogprobs: 'logprobs',
  reasoningEffort: 'reasoning_effort',
  verbosity: 'verbosity',
  serviceTier: 'service_tier',
} as const;

const NAMES_WITH_MAX_TOKENS = { ...NAMES, maxOutputTokens: 'max_tokens' } as const;

/** Returns the output limit and the parameter that sets it. The caller may use both parameters, with equal values. */
function parseOutputLimit(chat: ChatBody): { tokens: number | undefined; param: string } {
  const older = chat.max_tokens ?? undefined;
  const newer = chat.max_completion_tokens ?? undefined;
  if (older !== undefined && newer !== undefined && older !== newer) {
    throw invalidValueError(
      'max_tokens',
      "Setting 'max_tokens' and 'max_completion_tokens' to different values is not supported.",
    );
  }
  return newer === undefined && older !== undefined
    ? { tokens: older, param: 'max_tokens' }
    : { tokens: newer, param: 'max_completion_tokens' };
}

/** Rejects the functions of the API of 2023, unless the model may call none of them. */
function checkFunctions({ functions, function_call: choice }: Readonly<Record<string, unknown>>): void {
  if (functions == null || choice === 'none') return;
  const message = "Unsupported parameter: 'functions' is not supported. Use 'tools' instead.";
  throw new LambentError('unsupported_parameter', message, { param: 'functions' });
}

/** Rejects a web search, which is a hosted tool in this API's own form, if the alias refuses such tools. */
function checkWebSearch({ web_search_options: search }: ChatBody, { hostedTools }: Alias): void {
  if (search == null || hostedTools !== 'refuse') return;
  throw unsupportedValueError('web_search_options', 'is not supported with this model.');
}

function listDroppedSearch({ web_search_options: search }: ChatBody, { hostedTools }: Alias): string[] {
  return search != null && hostedTools === 'drop' ? ['web_search_options'] : [];
}

function toHostedTools(
  { web_search_options: search }: ChatBody,
  { hostedTools }: Alias,
): Pick<GenerationRequest, 'hostedTools'> {
  return search != null && hostedTools === 'pass' ? { hostedTools: { tools: [], webSearch: search } } : {};
}

function parseTopLogprobs({ logprobs, top_logprobs }: ChatBody): number | undefined {
  if (logprobs) return top_logprobs ?? 0;
  if (top_logprobs == null) return undefined;
  throw invalidValueError('top_logprobs', "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.");
}

function listSchemas({ tools, response_format: format }: ChatBody): RequestSchema[] {
  const schemas = (tools ?? []).flatMap((tool, index): RequestSchema[] => {
    if (tool.type === 'custom') return [];
    const { name, parameters, strict } = tool.function;
    const param = `tools[${index}].function.parameters`;
    const subject = `function '${name}'`;
    return [{ schema: parameters ?? {}, strict: strict ?? false, subject, param, code: 'invalid_function_parameters' }];
  });
  if (format?.type !== 'json_schema') return schemas;
  const { name, schema, strict } = format.json_schema;
  const subject = `response_format '${name}'`;
  return [
    ...schemas,
    { schema, strict: strict ?? false, subject, param: 'response_format', code: 'invalid_json_schema' },
  ];
}

function toTool(tool: NonNullable<ChatBody['tools']>[number]): Tool {
  if (tool.type === 'custom') {
    const { name, description, format } = tool.custom;
    return toCustomTool({ name, description, grammar: format?.type === 'grammar' ? format.grammar : undefined });
  }
  const { name, description, parameters, strict } = tool.function;
  return {
    name,
    ...omitNullish({ description }),
    parameters: parameters ?? { type: 'object', properties: {} },
    strict: strict ?? false,
    ...toMark(tool.cache_control == null ? tool.function : tool),
  };
}

function toRequestedChoice(choice: ChatBody['tool_choice']): RequestedChoice {
  if (choice === undefined || choice === null) return 'auto';
  if (typeof choice === 'string') return choice;
  if (choice.type === 'function') return { name: choice.function.name };
  if (choice.type === 'custom') return { name: choice.custom.name };
  const { mode, tools } = choice.allowed_tools;
  return { mode, allowed: tools.map((tool) => (tool.type === 'custom' ? tool.custom : tool.function).name) };
}

function toOutputFormat(format: ChatBody['response_format']): OutputFormat {
  switch (format?.type) {
    case 'json_object':
      return { type: 'json' };
    case 'json_schema': {
      const { name, description, schema, strict } = format.json_schema;
      return { type: 'jsonSchema', name, ...omitNullish({ description }), schema, strict: strict ?? false };
    }
    default:
      return { type: 'text' };
  }
}
