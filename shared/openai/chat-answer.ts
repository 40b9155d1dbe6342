import type {
  ChatCompletion,
  ChatCompletionMessageFunctionToolCall,
  ChatCompletionTokenLogprob,
} from 'openai/resources/chat/completions';
import type { CompletionUsage } from 'openai/resources/completions';
import type { FinishReason, GenerationEvent, TokenLogprob, Usage } from '../inference/generation.ts';
import { withoutFinish } from './sse.ts';

/** What every chunk of an answer, and the answer as a whole, says of itself. */
export interface ChatHead {
  readonly id: string;
  /** Epoch seconds. */
  readonly created: number;
  readonly model: string;
  /** Changes when what stands behind the model's name does. */
  readonly system_fingerprint: string;
}

export interface ChatAnswerOptions {
  readonly head: ChatHead;
  /** Whether log probabilities were asked for. */
  readonly logprobs: boolean;
}

/** OpenAI's object, with the reasoning's text under the name that DeepSeek and vLLM gave it. */
export type ChatAnswer = ChatCompletion & {
  choices: { message: { reasoning_content?: string } }[];
};

/**
 * Waits for an answer and writes it as one object.
 * @throws LambentError `upstream_cut` when it ends before it is whole, and whatever `events` throws
 */
export async function chatAnswer(
  events: AsyncIterable<GenerationEvent>,
  { head, logprobs }: ChatAnswerOptions,
): Promise<ChatAnswer> {
  let content = '';
  let refusal = '';
  let reasoning = '';
  const contentLogprobs: ChatCompletionTokenLogprob[] = [];
  const refusalLogprobs: ChatCompletionTokenLogprob[] = [];
  const calls: ChatCompletionMessageFunctionToolCall[] = [];
  for await (const event of events) {
    switch (event.type) {
      case 'text':
        content += event.text;
        contentLogprobs.push(...(event.logprobs ?? []).map(chatLogprob));
        break;
      case 'refusal':
        refusal += event.text;
        refusalLogprobs.push(...(event.logprobs ?? []).map(chatLogprob));
        break;
      case 'reasoning':
        reasoning += event.text;
        break;
      case 'reasoningEnd':
        break;
      case 'toolCall':
        calls[event.index] = { id: event.id, type: 'function', function: { name: event.name, arguments: '' } };
        break;
      case 'toolArguments': {
        const call = calls[event.index];
        if (call) call.function.arguments += event.fragment;
        break;
      }
      case 'finish': {
        const toolCalls = calls.map((call) => ({
          ...call,
          function: { ...call.function, arguments: call.function.arguments.toWellFormed() },
        }));
        return {
          ...head,
          object: 'chat.completion',
          choices: [
            {
              index: 0,
              message: {
                role: 'assistant',
                // Null where something else was said instead; a model that said nothing at all said ''.
                content: content === '' && (refusal !== '' || calls.length > 0) ? null : content.toWellFormed(),
                refusal: refusal === '' ? null : refusal.toWellFormed(),
                ...(reasoning === '' ? {} : { reasoning_content: reasoning.toWellFormed() }),
                ...(toolCalls.length === 0 ? {} : { tool_calls: toolCalls }),
              },
              logprobs: logprobs ? logprobsOf(contentLogprobs, refusalLogprobs) : null,
              finish_reason: FINISH_REASONS[event.reason],
            },
          ],
          ...(event.usage === undefined ? {} : { usage: chatUsage(event.usage) }),
          ...(event.serviceTier === undefined ? {} : { service_tier: event.serviceTier }),
        };
      }
    }
  }
  throw withoutFinish();
}

function logprobsOf(content: ChatCompletionTokenLogprob[], refusal: ChatCompletionTokenLogprob[]) {
  if (content.length === 0 && refusal.length === 0) return null;
  return { content: content.length === 0 ? null : content, refusal: refusal.length === 0 ? null : refusal };
}

export const FINISH_REASONS = {
  stop: 'stop',
  length: 'length',
  toolCalls: 'tool_calls',
  contentFilter: 'content_filter',
} as const satisfies Record<FinishReason, string>;

export function chatLogprob({ token, logprob, bytes, alternatives }: TokenLogprob): ChatCompletionTokenLogprob {
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

export function chatUsage({ inputTokens, cachedInputTokens, outputTokens, reasoningTokens }: Usage): CompletionUsage {
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
