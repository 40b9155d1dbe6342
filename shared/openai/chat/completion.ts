import type {
  ChatCompletion,
  ChatCompletionTokenLogprob,
  ChatCompletionMessageToolCall as ChatToolCall,
} from 'openai/resources/chat/completions';
import type { CompletionUsage } from 'openai/resources/completions';
import { omitUndefined } from '../../core/objects.ts';
import { decodeCustomInput } from '../../inference/custom-input.ts';
import type {
  FinishReason,
  GenerationEvent,
  GenerationRequest,
  ReasoningDetail,
  TokenLogprob,
  Usage,
} from '../../inference/generation.ts';
import { missingFinishError } from '../../wire/sse.ts';
import { findCustomTools } from '../custom-tools.ts';
import { encodeChatModeration } from '../moderations/report.ts';
import type { NativeCompletion } from './native-completion.ts';
import { encodeSignature } from './thought-signature.ts';

/** The fields that a completion and each chunk of a stream have in common. */
interface ChatHead {
  readonly id: string;
  /** Epoch seconds. */
  readonly created: number;
  readonly model: string;
  /** Changes when the operator changes the model's alias. */
  readonly system_fingerprint: string;
}

export interface ChatCompletionOptions {
  readonly head: ChatHead;
  /** The names of the custom tools of the request; absent if it has none. */
  readonly customTools?: ReadonlySet<string> | undefined;
  /** Whether the request asks for log probabilities. */
  readonly includeLogprobs: boolean;
}

/** What a completion's options follow from. */
interface CompletionSource {
  /** The completion's id, without `chatcmpl-`. */
  readonly id: string;
  /** Epoch milliseconds. */
  readonly createdAt: number;
  /** The caller's name of the model. */
  readonly model: string;
  readonly generation: Pick<GenerationRequest, 'model' | 'tools' | 'topLogprobs'>;
  /** Returns the `system_fingerprint` for the name of an alias. */
  readonly fingerprint: (alias: string) => string;
}

/** Returns the options of the completion that answers a request. */
export function toCompletionOptions(source: CompletionSource): ChatCompletionOptions {
  const { id, createdAt, model, generation, fingerprint } = source;
  return {
    head: {
      id: `chatcmpl-${id}`,
      created: Math.floor(createdAt / 1000),
      model,
      system_fingerprint: fingerprint(generation.model),
    },
    customTools: findCustomTools(generation.tools),
    includeLogprobs: generation.topLogprobs !== undefined,
  };
}

/** OpenAI's completion object, plus the reasoning text in the field that DeepSeek and vLLM use for it. */
export type ChatCompletionObject = ChatCompletion & {
  choices: {
    message: {
      reasoning_content?: string;
      /** The upstream's own records of the reasoning, as OpenRouter has them. */
      reasoning_details?: readonly ReasoningDetail[];
    };
  }[];
};

/**
 * Reads all events and encodes them as one chat completion.
 * @throws LambentError `upstream_cut` if the events end without `finish`, and every error of `events`
 */
export async function encodeChatCompletion(
  events: AsyncIterable<GenerationEvent>,
  options: ChatCompletionOptions,
): Promise<ChatCompletionObject> {
  let completion: ChatCompletionObject | undefined;
  const commit = async (whole: ChatCompletionObject): Promise<void> => {
    completion = whole;
  };
  for await (const _ of commitCompletion(events, options, commit)) if (completion !== undefined) return completion;
  throw missingFinishError();
}

/**
 * Passes events on, and calls `commit` with the completion that they make before it passes the last one on.
 * @throws every error of `events` and `commit`
 */
export async function* commitCompletion(
  events: AsyncIterable<GenerationEvent>,
  options: ChatCompletionOptions,
  commit: (completion: ChatCompletionObject, usage: Usage | undefined) => Promise<void>,
): AsyncGenerator<GenerationEvent> {
  const message = new MessageAccumulator();
  let native: NativeCompletion | undefined;
  for await (const event of events) {
    if (event.type === 'native') {
      native ??= new (await import('./native-completion.ts')).NativeCompletion();
      native.add(event.event);
    } else if (event.type !== 'finish') message.add(event);
    else {
      const passed = native?.toCompletion(options.head) as ChatCompletionObject | undefined;
      await commit(passed ?? finishCompletion(message, event, options), event.usage);
    }
    yield event;
  }
}

function finishCompletion(
  message: MessageAccumulator,
  { reason, usage, serviceTier, moderation }: Extract<GenerationEvent, { type: 'finish' }>,
  { head, includeLogprobs, customTools }: ChatCompletionOptions,
): ChatCompletionObject {
  return {
    ...head,
    object: 'chat.completion',
    choices: [
      {
        index: 0,
        message: message.toMessage(customTools),
        logprobs: includeLogprobs ? message.toLogprobs() : null,
        finish_reason: FINISH_REASONS[reason],
      },
    ],
    ...omitUndefined({
      usage: usage && encodeChatUsage(usage),
      service_tier: serviceTier,
      moderation: moderation && encodeChatModeration(moderation),
    }),
  };
}

/** Builds the assistant message from a model's events. */
class MessageAccumulator {
  #content = '';
  #refusal = '';
  #reasoning = '';
  readonly #contentTokens: TokenLogprob[] = [];
  readonly #refusalTokens: TokenLogprob[] = [];
  readonly #details: ReasoningDetail[] = [];
  readonly #calls: MadeCall[] = [];

  add(event: Exclude<GenerationEvent, { type: 'finish' | 'native' }>): void {
    switch (event.type) {
      case 'text':
        this.#content += event.text;
        this.#contentTokens.push(...(event.logprobs ?? []));
        return;
      case 'refusal':
        this.#refusal += event.text;
        this.#refusalTokens.push(...(event.logprobs ?? []));
        return;
      case 'reasoning':
        this.#reasoning += event.text;
        return;
      case 'reasoningEnd':
        this.#details.push(...(event.details ?? []));
        return;
      case 'toolCall':
        this.#calls[event.index] = { id: event.id, name: event.name, arguments: '', signature: event.signature };
        return;
      case 'toolArguments': {
        const call = this.#calls[event.index];
        if (call) call.arguments += event.fragment;
        return;
      }
    }
  }

  toMessage(customTools: ReadonlySet<string> | undefined): ChatCompletionObject['choices'][number]['message'] {
    const hasOtherContent = this.#refusal !== '' || this.#calls.length > 0;
    return {
      role: 'assistant',
      // As in OpenAI's API, an empty response has content '', not null.
      content: this.#content === '' && hasOtherContent ? null : this.#content.toWellFormed(),
      refusal: this.#refusal === '' ? null : this.#refusal.toWellFormed(),
      ...(this.#reasoning === '' ? {} : { reasoning_content: this.#reasoning.toWellFormed() }),
      ...(this.#details.length === 0 ? {} : { reasoning_details: this.#details }),
      ...(this.#calls.length === 0 ? {} : { tool_calls: this.#calls.map((call) => encodeToolCall(call, customTools)) }),
    };
  }

  toLogprobs(): ChatCompletion.Choice['logprobs'] {
    const content = this.#contentTokens.map(encodeChatLogprob);
    const refusal = this.#refusalTokens.map(encodeChatLogprob);
    if (content.length === 0 && refusal.length === 0) return null;
    return { content: content.length === 0 ? null : content, refusal: refusal.length === 0 ? null : refusal };
  }
}

interface MadeCall {
  readonly id: string;
  readonly name: string;
  arguments: string;
  readonly signature: string | undefined;
}

function encodeToolCall(
  { id, name, arguments: text, signature }: MadeCall,
  customTools: ReadonlySet<string> | undefined,
): ChatToolCall {
  if (customTools?.has(name)) {
    const custom = { name, input: decodeCustomInput(text).toWellFormed() };
    return { id, type: 'custom', custom, ...encodeSignature(signature) };
  }
  return { id, type: 'function', function: { name, arguments: text.toWellFormed() }, ...encodeSignature(signature) };
}

/** Maps finish reasons to OpenAI's. */
export const FINISH_REASONS = {
  stop: 'stop',
  length: 'length',
  toolCalls: 'tool_calls',
  contentFilter: 'content_filter',
} as const satisfies Record<FinishReason, string>;

/** Encodes a token's log probability as OpenAI's object. */
export function encodeChatLogprob({ token, logprob, bytes, alternatives }: TokenLogprob): ChatCompletionTokenLogprob {
  return {
    token,
    logprob,
    bytes: bytes === null ? null : [...bytes],
    top_logprobs: alternatives.map((alternative) => ({
      ...alternative,
      bytes: alternative.bytes === null ? null : [...alternative.bytes],
    })),
  };
}

/** Encodes token usage as OpenAI's object. Audio and predictions are not supported, so their counts are 0. */
export function encodeChatUsage({
  inputTokens,
  cachedInputTokens,
  cacheWriteTokens,
  outputTokens,
  reasoningTokens,
}: Usage): CompletionUsage {
  return {
    prompt_tokens: inputTokens,
    completion_tokens: outputTokens,
    total_tokens: inputTokens + outputTokens,
    prompt_tokens_details: {
      cached_tokens: cachedInputTokens,
      ...omitUndefined({ cache_write_tokens: cacheWriteTokens }),
      audio_tokens: 0,
    },
    completion_tokens_details: {
      reasoning_tokens: reasoningTokens,
      audio_tokens: 0,
      accepted_prediction_tokens: 0,
      rejected_prediction_tokens: 0,
    },
  };
}
