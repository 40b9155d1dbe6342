import type { FunctionTool, Response, ResponseUsage } from 'openai/resources/responses/responses';
import type { LambentError } from '../../core/errors.ts';
import type { FinishReason, GenerationEvent, Usage } from '../../inference/generation.ts';
import { encodeErrorBody } from '../errors.ts';
import { missingFinishError } from '../sse.ts';
import { ResponseOutput } from './output.ts';
import type { ResponsesBody } from './schema.ts';

/** OpenAI's object as it is on the wire: `output_text` is the client's own addition. */
export type ResponseObject = Omit<Response, 'output_text'> & { store: boolean };

export interface InProgressOptions {
  /** The request, which the response repeats. */
  readonly body: ResponsesBody;
  readonly id: string;
  /** Epoch seconds. */
  readonly createdAt: number;
  /** Whether it can be retrieved later. */
  readonly stored?: boolean;
}

export interface EncodeResponseOptions extends InProgressOptions {
  /** Epoch seconds, when it is asked. */
  readonly now: () => number;
  readonly ids: () => string;
  readonly logprobs: boolean;
  readonly reasoningSummary: boolean;
  readonly continuations: boolean;
  /** Keeps an answer before anybody is told that it is whole; nothing is kept when absent. */
  readonly commit?: (answered: StoredAnswer, usage: Usage | undefined) => Promise<void>;
  /** Keeps what there is of an answer that broke off after its stream began. Never throws. */
  readonly commitFailure?: (answered: StoredAnswer, error: LambentError) => Promise<void>;
}

/** An answer as it is stored. */
export interface StoredAnswer {
  readonly answer: ResponseObject;
  /** What the model's provider wants back in the next turn, by the id of its reasoning item. */
  readonly continuations: Readonly<Record<string, string>>;
}

/**
 * Waits for an answer and writes it as one object.
 * @throws LambentError `upstream_cut` when it ends before it is whole, and whatever `events` throws
 */
export async function encodeResponse(
  events: AsyncIterable<GenerationEvent>,
  options: EncodeResponseOptions,
): Promise<ResponseObject> {
  const continuations: Record<string, string> = {};
  const output = new ResponseOutput({ ...options, emit: () => {}, keep: continuationRecorder(options, continuations) });
  for await (const event of events) {
    if (event.type !== 'finish') {
      output.add(event);
      continue;
    }
    output.end(endStatusFor(event.reason));
    const answer = finishedResponse(inProgressResponse(options), output, event, options.now());
    await options.commit?.({ answer, continuations }, event.usage);
    return answer;
  }
  throw missingFinishError();
}

/** Keeps continuations in `into`, where somebody stores the answer. */
export function continuationRecorder({ commit }: EncodeResponseOptions, into: Record<string, string>) {
  if (commit === undefined) return undefined;
  return (itemId: string, continuation: string): void => {
    into[itemId] = continuation;
  };
}

/** A response that has nothing in it yet. */
export function inProgressResponse({ body, id, createdAt, stored = false }: InProgressOptions): ResponseObject {
  return {
    id,
    object: 'response',
    created_at: createdAt,
    status: 'in_progress',
    access_programs: null,
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
    ...(body.conversation == null ? {} : { conversation: { id: conversationIdOf(body.conversation) } }),
    previous_response_id: body.previous_response_id ?? null,
    prompt_cache_key: body.prompt_cache_key ?? null,
    reasoning: {
      effort: body.reasoning?.effort ?? null,
      summary: body.reasoning?.summary ?? body.reasoning?.generate_summary ?? null,
    },
    safety_identifier: body.safety_identifier ?? null,
    service_tier: body.service_tier ?? 'auto',
    store: stored,
    temperature: body.temperature ?? null,
    text: textOf(body.text),
    tool_choice: body.tool_choice ?? 'auto',
    tools: (body.tools ?? []).map(toolOf),
    top_logprobs: body.top_logprobs ?? 0,
    top_p: body.top_p ?? null,
    truncation: body.truncation ?? 'disabled',
    ...(body.user == null ? {} : { user: body.user }),
  };
}

/** Id of the conversation that a request names, either way. */
export function conversationIdOf(conversation: NonNullable<ResponsesBody['conversation']>): string {
  return typeof conversation === 'string' ? conversation : conversation.id;
}

/** A response whose answer is whole, even if it had to stop early. */
export function finishedResponse(
  begun: ResponseObject,
  { items }: ResponseOutput,
  { reason, usage, serviceTier }: Extract<GenerationEvent, { type: 'finish' }>,
  completedAt: number,
): ResponseObject {
  const incomplete = INCOMPLETE_REASONS[reason];
  return {
    ...begun,
    status: endStatusFor(reason),
    completed_at: incomplete === undefined ? completedAt : null,
    incomplete_details: incomplete === undefined ? null : { reason: incomplete },
    output: items,
    ...(serviceTier === undefined ? {} : { service_tier: serviceTier }),
    ...(usage === undefined ? {} : { usage: responsesUsage(usage) }),
  };
}

/** A response that came to nothing, as the stream's and the stored object say it. */
export function failedResponse(begun: ResponseObject, error: LambentError): ResponseObject {
  const code = error.code === 'rate_limit_exceeded' ? 'rate_limit_exceeded' : 'server_error';
  return { ...begun, status: 'failed', error: { code, message: encodeErrorBody(error).error.message } };
}

/** Whether an answer that ended for `reason` said all it wanted to. */
export function endStatusFor(reason: FinishReason): 'completed' | 'incomplete' {
  return INCOMPLETE_REASONS[reason] === undefined ? 'completed' : 'incomplete';
}

const INCOMPLETE_REASONS = {
  stop: undefined,
  toolCalls: undefined,
  length: 'max_output_tokens',
  contentFilter: 'content_filter',
} as const satisfies Record<FinishReason, string | undefined>;

function responsesUsage({ inputTokens, cachedInputTokens, outputTokens, reasoningTokens }: Usage): ResponseUsage {
  return {
    input_tokens: inputTokens,
    input_tokens_details: { cached_tokens: cachedInputTokens, cache_write_tokens: 0 },
    output_tokens: outputTokens,
    output_tokens_details: { reasoning_tokens: reasoningTokens },
    total_tokens: inputTokens + outputTokens,
  };
}

function textOf(text: ResponsesBody['text']): NonNullable<Response['text']> {
  return { format: formatOf(text?.format), verbosity: text?.verbosity ?? 'medium' };
}

function formatOf(
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

function toolOf({ name, description, parameters, strict }: NonNullable<ResponsesBody['tools']>[number]): FunctionTool {
  return {
    type: 'function',
    name,
    description: description ?? null,
    parameters: parameters ?? null,
    strict: strict ?? false,
  };
}
