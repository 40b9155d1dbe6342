/**
 * The internal types of a generation: the request to a model, and the events of its answer. Each API parses its wire
 * format into them, and each provider translates from and to its own format. No code in between knows a wire format.
 */

import type { ModerationReport, ModerationUse } from './moderation.ts';

export interface GenerationRequest {
  /** The tenant that sends the request. Resources that tenants share (workers, prefix caches) separate them by it. */
  readonly tenant: string;
  /** The public model name (an alias of `models.json`), never a provider's name. */
  readonly model: string;
  readonly messages: readonly Message[];
  readonly tools: readonly Tool[];
  readonly toolChoice: ToolChoice;
  /** Tools that the target's own service runs; absent if the request has none for it. */
  readonly hostedTools?: HostedTools;
  /** False when the model may call at most one tool per turn. */
  readonly parallelToolCalls: boolean;
  readonly format: OutputFormat;
  /** Maximum number of tokens in the answer, reasoning included; absent for the alias's limit. */
  readonly maxOutputTokens?: number;
  /** True if the caller named no maximum, and its limits have set one. */
  readonly isMaxChosen?: true;
  /** 0 to 2. */
  readonly temperature?: number;
  /** 0 to 1. */
  readonly topP?: number;
  /** Number of the most likely tokens from which the model chooses, at least 1. A hint: few upstreams support it. */
  readonly topK?: number;
  /** Up to four sequences that end the answer. */
  readonly stop: readonly string[];
  readonly seed?: number;
  /** -2 to 2. */
  readonly frequencyPenalty?: number;
  /** -2 to 2. */
  readonly presencePenalty?: number;
  /** Maps a token id to its bias, -100 to 100. */
  readonly logitBias?: Readonly<Record<string, number>>;
  /** Number of alternatives (0 to 20) to report per token; absent if no log probabilities are requested. */
  readonly topLogprobs?: number;
  readonly reasoningEffort?: ReasoningEffort;
  /**
   * Number of tokens for reasoning, at least 1024. Takes precedence over the effort where the target has budgets. A
   * request that has one also has the closest effort, for targets that have only that.
   */
  readonly reasoningBudget?: number;
  /** True to request a summary (or the text) of the model's reasoning, if the model provides one. */
  readonly reasoningSummary: boolean;
  readonly verbosity?: 'low' | 'medium' | 'high';
  readonly serviceTier?: ServiceTier;
  /** True if the caller doesn't get the answer's continuations. They are then dropped instead of sealed. */
  readonly omitsContinuations?: boolean;
  /** Shared by all requests of a conversation, so that they go to the same target. Hash it before you show it. */
  readonly conversationKey: string;
  /**
   * True if the caller names the conversation or session of the request. Requests that begin with the same prompt then
   * probably follow, even if this is the first one.
   */
  readonly inSession?: boolean;
  /** Hints that don't change the answer. A provider passes on those that its upstream supports. */
  readonly hints: Hints;
  /** The request in the caller's own format, for targets that speak the same protocol. */
  readonly original?: OriginalRequest;
  /** Absent if nothing is to be moderated. */
  readonly moderation?: ModerationUse;
  /** Fields that Lambent doesn't know; present only for an alias with `passUnknown`. */
  readonly unknown: Readonly<Record<string, unknown>>;
  /**
   * Maps internal names to the caller's parameters, for error messages (`maxOutputTokens` to `max_completion_tokens`).
   */
  readonly parameterNames: Readonly<Record<string, string>>;
}

export type ReasoningEffort = 'none' | 'minimal' | 'low' | 'medium' | 'high' | 'xhigh' | 'max';
export type ServiceTier = 'auto' | 'default' | 'flex' | 'priority';

/**
 * Protocols in which a target can get a caller's request and answer without translation: OpenAI's chat completions and
 * responses, and Anthropic's messages.
 */
export const PROTOCOLS = ['chat', 'responses', 'messages'] as const;
export type Protocol = (typeof PROTOCOLS)[number];

/**
 * A request in the format of its API. A provider whose upstream speaks the protocol sends the body with its own model
 * and limits, and yields the upstream's answer as `native` events.
 */
export interface OriginalRequest {
  readonly protocol: Protocol;
  /** The caller's body, without the fields that no target gets. That of a response has all earlier items in its input. */
  readonly body: Readonly<Record<string, unknown>>;
  /** The caller's parameters that are missing in the body, so that they have no effect. */
  readonly ignored: readonly string[];
  /** The names in the caller's header `anthropic-beta`. */
  readonly betas?: readonly string[];
}

/** Marks the end of a prefix that is worth caching. Providers without such marks ignore it. */
export interface CacheMark {
  /** How long the prefix should be kept; absent for the provider's default. */
  readonly ttl?: '5m' | '1h';
}

export interface Hints {
  readonly user?: string;
  readonly safetyIdentifier?: string;
  readonly promptCacheKey?: string;
  /** True to cache only what the caller marks. */
  readonly cachesMarksOnly?: boolean;
  /** How long OpenAI keeps the prompt in its cache at most, as its models before GPT-5.6 take it. */
  readonly promptCacheRetention?: 'in_memory' | '24h';
  readonly metadata?: Readonly<Record<string, string>>;
}

export type Message = SystemMessage | UserMessage | AssistantMessage | ToolMessage;

/** A `system` or `developer` message: OpenAI's models treat both alike, and no other provider has `developer`. */
export interface SystemMessage {
  readonly role: 'system';
  readonly content: readonly TextPart[];
  readonly name?: string;
}

export interface UserMessage {
  readonly role: 'user';
  readonly content: readonly ContentPart[];
  readonly name?: string;
}

/** Content that a caller or a tool provides. */
export type ContentPart = TextPart | ImagePart | DocumentPart;

export interface AssistantMessage {
  readonly role: 'assistant';
  readonly content: readonly (TextPart | RefusalPart | ReasoningPart | ToolCallPart)[];
  readonly name?: string;
}

/** The result of one tool call. */
export interface ToolMessage {
  readonly role: 'tool';
  readonly toolCallId: string;
  readonly content: readonly ContentPart[];
  /** True if the tool failed. Absent if it succeeded, or if the API can't express it. */
  readonly isError?: boolean;
  readonly cache?: CacheMark;
}

export interface TextPart {
  readonly type: 'text';
  readonly text: string;
  readonly cache?: CacheMark;
}

export interface RefusalPart {
  readonly type: 'refusal';
  readonly text: string;
}

/** Image bytes from the caller, or a URL of an allowed host, which the provider fetches. Lambent never fetches URLs. */
export type ImagePart = InlineImage | RemoteImage;

export interface InlineImage {
  readonly type: 'image';
  readonly mediaType: 'image/png' | 'image/jpeg' | 'image/gif' | 'image/webp';
  /** Base64, as the caller sent it. */
  readonly base64: string;
  readonly detail?: 'low' | 'high' | 'auto';
  /** Path of the caller's parameter, for error messages. */
  readonly param: string;
  readonly cache?: CacheMark;
}

export interface RemoteImage {
  readonly type: 'image';
  readonly url: string;
  readonly detail?: 'low' | 'high' | 'auto';
  /** Path of the caller's parameter, for error messages. */
  readonly param: string;
  readonly cache?: CacheMark;
}

/** A document from the caller. Targets without documents get a text document as text, and no other one. */
export type DocumentPart = PdfDocument | TextDocument;

export interface PdfDocument {
  readonly type: 'document';
  readonly mediaType: 'application/pdf';
  /** Base64, as the caller sent it. */
  readonly base64: string;
  readonly title?: string;
  /** Path of the caller's parameter, for error messages. */
  readonly param: string;
  readonly cache?: CacheMark;
}

export interface TextDocument {
  readonly type: 'document';
  readonly mediaType: 'text/plain';
  readonly text: string;
  readonly title?: string;
  /** Path of the caller's parameter, for error messages. */
  readonly param: string;
  readonly cache?: CacheMark;
}

/**
 * Reasoning of an earlier turn. `continuation` is the provider's opaque record of it (a signature, redacted bytes). The
 * provider needs it back unchanged when the turn continues after a tool call.
 */
export interface ReasoningPart {
  readonly type: 'reasoning';
  readonly text: string;
  readonly continuation?: Continuation;
  /** The upstream's own records of this reasoning, from a caller whose API shows them. */
  readonly details?: readonly ReasoningDetail[];
}

/** One record of `reasoning_details`, as OpenRouter has them. */
export type ReasoningDetail = Readonly<Record<string, unknown>>;

export interface Continuation {
  /** The provider that made it. Other providers drop the reasoning, as their APIs require. */
  readonly provider: string;
  readonly data: unknown;
}

export interface ToolCallPart {
  readonly type: 'toolCall';
  readonly id: string;
  readonly name: string;
  /** JSON text exactly as the model wrote it; possibly invalid. */
  readonly arguments: string;
  /** True for a call of a custom tool. Its text is the argument `input`. */
  readonly isCustom?: true;
  /** What Gemini wants back with the call. */
  readonly signature?: string;
  readonly cache?: CacheMark;
}

export interface Tool {
  readonly name: string;
  readonly description?: string;
  /** A JSON schema (an object). */
  readonly parameters: Readonly<Record<string, unknown>>;
  readonly strict: boolean;
  /** Present for a custom tool. The model calls it as a function, unless the target has custom tools. */
  readonly custom?: CustomTool;
  /** How the API names the tool, and the kind of its calls; absent for a function or custom tool of the same name. */
  readonly api?: ApiTool;
  readonly cache?: CacheMark;
}

/**
 * A tool that takes free text. As a function it has one argument, the string `input`; calls in requests and events have
 * this form for every target.
 */
export interface CustomTool {
  /** The caller's description. That of the function also has the grammar. */
  readonly description?: string;
  /** What the text must match; absent for any text. */
  readonly grammar?: { readonly syntax: 'lark' | 'regex'; readonly definition: string };
}

export interface ApiTool {
  readonly name: string;
  readonly namespace?: string;
  /** True if calls of the tool search for other tools, which the caller loads. */
  readonly isToolSearch?: true;
}

/** Tools that an upstream runs itself, such as a web search. No other target gets a request with them. */
export interface HostedTools {
  /** The tools, in the caller's own format. */
  readonly tools: readonly Readonly<Record<string, unknown>>[];
  /** The caller's tool choice, if it names one of them. It takes precedence over `toolChoice`. */
  readonly choice?: Readonly<Record<string, unknown>>;
  /** The options of a web search, which chat completions have beside their tools. */
  readonly webSearch?: Readonly<Record<string, unknown>>;
}

export type ToolChoice = 'auto' | 'none' | 'required' | { readonly name: string };

export type OutputFormat =
  | { readonly type: 'text' }
  /** Any JSON object. */
  | { readonly type: 'json' }
  | {
      readonly type: 'jsonSchema';
      readonly name: string;
      readonly description?: string;
      readonly schema: Readonly<Record<string, unknown>>;
      readonly strict: boolean;
    };

/**
 * The events of an answer, in order. A complete answer has exactly one `finish`, as its last event; an answer that ends
 * without it, or throws, is incomplete. Tool calls of an answer are numbered 0, 1, 2…, and a call's `toolCall` event
 * precedes its first `toolArguments`.
 */
export type GenerationEvent =
  | { readonly type: 'text'; readonly text: string; readonly logprobs?: readonly TokenLogprob[] }
  | { readonly type: 'refusal'; readonly text: string; readonly logprobs?: readonly TokenLogprob[] }
  | { readonly type: 'reasoning'; readonly text: string }
  /** Ends a block of reasoning; `continuation` is absent if the provider doesn't need the reasoning back. */
  | {
      readonly type: 'reasoningEnd';
      readonly continuation?: Continuation;
      /** The upstream's own records of the reasoning, for APIs that show them. The continuation has them as well. */
      readonly details?: readonly ReasoningDetail[];
    }
  | {
      readonly type: 'toolCall';
      readonly index: number;
      readonly id: string;
      readonly name: string;
      /** As in `ToolCallPart`, for APIs that show it. A continuation before the call has it as well. */
      readonly signature?: string;
    }
  | { readonly type: 'toolArguments'; readonly index: number; readonly fragment: string }
  /**
   * One event of the upstream's own stream, or the whole answer of a call that isn't streamed, in the protocol of the
   * request's `original`. An answer consists either of these and `finish`, or of the other events.
   */
  | { readonly type: 'native'; readonly event: Readonly<Record<string, unknown>> }
  | {
      readonly type: 'finish';
      readonly reason: FinishReason;
      readonly usage: Usage | undefined;
      /** The service tier that served the request, if the provider reports it. */
      readonly serviceTier?: ServiceTier;
      /** The stop sequence that ended the answer, if the provider reports it. */
      readonly stopSequence?: string;
      /** Present if the request asked for it and no content policy ended the answer. */
      readonly moderation?: ModerationReport;
    };

export type FinishReason = 'stop' | 'length' | 'toolCalls' | 'contentFilter';

/**
 * Token counts. As at OpenAI, `inputTokens` includes the tokens that were read from and written to the cache, and
 * `outputTokens` the reasoning tokens.
 */
export interface Usage {
  readonly inputTokens: number;
  readonly cachedInputTokens: number;
  /** Input tokens that were written to the cache. Absent if the provider doesn't report them. */
  readonly cacheWriteTokens?: number;
  /** Those of `cacheWriteTokens` that are kept for an hour. Absent if the provider doesn't report them. */
  readonly hourCacheWriteTokens?: number;
  readonly outputTokens: number;
  readonly reasoningTokens: number;
}

/** The log probability of one token and its most likely alternatives, as in OpenAI's API. */
export interface TokenLogprob {
  readonly token: string;
  readonly logprob: number;
  readonly bytes: readonly number[] | null;
  readonly alternatives: readonly { token: string; logprob: number; bytes: readonly number[] | null }[];
}
