import fc from 'fast-check';

/** The endpoints that take a body, with the types that the SDKs give to it and to the answer. */
export interface Endpoint {
  readonly path: string;
  /** Names of types of `SDK_TYPES`. */
  readonly request: string;
  readonly answer: string;
  /** The type of a stream's events, if the answer is streamed. */
  readonly isStream?: boolean;
  /** Values that make a valid request, as `GenerateOptions.values`. */
  readonly simple: Readonly<Record<string, fc.Arbitrary<unknown>>>;
}

/** What the SDKs send and read. Wire formats differ from their types where the comments say so. */
export const SDK_TYPES = `
import type Anthropic from '@anthropic-ai/sdk';
import type OpenAI from 'openai';
import type { MessageCountTokensParams, MessageTokensCount } from '@anthropic-ai/sdk/resources/messages';
import type { Conversation, ConversationCreateParams } from 'openai/resources/conversations/conversations';
import type { ConversationItemList, ItemCreateParams } from 'openai/resources/conversations/items';
import type { InputTokenCountParams, InputTokenCountResponse } from 'openai/resources/responses/input-tokens';
import type * as R from 'openai/resources/responses/responses';

// As DeepSeek and vLLM have it.
type Reasoning = { reasoning_content?: string };
export type ChatRequest = OpenAI.ChatCompletionCreateParamsNonStreaming;
export type ChatAnswer = OpenAI.ChatCompletion & { choices: { message: Reasoning }[] };
export type ChatStreamRequest = OpenAI.ChatCompletionCreateParamsStreaming;
export type ChatEvents = (OpenAI.ChatCompletionChunk & { choices: { delta: Reasoning }[] })[];

// The client adds output_text, and lacks store. OpenAI sends the status of calls, and the name of a called function,
// which the types lack.
type Item<T> = T extends { type: 'custom_tool_call' | 'custom_tool_call_output' } ? T & { status?: string } : T;
type WithItems<T> = T extends { item: infer I } ? Omit<T, 'item'> & { item: Item<I> } : T;
type WithName<T> = T extends { type: 'response.function_call_arguments.done' } ? T & { name: string } : T;
export type ResponsesAnswer = Omit<R.Response, 'output_text' | 'output'> & {
  store: boolean;
  output: Item<R.ResponseOutputItem>[];
};
type OnWire<T> = T extends { response: R.Response } ? Omit<T, 'response'> & { response: ResponsesAnswer } : T;
export type ResponsesRequest = R.ResponseCreateParamsNonStreaming;
export type ResponsesStreamRequest = R.ResponseCreateParamsStreaming;
export type ResponsesEvents = WithName<WithItems<OnWire<R.ResponseStreamEvent>>>[];
export type InputTokensRequest = InputTokenCountParams;
export type InputTokensAnswer = InputTokenCountResponse;
// "All user messages, followed by a single compaction item."
type UserMessage = Omit<R.ResponseInputMessageItem, 'type'> & { type: 'message' };
export type CompactRequest = R.ResponseCompactParams;
export type CompactAnswer = Omit<R.CompactedResponse, 'output'> & { output: (R.ResponseOutputItem | UserMessage)[] };

export type ConversationRequest = ConversationCreateParams;
export type ConversationAnswer = Conversation;
export type ItemsRequest = ItemCreateParams;
export type ItemsAnswer = Omit<ConversationItemList, 'data'> & { data: Item<ConversationItemList['data'][number]>[] };

// The client asks for base64 and decodes it.
type Embedding = Omit<OpenAI.Embedding, 'embedding'> & { embedding: number[] | string };
export type EmbeddingsRequest = OpenAI.EmbeddingCreateParams;
export type EmbeddingsAnswer = Omit<OpenAI.CreateEmbeddingResponse, 'data'> & { data: Embedding[] };

// Claude on Bedrock leaves out what it doesn't have, and its answers are passed on as they are.
type Bedrock<T> = T extends (infer E)[]
  ? Bedrock<E>[]
  : T extends object
    ? { [K in keyof T as undefined extends T[K] ? K : K extends Missing ? never : K]: Bedrock<T[K]> } & {
        [K in keyof T as K extends Missing ? K : never]?: Bedrock<T[K]>;
      }
    : T;
type Missing =
  | 'citations' | 'caller' | 'container' | 'stop_details' | 'diagnostics' | 'cache_creation'
  | 'cache_creation_input_tokens' | 'cache_read_input_tokens' | 'inference_geo' | 'iterations' | 'output_tokens_details'
  | 'server_tool_use' | 'service_tier' | 'speed' | 'context_management';
export type BedrockMessagesAnswer = Bedrock<Anthropic.Message>;
export type BedrockMessagesEvents = (Bedrock<Anthropic.RawMessageStreamEvent> | { type: 'ping' })[];
export type MessagesRequest = Anthropic.MessageCreateParamsNonStreaming;
export type MessagesAnswer = Anthropic.Message;
export type MessagesStreamRequest = Anthropic.MessageCreateParamsStreaming;
export type MessagesEvents = (Anthropic.RawMessageStreamEvent | { type: 'ping' })[];
export type CountTokensRequest = MessageCountTokensParams;
export type CountTokensAnswer = MessageTokensCount;
`;

const user = { role: 'user', content: 'Hello' };
const chat = { '^messages': fc.constant([user]) };
const input = { '^input': fc.constantFrom<unknown>('Hello', [user]) };
const messages = { '^messages': fc.constant([user]) };

export const ENDPOINTS: readonly Endpoint[] = [
  { path: '/chat/completions', request: 'ChatRequest', answer: 'ChatAnswer', simple: chat },
  { path: '/chat/completions', request: 'ChatStreamRequest', answer: 'ChatEvents', isStream: true, simple: chat },
  { path: '/responses', request: 'ResponsesRequest', answer: 'ResponsesAnswer', simple: input },
  { path: '/responses', request: 'ResponsesStreamRequest', answer: 'ResponsesEvents', isStream: true, simple: input },
  { path: '/responses/input_tokens', request: 'InputTokensRequest', answer: 'InputTokensAnswer', simple: input },
  { path: '/responses/compact', request: 'CompactRequest', answer: 'CompactAnswer', simple: input },
  { path: '/conversations', request: 'ConversationRequest', answer: 'ConversationAnswer', simple: {} },
  { path: '/conversations/{id}/items', request: 'ItemsRequest', answer: 'ItemsAnswer', simple: {} },
  {
    path: '/embeddings',
    request: 'EmbeddingsRequest',
    answer: 'EmbeddingsAnswer',
    simple: { '^input': fc.constant('a') },
  },
  { path: '/messages', request: 'MessagesRequest', answer: 'MessagesAnswer', simple: messages },
  { path: '/messages', request: 'MessagesStreamRequest', answer: 'MessagesEvents', isStream: true, simple: messages },
  { path: '/messages/count_tokens', request: 'CountTokensRequest', answer: 'CountTokensAnswer', simple: messages },
];

/**
 * Parameters that are refused although their types allow them, without indices, and what docs/api.md or docs/models.md
 * says of them. Values that no type can rule out, such as an id that doesn't exist, are not among them.
 */
export const DOCUMENTED_REFUSALS: readonly (readonly [param: RegExp, words: string])[] = [
  [
    /^functions$|function_call$|^messages\[\]\.role$/,
    '`functions`, `function_call`, messages with the role `function`',
  ],
  [/^modalities$|^messages\[\]\.audio$/, '`modalities: ["audio"]`'],
  [/^messages\[\]\.content\[\]\.type$/, 'parts of type `input_audio`'],
  [/file_id$|file_url$|^prompt$/, '`prompt`, `file_id`'],
  [/image_url(\.url)?$/, 'https URLs of [`imageHosts`]'],
  [/^moderation$/, 'PDF documents with `moderation` that blocks'],
  [/^access_programs/, '`access_programs` other than `standard`'],
  [/prewarm$/, '`prompt_cache_options.prewarm`'],
  [/^reasoning\.mode$/, '`reasoning.mode`'],
  [/context_compression$/, '`image.context_compression: "enabled"`'],
  [/allowed_callers/, '`allowed_callers`'],
  [/^(input|items)\[\]\.type$/, '`compaction_trigger`'],
  [/\.content\[\]\.type$/, 'Files and images in messages of other roles than `user`'],
  [/^(frequency|presence)_penalty$/, '`frequency_penalty`, `presence_penalty`'],
  [/^logit_bias$|^(top_)?logprobs$|^include$/, '`stop`, `logprobs`, `logitBias`'],
  [/^temperature$|^top_p$/, 'beside `top_p` on Claude 4.1 to 4.6'],
];
