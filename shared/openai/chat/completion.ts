import type {
  ChatCompletion,
  ChatCompletionTokenLogprob,
  ChatCompletionMessageFunctionToolCall as ChatToolCall,
} from 'openai/resources/chat/completions';
import type { CompletionUsage } from 'openai/resources/completions';
import type { FinishReason, GenerationEvent, TokenLogprob, Usage } from '../../inference/generation.ts';
import { missingFinishError } from '../sse.ts';

/** What every chunk of an answer, and the answer as a whole, says of itself. */
interface ChatHead {
  readonly id: string;
  /** Epoch seconds. */
  readonly created: number;
  readonly model: string;
  /** Changes when what stands behind the model's name does. */
  readonly system_fingerprint: string;
}

export interface ChatCompletionOptions {
  readonly head: ChatHead;
  /** Whether log probabilities were asked for. */
  readonly logprobs: boolean;
}

/** OpenAI's object, with the reasoning's text under the name that DeepSeek and vLLM gave it. */
export type ChatCompletionObject = ChatCompletion & {
  choices: { message: { reasoning_content?: string } }[];
};

/**
 * Waits for an answer and writes it as one object.
 * @throws LambentError `upstream_cut` when it ends before it is whole, and whatever `events` throws
 */
export async function encodeChatCompletion(
  events: AsyncIterable<GenerationEvent>,
  { head, logprobs }: ChatCompletionOptions,
): Promise<ChatCompletionObject> {
  const gathered = new Gathered();
  for await (const event of events) {
    if (event.type !== 'finish') {
      gathered.add(event);
      continue;
    }
    return {
      ...head,
      object: 'chat.completion',
      choices: [
        {
          index: 0,
          message: gathered.message(),
          logprobs: logprobs ? gathered.logprobs() : null,
          finish_reason: FINISH_REASONS[event.reason],
        },
      ],
      ...(event.usage === undefined ? {} : { usage: encodeChatUsage(event.usage) }),
      ...(event.serviceTier === undefined ? {} : { service_tier: event.serviceTier }),
    };
  }
  throw missingFinishError();
}

/** What an answer has said so far. */
class Gathered {
  #content = '';
  #refusal = '';
  #reasoning = '';
  readonly #contentTokens: TokenLogprob[] = [];
  readonly #refusalTokens: TokenLogprob[] = [];
  readonly #calls: { id: string; name: string; arguments: string }[] = [];

  add(event: Exclude<GenerationEvent, { type: 'finish' }>): void {
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
        return;
      case 'toolCall':
        this.#calls[event.index] = { id: event.id, name: event.name, arguments: '' };
        return;
      case 'toolArguments': {
        const call = this.#calls[event.index];
        if (call) call.arguments += event.fragment;
        return;
      }
    }
  }

  message(): ChatCompletionObject['choices'][number]['message'] {
    const saidOtherwise = this.#refusal !== '' || this.#calls.length > 0;
    return {
      role: 'assistant',
      // A model that said nothing at all said ''.
      content: this.#content === '' && saidOtherwise ? null : this.#content.toWellFormed(),
      refusal: this.#refusal === '' ? null : this.#refusal.toWellFormed(),
      ...(this.#reasoning === '' ? {} : { reasoning_content: this.#reasoning.toWellFormed() }),
      ...(this.#calls.length === 0 ? {} : { tool_calls: this.#calls.map(toolCall) }),
    };
  }

  logprobs(): ChatCompletion.Choice['logprobs'] {
    const content = this.#contentTokens.map(encodeChatLogprob);
    const refusal = this.#refusalTokens.map(encodeChatLogprob);
    if (content.length === 0 && refusal.length === 0) return null;
    return { content: content.length === 0 ? null : content, refusal: refusal.length === 0 ? null : refusal };
  }
}

function toolCall({ id, name, arguments: text }: { id: string; name: string; arguments: string }): ChatToolCall {
  return { id, type: 'function', function: { name, arguments: text.toWellFormed() } };
}

/** Why an answer ended, in OpenAI's words. */
export const FINISH_REASONS = {
  stop: 'stop',
  length: 'length',
  toolCalls: 'tool_calls',
  contentFilter: 'content_filter',
} as const satisfies Record<FinishReason, string>;

/** One token's log probability as OpenAI's object. */
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

/** What an answer used as OpenAI's object; audio and predictions are never part of it. */
export function encodeChatUsage({
  inputTokens,
  cachedInputTokens,
  outputTokens,
  reasoningTokens,
}: Usage): CompletionUsage {
  return {
    prompt_tokens: inputTokens,
    completion_tokens: outputTokens,
    total_tokens: inputTokens + outputTokens,
    prompt_tokens_details: { cached_tokens: cachedInputTokens, audio_tokens: 0 },
    completion_tokens_details: {
      reasoning_tokens: reasoningTokens,
      audio_tokens: 0,
      accepted_prediction_tokens: 0,
      rejected_prediction_tokens: 0,
    },
  };
}
