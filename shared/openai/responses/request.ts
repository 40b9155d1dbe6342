import { LambentError } from '../../core/errors.ts';
import { isObject } from '../../core/objects.ts';
import type { GenerationRequest, OriginalRequest, OutputFormat } from '../../inference/generation.ts';
import type { ResolvedModel } from '../../inference/registry.ts';
import { deriveConversationKey } from '../../wire/conversation-key.ts';
import { checkSchemas, type RequestSchema } from '../../wire/json-schema.ts';
import { listUnknownManagement } from '../context-management.ts';
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
import { invalidValueError, listUnknownFields, validate } from '../validation.ts';
import { isHostedItem, isItemReference, type ResolvedItem, rejectDuplicateIds } from './items.ts';
import { keepCurrentReasoning, translateInputItems } from './messages.ts';
import { completeInput, createOriginalResponse, omitInput } from './original.ts';
import { getConversationId } from './response.ts';
import { type ResponsesBody, responsesParameters, responsesRequestSchema } from './schema.ts';
import { checkHostedTools, listDroppedTools, resolveToolList } from './tool-list.ts';
import { rejectStoredObjects } from './zero-retention.ts';

/** A valid request body, before the stored objects that it refers to are read. */
export interface ParsedResponsesBody extends ResolvedModel {
  readonly body: ResponsesBody;
  /** Fields that the alias passes on to its upstream. */
  readonly unknown: Readonly<Record<string, unknown>>;
  /** The original, with the caller's own input only; absent if no target speaks this API. */
  readonly original?: OriginalRequest;
  readonly streamed: boolean;
  /** Whether the response is to be stored. */
  readonly stored: boolean;
  /** Paths of the fields that have no effect. */
  readonly ignored: readonly string[];
}

/** A parsed request that uses no stored objects, and how to encode its response. */
export interface ResponsesRequest {
  /** The request to the model, without messages if the input is sealed. */
  readonly generation: GenerationRequest;
  /** Whether the input has compaction items, so that the messages can only be built with the vault. */
  readonly isSealed: boolean;
  /** The items of the input as the caller sent them, for native requests; absent if no target takes these. */
  readonly rawInput?: readonly unknown[];
  /** The request, which the response repeats. */
  readonly body: ResponsesBody;
  readonly streamed: boolean;
  readonly stored: boolean;
  /** Whether reasoning items have `encrypted_content`, which the caller sends back. */
  readonly includeContinuations: boolean;
}

/** What parsing a body depends on before it is completed. */
type BodyContext = Pick<ParseContext, 'registry' | 'mayStore'>;

/**
 * Parses the body of `POST /v1/responses`. One that goes on from a response or a conversation may be without input.
 * @throws LambentError with status 400 or 404 for any JSON value that is not a valid request
 */
export function parseResponsesBody(body: unknown, context: BodyContext): ParsedResponsesBody {
  if (!isObject(body) || body['input'] != null) return parseCompleteBody(body, context);
  if (body['previous_response_id'] != null || body['conversation'] != null) return parseWithoutInput(body, context);
  // Null is absence.
  const { input: _, ...others } = body;
  return parseCompleteBody(others, context);
}

/** Parses a body without input as one whose input has no items. Throws as `parseResponsesBody` does. */
export function parseWithoutInput(body: Readonly<Record<string, unknown>>, context: BodyContext): ParsedResponsesBody {
  const { original, ...parsed } = parseCompleteBody({ ...body, input: '' }, context);
  return {
    ...parsed,
    body: { ...parsed.body, input: [] },
    ...(original && { original: { ...original, body: { ...original.body, input: [] } } }),
  };
}

function parseCompleteBody(body: unknown, { registry, mayStore = true }: BodyContext): ParsedResponsesBody {
  const { name, alias, known, unknown } = splitBody(body, responsesParameters, registry);
  const request = validate(responsesRequestSchema, known);
  checkHostedTools(request, alias);
  const original = createOriginalResponse({ ...known, ...unknown }, request, { name, alias, registry });
  const streamed = request.stream ?? false;
  checkStreamOptions(request.stream_options, streamed);
  checkMaxTokens(request.max_output_tokens ?? undefined, alias, 'max_output_tokens');
  checkStateParameters(request);
  if (!mayStore) rejectStoredObjects(request);
  const stored = storesAnswer(request, true, mayStore);
  const ignored = [
    ...listUnknownFields(known, request),
    ...listDroppedTools(request, alias),
    ...listHostedItems(request.input),
    ...listUnknownManagement(request),
    ...(request.store && !stored ? ['store'] : []),
  ];
  return { body: request, name, alias, unknown, ...(original && { original }), streamed, stored, ignored };
}

/**
 * Translates a request into a generation request.
 * @param storedItems items of earlier turns, which precede the input
 * @param input the caller's input without references
 * @throws LambentError with status 400 for calls and outputs that don't match, or for an unsupported image
 */
export function toGenerationRequest(
  { body, name, alias, unknown, stored }: ParsedResponsesBody,
  { registry, tenant, session, schemaLimits }: ParseContext,
  storedItems: readonly ResolvedItem[],
  input: string | readonly ResolvedItem[],
): GenerationRequest {
  const allMessages = translateInputItems(body.instructions, input, registry, storedItems);
  const messages = body.reasoning?.context === 'current_turn' ? keepCurrentReasoning(allMessages) : allMessages;
  const { schemas, ...tools } = resolveToolList(body, alias, storedItems, input);
  checkSchemas([...schemas, ...listFormatSchemas(body)], schemaLimits);
  const includesLogprobs = body.include?.includes('message.output_text.logprobs') ?? false;
  const wantsLogprobs = includesLogprobs || (body.top_logprobs ?? 0) > 0;
  return {
    tenant,
    model: name,
    messages,
    ...tools,
    parallelToolCalls: body.parallel_tool_calls ?? true,
    format: toOutputFormat(body.text?.format),
    stop: [],
    ...omitNullish({
      maxOutputTokens: body.max_output_tokens,
      temperature: body.temperature,
      topP: body.top_p,
      topLogprobs: wantsLogprobs ? (body.top_logprobs ?? 0) : undefined,
      reasoningEffort: body.reasoning?.effort,
      verbosity: body.text?.verbosity,
      serviceTier: body.service_tier,
    }),
    reasoningSummary: (body.reasoning?.summary ?? body.reasoning?.generate_summary) != null,
    // The response, its turn or the caller has to keep what the model's provider needs to get back.
    omitsContinuations: !(stored || body.conversation != null || includesEncryptedReasoning(body)),
    conversationKey: deriveConversationKey(
      tenant,
      body.prompt_cache_key ?? session ?? getConversationId(body),
      messages,
    ),
    ...((session !== undefined || body.conversation != null || body.previous_response_id != null) && {
      inSession: true,
    }),
    hints: toHints(body),
    ...toModeration(body.moderation, registry),
    unknown,
    parameterNames: includesLogprobs ? { ...NAMES, topLogprobs: 'include' } : NAMES,
  };
}

/**
 * Translates a request that refers to no stored objects.
 * @throws LambentError as `toGenerationRequest`, and `not_found` for references to stored items
 */
export function toStatelessRequest(parsed: ParsedResponsesBody, context: ParseContext): GenerationRequest {
  const { body, original, alias } = parsed;
  const request = toGenerationRequest(parsed, context, [], requireResolvedInput(body.input));
  if (original === undefined) return request;
  return { ...request, original: completeInput(original, [], original.body['input'], alias) };
}

/**
 * Parses the body of a `POST /v1/responses` that uses no stored objects.
 * @throws LambentError with status 400 or 404 for any JSON value that is not a valid request, and with 404 for
 * references to stored items
 */
export function parseResponsesRequest(body: unknown, context: ParseContext): ResponsesRequest {
  const parsed = parseResponsesBody(body, context);
  const input = requireResolvedInput(parsed.body.input);
  const isSealed = hasCompaction(input);
  const generation = isSealed ? toGenerationRequest(parsed, context, [], '') : toStatelessRequest(parsed, context);
  const { original } = parsed;
  const rawInput = original?.body['input'];
  return {
    body: parsed.body,
    streamed: parsed.streamed,
    stored: parsed.stored,
    includeContinuations: includesEncryptedReasoning(parsed.body),
    isSealed,
    generation: isSealed
      ? { ...generation, messages: [], conversationKey: '', ...(original && { original: omitInput(original) }) }
      : generation,
    ...(Array.isArray(rawInput) && { rawInput }),
  };
}

/** Returns whether a request refers to stored objects, or has items that the vault has to open. */
export function refersToStoredObjects({ conversation, previous_response_id, input }: ResponsesBody): boolean {
  if (conversation != null || previous_response_id != null) return true;
  return typeof input !== 'string' && (input.some(isItemReference) || hasCompaction(input));
}

/** Returns whether an input has compaction items, which only the vault can open. */
export function hasCompaction(input: string | readonly { readonly type?: unknown }[]): boolean {
  return typeof input !== 'string' && input.some(({ type }) => type === 'compaction');
}

/** Returns whether a request asks for `encrypted_content`, which stateless callers send back. */
export function includesEncryptedReasoning({ include }: ResponsesBody): boolean {
  return include?.includes('reasoning.encrypted_content') ?? false;
}

/**
 * Returns `input`, which must not refer to stored items.
 * @throws LambentError `not_found` for a reference, `invalid_value` for a duplicate item
 */
export function requireResolvedInput(input: ResponsesBody['input']): string | readonly ResolvedItem[] {
  if (typeof input === 'string') return input;
  rejectDuplicateIds(input, 'input');
  return input.map((item) => {
    if (isItemReference(item)) throw itemNotFoundError(item.id);
    return item;
  });
}

/** Returns the error for a reference to an item that doesn't exist or belongs to another tenant. */
export function itemNotFoundError(id: string): LambentError {
  return new LambentError('not_found', `Item with id '${id.toWellFormed()}' not found.`, { param: 'input' });
}

function checkStateParameters({ background, store, conversation, previous_response_id }: ResponsesBody): void {
  if (conversation != null && previous_response_id != null) {
    throw invalidValueError(
      'previous_response_id',
      "Mutually exclusive parameters: 'previous_response_id' and 'conversation' can not be used together.",
    );
  }
  if (background && store === false) {
    throw invalidValueError(
      'background',
      "Invalid value for 'background': background responses require 'store' to be true.",
    );
  }
}

/** Maps internal names to this API's parameters, for error messages. */
const NAMES = {
  messages: 'input',
  tools: 'tools',
  toolChoice: 'tool_choice',
  parallelToolCalls: 'parallel_tool_calls',
  format: 'text.format',
  maxOutputTokens: 'max_output_tokens',
  temperature: 'temperature',
  topP: 'top_p',
  topLogprobs: 'top_logprobs',
  reasoningEffort: 'reasoning.effort',
  verbosity: 'text.verbosity',
  serviceTier: 'service_tier',
} as const;

/** Returns the schema of the output format, if it has one. */
function listFormatSchemas({ text }: ResponsesBody): RequestSchema[] {
  const format = text?.format;
  if (format?.type !== 'json_schema') return [];
  const { name, schema, strict } = format;
  // OpenAI's messages use the name of the older API's parameter here, too.
  const subject = `response_format '${name}'`;
  return [{ schema, strict: strict ?? false, subject, param: 'text.format.schema', code: 'invalid_json_schema' }];
}

/** Lists the items that no model gets, as paths such as `input[web_search_call]`. */
function listHostedItems(input: ResponsesBody['input']): string[] {
  return typeof input === 'string' ? [] : input.filter(isHostedItem).map(({ type }) => `input[${type}]`);
}

function toOutputFormat(format: NonNullable<ResponsesBody['text']>['format']): OutputFormat {
  switch (format?.type) {
    case 'json_object':
      return { type: 'json' };
    case 'json_schema': {
      const { name, description, schema, strict } = format;
      return { type: 'jsonSchema', name, ...omitNullish({ description }), schema, strict: strict ?? false };
    }
    default:
      return { type: 'text' };
  }
}
