import * as v from 'valibot';
import { isObject, omitUndefined } from '../../core/objects.ts';
import { encodeCustomInput } from '../../inference/custom-input.ts';
import type { FinishReason, GenerationEvent, TokenLogprob } from '../../inference/generation.ts';
import { metadata } from '../parameters.ts';
import { object } from '../schema.ts';
import { missingParameterError, validate } from '../validation.ts';
import { type ChatCompletionObject, FINISH_REASONS } from './completion.ts';
import type { ChatBody } from './schema.ts';
import { readSignature } from './thought-signature.ts';

export type Metadata = Readonly<Record<string, string>>;

// Stored bodies were validated and sealed by this service, so these checks only tell their types apart.

/** True if a job's request body is a body of `POST /v1/chat/completions`. */
export function isChatBody(body: unknown): body is ChatBody {
  return isObject(body) && typeof body['model'] === 'string' && Array.isArray(body['messages']);
}

/** True if a job's answer is a chat completion. */
export function isChatCompletion(answer: unknown): answer is ChatCompletionObject {
  return isObject(answer) && answer['object'] === 'chat.completion';
}

/** Returns a stored completion as OpenAI shows it: with its metadata and the parameters of its request. */
export function encodeStoredCompletion(completion: ChatCompletionObject, body: ChatBody, metadata: Metadata) {
  return {
    ...completion,
    metadata,
    temperature: body.temperature ?? null,
    top_p: body.top_p ?? null,
    seed: body.seed ?? null,
    presence_penalty: body.presence_penalty ?? null,
    frequency_penalty: body.frequency_penalty ?? null,
    response_format: body.response_format ?? null,
    tools: body.tools ?? null,
    tool_choice: body.tool_choice ?? null,
    input_user: body.user ?? null,
  };
}

/** Returns the messages of a stored completion's request, oldest first. Their ids are the completion's with a number. */
export function encodeStoredMessages(id: string, { messages }: ChatBody) {
  return messages.map((message, index) => {
    const { content = null } = message;
    const isText = typeof content === 'string';
    return {
      name: null,
      refusal: null,
      ...message,
      id: `${id}-${index}`,
      content: isText ? content : null,
      content_parts: isText ? null : content,
    };
  });
}

const updateSchema = object({ metadata });

/**
 * Parses the body of `POST /v1/chat/completions/{id}`. Returns the new metadata.
 * @throws LambentError with status 400 for any other JSON value
 */
export function parseChatUpdate(body: unknown): Metadata {
  if (isObject(body) && !('metadata' in body)) throw missingParameterError('metadata');
  return validate(updateSchema, body).metadata ?? {};
}

const metadataFilter = object({ metadata });

/**
 * Parses the filter `metadata[name]=value` of a query string.
 * @throws LambentError with status 400 for metadata that no completion can have
 */
export function parseMetadataFilter(query: Readonly<Record<string, string>>): Metadata {
  const pairs = Object.entries(query).flatMap(([parameter, value]) => {
    const name = /^metadata\[(.*)\]$/s.exec(parameter)?.[1];
    return name === undefined ? [] : [[name, value] as const];
  });
  return validate(metadataFilter, { metadata: Object.fromEntries(pairs) }).metadata ?? {};
}

/** Yields the events of a stored completion, so that it can be streamed again. */
export async function* replayCompletion({
  choices: [choice],
  usage,
  service_tier,
}: ChatCompletionObject): AsyncGenerator<GenerationEvent> {
  if (choice === undefined) return;
  const { message, logprobs, finish_reason } = choice;
  if (message.reasoning_content !== undefined) yield { type: 'reasoning', text: message.reasoning_content };
  if (message.reasoning_details !== undefined) yield { type: 'reasoningEnd', details: message.reasoning_details };
  if (message.content) yield { type: 'text', text: message.content, ...decodeLogprobs(logprobs?.content) };
  if (message.refusal) yield { type: 'refusal', text: message.refusal, ...decodeLogprobs(logprobs?.refusal) };
  for (const [index, call] of (message.tool_calls ?? []).entries()) {
    const [name, fragment] =
      call.type === 'function'
        ? [call.function.name, call.function.arguments]
        : [call.custom.name, encodeCustomInput(call.custom.input)];
    yield { type: 'toolCall', index, id: call.id, name, ...readSignature(call) };
    yield { type: 'toolArguments', index, fragment };
  }
  yield {
    type: 'finish',
    reason: REASONS.find((reason) => FINISH_REASONS[reason] === finish_reason) ?? 'stop',
    usage: usage && {
      inputTokens: usage.prompt_tokens,
      cachedInputTokens: usage.prompt_tokens_details?.cached_tokens ?? 0,
      ...omitUndefined({ cacheWriteTokens: usage.prompt_tokens_details?.cache_write_tokens }),
      outputTokens: usage.completion_tokens,
      reasoningTokens: usage.completion_tokens_details?.reasoning_tokens ?? 0,
    },
    ...(isTier(service_tier) ? { serviceTier: service_tier } : {}),
  };
}

const REASONS = ['stop', 'length', 'toolCalls', 'contentFilter'] as const satisfies FinishReason[];

const isTier = (value: unknown) => v.is(v.picklist(['auto', 'default', 'flex', 'priority']), value);

type Tokens = NonNullable<NonNullable<ChatCompletionObject['choices'][number]['logprobs']>['content']>;

function decodeLogprobs(tokens: Tokens | null | undefined): { logprobs?: TokenLogprob[] } {
  if (tokens == null) return {};
  return { logprobs: tokens.map(({ top_logprobs, ...token }) => ({ ...token, alternatives: top_logprobs })) };
}
