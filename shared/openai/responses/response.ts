import type {
  Response,
  ResponseErrorEvent,
  Tool as ResponseTool,
  ResponseUsage,
} from 'openai/resources/responses/responses';
import type { LambentError } from '../../core/errors.ts';
import { omitUndefined } from '../../core/objects.ts';
import type { FinishReason, GenerationEvent, Tool, Usage } from '../../inference/generation.ts';
import { httpStatusFor } from '../../wire/error-responses.ts';
import { missingFinishError } from '../../wire/sse.ts';
import { type ErrorBody, encodeErrorBody } from '../errors.ts';
import { encodeResponseModeration } from '../moderations/report.ts';
import type { CompactionItem } from './item-builders.ts';
import { ResponseOutput } from './output.ts';
import type { ResponsesBody } from './schema.ts';

/** OpenAI's response object. `output_text` is not on the wire; the official client adds it. */
export type ResponseObject = Omit<Response, 'output_text'> & { store: boolean };

export interface InProgressOptions {
  /** The request, which the response repeats. */
  readonly body: ResponsesBody;
  readonly id: string;
  /** Epoch seconds. */
  readonly createdAt: number;
  /** Whether the response can be retrieved later. */
  readonly stored?: boolean;
}

export interface EncodeResponseOptions extends InProgressOptions {
  /** Returns epoch seconds. */
  readonly now: () => number;
  /** Returns the next item id without the prefix that names the item's type. */
  readonly createItemId: () => string;
  /** The tools of the request in the internal form. */
  readonly tools: readonly Tool[];
  readonly includeLogprobs: boolean;
  readonly reasoningSummary: boolean;
  /** Whether reasoning items have `encrypted_content`. */
  readonly includeContinuations: boolean;
  /** The first item of the output, if the request's context was compacted. */
  readonly compaction?: CompactionItem;
  /** Stores the response or its turn before the caller learns that it is complete. Absent if neither is stored. */
  readonly commit?: (stored: StoredAnswer, usage: Usage | undefined) => Promise<void>;
  /** Stores the partial response of a stream that failed after it started. Never throws. */
  readonly commitFailure?: (stored: StoredAnswer, error: LambentError) => Promise<void>;
}

/** A response in its stored form. */
export interface StoredAnswer {
  readonly answer: ResponseObject;
  /** Encoded continuations, which the provider needs in the next turn, by reasoning item id. */
  readonly continuations: Readonly<Record<string, string>>;
  /** The upstream's ids of the items, by item id; present for native answers only. */
  readonly upstreamIds?: Readonly<Record<string, string>>;
}

/**
 * Reads all events, stores the response if required, and encodes it as one object.
 * @throws LambentError `upstream_cut` if the events end without `finish`, and every error of `events` and `commit`
 */
export async function encodeResponse(
  events: AsyncIterable<GenerationEvent>,
  options: EncodeResponseOptions,
): Promise<ResponseObject> {
  const continuations: Record<string, string> = {};
  const output = new ResponseOutput({
    ...options,
    emit: () => {},
    recordContinuation: createContinuationRecorder(options, continuations),
  });
  output.start();
  for await (const event of events) {
    if (event.type !== 'finish') {
      output.add(event);
      continue;
    }
    output.end(endStatusFor(event.reason));
    const response = finishedResponse(inProgressResponse(options), output, event, options.now());
    await options.commit?.({ answer: response, continuations }, event.usage);
    return response;
  }
  throw missingFinishError();
}

/** Returns a function that records continuations in `into`, or undefined if nothing is stored. */
export function createContinuationRecorder({ commit }: EncodeResponseOptions, into: Record<string, string>) {
  if (commit === undefined) return undefined;
  return (itemId: string, continuation: string): void => {
    into[itemId] = continuation;
  };
}

/** Returns a response without output, with status `in_progress`. */
export function inProgressResponse({ body, id, createdAt, stored = false }: InProgressOptions): ResponseObject {
  const conversation = getConversationId(body);
  return {
    id,
    object: 'response',
    created_at: createdAt,
    status: 'in_progress',
    access_programs: encodeAccessPrograms(body.access_programs),
    background: body.background ?? false,
    completed_at: null,
    error: null,
    incomplete_details: null,
    instructions: body.instructions ?? null,
    max_output_tokens: body.max_output_tokens ?? null,
    max_tool_calls: body.max_tool_calls ?? null,
    metadata: { ...body.metadata },
    model: body.model,
    output: [],
    parallel_tool_calls: body.parallel_tool_calls ?? true,
    ...(conversation === undefined ? {} : { conversation: { id: conversation } }),
    previous_response_id: body.previous_response_id ?? null,
    prompt_cache_key: body.prompt_cache_key ?? null,
    reasoning: {
      effort: body.reasoning?.effort ?? null,
      summary: body.reasoning?.summary ?? body.reasoning?.generate_summary ?? null,
      ...(body.reasoning?.context == null ? {} : { context: toEffectiveContext(body.reasoning.context) }),
    },
    safety_identifier: body.safety_identifier ?? null,
    service_tier: body.service_tier ?? 'auto',
    store: stored,
    temperature: body.temperature ?? null,
    text: encodeText(body.text),
    tool_choice: encodeToolChoice(body.tool_choice),
    tools: (body.tools ?? []).map(encodeTool),
    top_logprobs: body.top_logprobs ?? 0,
    top_p: body.top_p ?? null,
    truncation: body.truncation ?? 'disabled',
    ...(body.user == null ? {} : { user: body.user }),
  };
}

/** Returns the id of the conversation that a request names, if any. */
export function getConversationId({ conversation }: ResponsesBody): string | undefined {
  return typeof conversation === 'string' ? conversation : conversation?.id;
}

/**
 * Returns the response with its output, usage and status: `incomplete` if the model had to stop early, or `completed`.
 */
export function finishedResponse(
  inProgress: ResponseObject,
  { items }: ResponseOutput,
  { reason, usage, serviceTier, moderation }: Extract<GenerationEvent, { type: 'finish' }>,
  completedAt: number,
): ResponseObject {
  const incomplete = INCOMPLETE_REASONS[reason];
  return {
    ...inProgress,
    status: endStatusFor(reason),
    completed_at: incomplete === undefined ? completedAt : null,
    incomplete_details: incomplete === undefined ? null : { reason: incomplete },
    output: items,
    // OpenAI's name for the tier of what asks for none.
    ...(inProgress.service_tier === 'auto' && { service_tier: 'default' }),
    ...omitUndefined({
      service_tier: serviceTier,
      usage: usage && encodeUsage(usage),
      moderation: moderation && encodeResponseModeration(moderation),
    }),
  };
}

/** Returns the response with status `failed` and its error. */
export function failedResponse(inProgress: ResponseObject, error: LambentError): ResponseObject {
  // OpenAI's response object has no code for an exhausted quota, nor for a refusal by a policy. Clients may retry server errors.
  const refused = error.code === 'content_filter' ? 'invalid_prompt' : 'server_error';
  const code = httpStatusFor(error) === 429 ? 'rate_limit_exceeded' : refused;
  return { ...inProgress, status: 'failed', error: { code, message: encodeErrorBody(error).error.message } };
}

/** Returns the status of a response that finished for `reason`. */
export function endStatusFor(reason: FinishReason): 'completed' | 'incomplete' {
  return INCOMPLETE_REASONS[reason] === undefined ? 'completed' : 'incomplete';
}

const INCOMPLETE_REASONS = {
  stop: undefined,
  toolCalls: undefined,
  length: 'max_output_tokens',
  contentFilter: 'content_filter',
} as const satisfies Record<FinishReason, string | undefined>;

/** Encodes token counts. */
export function encodeUsage({
  inputTokens,
  cachedInputTokens,
  cacheWriteTokens = 0,
  outputTokens,
  reasoningTokens,
}: Usage): ResponseUsage {
  return {
    input_tokens: inputTokens,
    input_tokens_details: { cached_tokens: cachedInputTokens, cache_write_tokens: cacheWriteTokens },
    output_tokens: outputTokens,
    output_tokens_details: { reasoning_tokens: reasoningTokens },
    total_tokens: inputTokens + outputTokens,
  };
}

function encodeAccessPrograms(programs: ResponsesBody['access_programs']): Response['access_programs'] {
  return programs?.cyber == null ? null : { cyber: programs.cyber };
}

function encodeText(text: ResponsesBody['text']): NonNullable<Response['text']> {
  return { format: encodeFormat(text?.format), verbosity: text?.verbosity ?? 'medium' };
}

function encodeFormat(
  format: NonNullable<ResponsesBody['text']>['format'],
): NonNullable<NonNullable<Response['text']>['format']> {
  if (format?.type !== 'json_schema') return format ?? { type: 'text' };
  const { name, description, schema, strict } = format;
  return {
    type: 'json_schema',
    name,
    ...(description == null ? {} : { description }),
    schema,
    strict: strict ?? false,
  };
}

/** Returns which reasoning the model gets: by default that of all turns. */
function toEffectiveContext(context: 'auto' | 'current_turn' | 'all_turns'): 'current_turn' | 'all_turns' {
  return context === 'auto' ? 'all_turns' : context;
}

/** Returns a tool choice as the request has it. The client's type lacks some choices. */
function encodeToolChoice(choice: ResponsesBody['tool_choice']): Response['tool_choice'] {
  return (choice ?? 'auto') as Response['tool_choice'];
}

/** Returns a tool as the request has it, with the fields that OpenAI adds to functions. */
function encodeTool(tool: NonNullable<ResponsesBody['tools']>[number]): ResponseTool {
  if (tool.type !== 'function') return withoutNull(tool) as ResponseTool;
  const { name, description, parameters, strict, defer_loading } = tool;
  return {
    type: 'function',
    name,
    description: description ?? null,
    parameters: parameters ?? null,
    strict: strict ?? false,
    ...(defer_loading ? { defer_loading } : {}),
  };
}

function withoutNull(tool: object): object {
  return Object.fromEntries(Object.entries(tool).filter(([, value]) => value !== undefined && value !== null));
}

/**
 * The error's fields are sent twice: at the top level, as in the API reference, and in `error`, where OpenAI sends them
 * and the official client looks first.
 */
export type FailureEvent = Omit<ResponseErrorEvent, 'sequence_number'> & ErrorBody;

/** Returns the event for the failure of a stream, without its sequence number. */
export function encodeFailure(failure: LambentError): FailureEvent {
  const { error } = encodeErrorBody(failure);
  return { type: 'error', code: error.code, message: error.message, param: error.param, error };
}
