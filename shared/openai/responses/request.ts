import { LambentError } from '../../core/errors.ts';
import type { GenerationRequest, OutputFormat, Tool } from '../../inference/generation.ts';
import type { Alias } from '../../inference/registry.ts';
import { deriveConversationKey } from '../conversation-key.ts';
import {
  checkMaxTokens,
  checkStreamOptions,
  omitNullish,
  type ParseContext,
  splitBody,
  toHints,
} from '../parameters.ts';
import { type RequestedChoice, resolveTools } from '../tool-choice.ts';
import { invalidValueError, validate } from '../validation.ts';
import { isItemReference, type ResolvedItem, rejectDuplicates } from './items.ts';
import { translateInputItems } from './messages.ts';
import { type ResponsesBody, responsesParameters, responsesRequestSchema } from './schema.ts';

/** A body that is right by itself; what it names of stored things is still to be looked up. */
export interface ParsedResponsesBody {
  readonly body: ResponsesBody;
  readonly alias: Alias;
  /** Fields for an upstream that passes them on. */
  readonly unknown: Readonly<Record<string, unknown>>;
  readonly streamed: boolean;
}

/** A response that was asked for, and how it is to be written. */
export interface ResponsesRequest {
  readonly generation: GenerationRequest;
  /** What was asked, which the response repeats. */
  readonly body: ResponsesBody;
  readonly streamed: boolean;
  /** Whether reasoning items carry what the caller has to bring back. */
  readonly includeContinuations: boolean;
}

/**
 * Reads the body of `POST /responses`.
 * @throws LambentError of status 400 or 404, whatever JSON `body` is
 */
export function parseResponsesBody(body: unknown, { registry }: Pick<ParseContext, 'registry'>): ParsedResponsesBody {
  const { alias, known, unknown } = splitBody(body, responsesParameters, registry);
  const asked = validate(responsesRequestSchema, known);
  const streamed = asked.stream ?? false;
  checkStreamOptions(asked.stream_options, streamed);
  checkMaxTokens(asked.max_output_tokens ?? undefined, alias, 'max_output_tokens');
  checkState(asked);
  return { body: asked, alias, unknown, streamed };
}

/**
 * What a response asks of a model.
 * @param before items of earlier turns, which the model reads first
 * @param input the caller's own, with nothing left to look up
 * @throws LambentError of status 400 for calls and outputs that don't match, or an image that can't be taken
 */
export function toGenerationRequest(
  { body: asked, unknown }: ParsedResponsesBody,
  { registry, tenant }: ParseContext,
  before: readonly ResolvedItem[],
  input: string | readonly ResolvedItem[],
): GenerationRequest {
  const messages = translateInputItems(asked.instructions, input, registry, before);
  const includesLogprobs = asked.include?.includes('message.output_text.logprobs') ?? false;
  const wantsLogprobs = includesLogprobs || (asked.top_logprobs ?? 0) > 0;
  return {
    tenant,
    model: asked.model,
    messages,
    ...resolveTools((asked.tools ?? []).map(toolOf), choiceOf(asked.tool_choice)),
    parallelToolCalls: asked.parallel_tool_calls ?? true,
    format: formatOf(asked.text?.format),
    stop: [],
    ...omitNullish({
      maxOutputTokens: asked.max_output_tokens,
      temperature: asked.temperature,
      topP: asked.top_p,
      topLogprobs: wantsLogprobs ? (asked.top_logprobs ?? 0) : undefined,
      reasoningEffort: asked.reasoning?.effort,
      verbosity: asked.text?.verbosity,
      serviceTier: asked.service_tier,
    }),
    reasoningSummary: (asked.reasoning?.summary ?? asked.reasoning?.generate_summary) != null,
    conversationKey: deriveConversationKey(tenant, asked.prompt_cache_key ?? undefined, messages),
    hints: toHints(asked),
    unknown,
    parameterNames: includesLogprobs ? { ...NAMES, topLogprobs: 'include' } : NAMES,
  };
}

/**
 * Parses the body of a `POST /responses` that stands for itself.
 * @throws LambentError of status 400 or 404, whatever JSON `body` is; 404 also for references to stored items
 */
export function parseResponsesRequest(body: unknown, context: ParseContext): ResponsesRequest {
  const asked = parseResponsesBody(body, context);
  return {
    body: asked.body,
    streamed: asked.streamed,
    includeContinuations: includesEncryptedReasoning(asked.body),
    generation: toGenerationRequest(asked, context, [], requireResolvedInput(asked.body.input)),
  };
}

/** Whether reasoning items are to carry what a stateless caller has to bring back. */
export function includesEncryptedReasoning({ include }: ResponsesBody): boolean {
  return include?.includes('reasoning.encrypted_content') ?? false;
}

/**
 * The input of a request that names nothing stored.
 * @throws LambentError `not_found` for a reference, `invalid_value` for an item that comes twice
 */
export function requireResolvedInput(input: ResponsesBody['input']): string | readonly ResolvedItem[] {
  if (typeof input === 'string') return input;
  rejectDuplicates(input, 'input');
  return input.map((item) => {
    if (isItemReference(item)) throw itemNotFoundError(item.id);
    return item;
  });
}

/** The error for a reference to an item that isn't stored, or is another tenant's. */
export function itemNotFoundError(id: string): LambentError {
  return new LambentError('not_found', `Item with id '${id.toWellFormed()}' not found.`, { param: 'input' });
}

function checkState({ background, store, conversation, previous_response_id }: ResponsesBody): void {
  if (conversation != null && previous_response_id != null) {
    throw invalidValueError(
      'previous_response_id',
      "Mutually exclusive parameters: 'previous_response_id' and 'conversation' can not be used together.",
    );
  }
  if (background && store === false) {
    throw invalidValueError('background', "Background responses have to be stored: 'store' must not be false.");
  }
}

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

/**
 * A function is strict only when its caller says so. OpenAI makes one strict that doesn't say, where its schema
 * allows; since it may then not be, nobody relies on it.
 */
function toolOf({ name, description, parameters, strict }: NonNullable<ResponsesBody['tools']>[number]): Tool {
  return {
    name,
    ...omitNullish({ description }),
    parameters: parameters ?? { type: 'object', properties: {} },
    strict: strict ?? false,
  };
}

function choiceOf(choice: ResponsesBody['tool_choice']): RequestedChoice {
  if (choice === undefined || choice === null) return 'auto';
  if (typeof choice === 'string') return choice;
  if (choice.type === 'function') return { name: choice.name };
  return { mode: choice.mode, allowed: choice.tools.map(({ name }) => name) };
}

function formatOf(format: NonNullable<ResponsesBody['text']>['format']): OutputFormat {
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
