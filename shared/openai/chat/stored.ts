import { isObject } from '../../core/objects.ts';
import { encodeDataFrame } from '../../wire/sse.ts';
import { metadata } from '../parameters.ts';
import { object } from '../schema.ts';
import { missingParameterError, validate } from '../validation.ts';
import type { ChatCompletionObject } from './completion.ts';
import type { ChatBody } from './schema.ts';

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

/**
 * Encodes a stored completion as the frames of a stream, as if it were generated now: every field of it, in chunks of its
 * own.
 */
export function encodeStoredChatStream(completion: ChatCompletionObject, includeUsage: boolean): string[] {
  const { usage, choices, ...head } = completion;
  const encodeChunk = (fields: object): string =>
    encodeDataFrame(
      JSON.stringify({ ...head, object: 'chat.completion.chunk', ...(includeUsage && { usage: null }), ...fields }),
    );
  const messages = choices.map(({ message, ...choice }) => ({
    ...choice,
    delta: { ...message, ...(message.tool_calls && { tool_calls: message.tool_calls.map(addIndex) }) },
    finish_reason: null,
  }));
  const ends = choices.map(({ index, finish_reason }) => ({ index, delta: {}, logprobs: null, finish_reason }));
  return [
    encodeChunk({ choices: messages }),
    encodeChunk({ choices: ends }),
    ...(includeUsage && usage !== undefined ? [encodeChunk({ choices: [], usage })] : []),
    encodeDataFrame('[DONE]'),
  ];
}

/** Only the chunks of a stream number the calls. */
function addIndex<T extends object>(call: T, index: number): T & { readonly index: number } {
  return { index, ...call };
}
