/**
 * The internal shape of a generation: what is asked of a model, and the stream of what it answers. Every API is parsed
 * into it once at the edge, every provider translates from it and back into it, and nothing in between knows a wire
 * format.
 */

export interface GenerationRequest {
  /** Whose it is: what is shared by several tenants keeps them apart by it. */
  readonly tenant: string;
  /** The public model name (an alias of `models.json`), never a provider's. */
  readonly model: string;
  readonly messages: readonly Message[];
  readonly tools: readonly Tool[];
  readonly toolChoice: ToolChoice;
  /** False when the model may call at most one tool per turn. */
  readonly parallelToolCalls: boolean;
  readonly format: OutputFormat;
  /** Tokens the answer may have, reasoning included; absent means the alias's own limit. */
  readonly maxOutputTokens?: number;
  /** 0 to 2. */
  readonly temperature?: number;
  /** 0 to 1. */
  readonly topP?: number;
  /** Up to four sequences that end the answer. */
  readonly stop: readonly string[];
  readonly seed?: number;
  /** -2 to 2. */
  readonly frequencyPenalty?: number;
  /** -2 to 2. */
  readonly presencePenalty?: number;
  /** Token id to bias, -100 to 100. */
  readonly logitBias?: Readonly<Record<string, number>>;
  /** Number of alternatives (0 to 20) to report per token; absent means that no log probabilities are wanted. */
  readonly topLogprobs?: number;
  readonly reasoningEffort?: ReasoningEffort;
  /** Whether a summary (or the text) of the model's reasoning is wanted where the model gives one. */
  readonly reasoningSummary: boolean;
  readonly verbosity?: 'low' | 'medium' | 'high';
  readonly serviceTier?: ServiceTier;
  /** Requests of one conversation share it; a weighted choice of target sticks to it. Hash it before showing it. */
  readonly conversationKey: string;
  /** Hints that change no answer; a provider hands on those that its upstream knows. */
  readonly hints: Hints;
  /** Fields that this version does not know, kept only for an alias with `passUnknown`. */
  readonly unknown: Readonly<Record<string, unknown>>;
  /**
   * Where each part came from in the caller's own request, for error messages: internal name to the caller's
   * parameter (`maxOutputTokens` to `max_completion_tokens`).
   */
  readonly parameterNames: Readonly<Record<string, string>>;
}

export type ReasoningEffort = 'none' | 'minimal' | 'low' | 'medium' | 'high' | 'xhigh' | 'max';
export type ServiceTier = 'auto' | 'default' | 'flex' | 'priority';

export interface Hints {
  readonly user?: string;
  readonly safetyIdentifier?: string;
  readonly promptCacheKey?: string;
  readonly metadata?: Readonly<Record<string, string>>;
}

export type Message = SystemMessage | UserMessage | AssistantMessage | ToolMessage;

/** Both `system` and `developer`: OpenAI's models treat them as one, and no other provider knows the second. */
export interface SystemMessage {
  readonly role: 'system';
  readonly content: readonly TextPart[];
  readonly name?: string;
}

export interface UserMessage {
  readonly role: 'user';
  readonly content: readonly (TextPart | ImagePart)[];
  readonly name?: string;
}

export interface AssistantMessage {
  readonly role: 'assistant';
  readonly content: readonly (TextPart | RefusalPart | ReasoningPart | ToolCallPart)[];
  readonly name?: string;
}

/** The answer to one tool call. */
export interface ToolMessage {
  readonly role: 'tool';
  readonly toolCallId: string;
  readonly content: readonly (TextPart | ImagePart)[];
}

export interface TextPart {
  readonly type: 'text';
  readonly text: string;
}

export interface RefusalPart {
  readonly type: 'refusal';
  readonly text: string;
}

/** Bytes that the caller sent, or a URL that the provider (never Lambent) fetches; only for hosts the operator allows. */
export type ImagePart = InlineImage | RemoteImage;

export interface InlineImage {
  readonly type: 'image';
  readonly mediaType: 'image/png' | 'image/jpeg' | 'image/gif' | 'image/webp';
  /** Base64, as it came. */
  readonly base64: string;
  readonly detail?: 'low' | 'high' | 'auto';
  /** The caller's parameter path, for errors. */
  readonly param: string;
}

export interface RemoteImage {
  readonly type: 'image';
  readonly url: string;
  readonly detail?: 'low' | 'high' | 'auto';
  readonly param: string;
}

/**
 * Reasoning of an earlier turn. `continuation` is the provider's own opaque record of it (a signature, redacted
 * bytes), which that provider wants back unchanged when the turn goes on after a tool call.
 */
export interface ReasoningPart {
  readonly type: 'reasoning';
  readonly text: string;
  readonly continuation?: Continuation;
}

export interface Continuation {
  /** Which provider made it; another provider leaves the reasoning out, as its own API asks. */
  readonly provider: string;
  readonly data: unknown;
}

export interface ToolCallPart {
  readonly type: 'toolCall';
  readonly id: string;
  readonly name: string;
  /** JSON text, exactly as the model wrote it; it need not be valid. */
  readonly arguments: string;
}

export interface Tool {
  readonly name: string;
  readonly description?: string;
  /** A JSON schema (an object). */
  readonly parameters: Readonly<Record<string, unknown>>;
  readonly strict: boolean;
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
 * What a model answers, in order. A whole answer has exactly one `finish`, which is its last event; an iteration that
 * ends without it, or throws, was cut. Tool calls of one answer are numbered 0, 1, 2… and `toolCall` comes before that
 * call's first `toolArguments`.
 */
export type GenerationEvent =
  | { readonly type: 'text'; readonly text: string; readonly logprobs?: readonly TokenLogprob[] }
  | { readonly type: 'refusal'; readonly text: string; readonly logprobs?: readonly TokenLogprob[] }
  | { readonly type: 'reasoning'; readonly text: string }
  /** Ends one block of reasoning; `continuation` is absent for providers that need nothing back. */
  | { readonly type: 'reasoningEnd'; readonly continuation?: Continuation }
  | { readonly type: 'toolCall'; readonly index: number; readonly id: string; readonly name: string }
  | { readonly type: 'toolArguments'; readonly index: number; readonly fragment: string }
  | {
      readonly type: 'finish';
      readonly reason: FinishReason;
      readonly usage: Usage | undefined;
      /** The tier that served it, where the provider says. */
      readonly serviceTier?: ServiceTier;
    };

export type FinishReason = 'stop' | 'length' | 'toolCalls' | 'contentFilter';

/** Tokens. `inputTokens` includes the cached ones, `outputTokens` the reasoning, as OpenAI counts. */
export interface Usage {
  readonly inputTokens: number;
  readonly cachedInputTokens: number;
  readonly outputTokens: number;
  readonly reasoningTokens: number;
}

/** One token's log probability, with its most likely alternatives, in OpenAI's terms. */
export interface TokenLogprob {
  readonly token: string;
  readonly logprob: number;
  readonly bytes: readonly number[] | null;
  readonly alternatives: readonly { token: string; logprob: number; bytes: readonly number[] | null }[];
}
