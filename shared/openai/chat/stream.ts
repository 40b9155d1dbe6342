import type { LambentError } from '../../core/errors.ts';
import { CustomInputReader } from '../../inference/custom-input.ts';
import type { GenerationEvent, ReasoningDetail, TokenLogprob } from '../../inference/generation.ts';
import { encodeDataFrame, encodeStream, escapeLineSeparators, type StreamEncoder } from '../../wire/sse.ts';
import { SurrogatePairBuffer } from '../../wire/surrogate-pair-buffer.ts';
import { encodeErrorBody } from '../errors.ts';
import { encodeChatModeration } from '../moderations/report.ts';
import { type ChatCompletionOptions, encodeChatLogprob, encodeChatUsage, FINISH_REASONS } from './completion.ts';
import { encodeSignature } from './thought-signature.ts';

export interface ChatStreamOptions extends ChatCompletionOptions {
  readonly includeUsage: boolean;
}

/**
 * Encodes a model's events as the frames of a chat completion stream. A complete stream ends with `[DONE]`. A stream
 * that fails after its first frame ends with an error frame instead.
 * @throws any error before the first frame, and errors other than LambentError after it
 */
export function encodeChatStream(
  events: AsyncIterable<GenerationEvent>,
  options: ChatStreamOptions,
): AsyncGenerator<string> {
  return encodeStream(events, new ChatEncoder(options));
}

/** Builds each chunk from a prefix and suffix that are serialized once, because there is a chunk per token. */
class ChatEncoder implements StreamEncoder {
  readonly #prefix: string;
  readonly #suffix: string;
  readonly #options: ChatStreamOptions;
  readonly #text = new SurrogatePairBuffer();
  readonly #refusal = new SurrogatePairBuffer();
  readonly #reasoning = new SurrogatePairBuffer();
  readonly #arguments: SurrogatePairBuffer[] = [];
  /** The calls of custom tools, by index. */
  readonly #customInputs: CustomInputReader[] = [];
  #hasRole = false;
  /** Whether the response has content, a refusal or tool calls. */
  #hasOutput = false;

  constructor(options: ChatStreamOptions) {
    this.#options = options;
    const fields = JSON.stringify({ ...options.head, object: 'chat.completion.chunk' }).slice(0, -1);
    this.#prefix = `data: ${fields},"choices":[`;
    this.#suffix = options.includeUsage ? ',"usage":null}\n\n' : '}\n\n';
  }

  encode(event: GenerationEvent): string {
    return escapeLineSeparators(this.#encodeEvent(event));
  }

  #encodeEvent(event: GenerationEvent): string {
    switch (event.type) {
      case 'text':
        return this.#encodeText('content', this.#text.push(event.text), event.logprobs);
      case 'refusal':
        return this.#encodeText('refusal', this.#refusal.push(event.text), event.logprobs);
      case 'reasoning':
        return this.#encodeReasoning(this.#reasoning.push(event.text));
      case 'reasoningEnd':
        return this.#encodeDetails(event.details);
      case 'native':
        return '';
      case 'toolCall':
        return this.#encodeToolCall(event);
      case 'toolArguments':
        return this.#encodeArguments(event.index, this.#readArguments(event.index, event.fragment));
      case 'finish':
        return this.#encodeFinish(event);
    }
  }

  fail(error: LambentError): string {
    return encodeDataFrame(JSON.stringify(encodeErrorBody(error)));
  }

  #encodeText(field: 'content' | 'refusal', text: string, logprobs: readonly TokenLogprob[] | undefined): string {
    const tokens = this.#options.includeLogprobs ? (logprobs ?? []).map(encodeChatLogprob) : [];
    if (text === '' && tokens.length === 0) return '';
    this.#hasOutput ||= text !== '';
    const delta = `{"${field}":${JSON.stringify(text)}}`;
    const role = this.#encodeRole(field === 'content' ? '""' : 'null');
    if (tokens.length === 0) return role + this.#encodeChunk(delta);
    const otherField = field === 'content' ? 'refusal' : 'content';
    return role + this.#encodeChunk(delta, `{"${field}":${JSON.stringify(tokens)},"${otherField}":null}`);
  }

  #encodeReasoning(text: string): string {
    if (text === '') return '';
    return this.#encodeRole('null') + this.#encodeChunk(`{"reasoning_content":${JSON.stringify(text)}}`);
  }

  #encodeDetails(details: readonly ReasoningDetail[] = []): string {
    if (details.length === 0) return '';
    return this.#encodeRole('null') + this.#encodeChunk(`{"reasoning_details":${JSON.stringify(details)}}`);
  }

  #encodeToolCall({ index, id, name, signature }: Extract<GenerationEvent, { type: 'toolCall' }>): string {
    this.#hasOutput = true;
    this.#arguments[index] = new SurrogatePairBuffer();
    const isCustom = this.#options.customTools?.has(name) ?? false;
    if (isCustom) this.#customInputs[index] = new CustomInputReader();
    const call = isCustom
      ? { index, id, type: 'custom', custom: { name, input: '' } }
      : { index, id, type: 'function', function: { name, arguments: '' } };
    const json = JSON.stringify({ ...call, ...encodeSignature(signature) });
    return this.#encodeRole('null') + this.#encodeChunk(`{"tool_calls":[${json}]}`);
  }

  #encodeArguments(index: number, fragment: string): string {
    if (fragment === '') return '';
    const text = JSON.stringify(fragment);
    const delta = this.#customInputs[index] ? `"custom":{"input":${text}}` : `"function":{"arguments":${text}}`;
    return this.#encodeChunk(`{"tool_calls":[{"index":${index},${delta}}]}`);
  }

  /** Returns the text that a fragment of a call's arguments completes. */
  #readArguments(index: number, fragment: string): string {
    const custom = this.#customInputs[index];
    return this.#arguments[index]?.push(custom ? custom.push(fragment) : fragment) ?? '';
  }

  #encodeFinish(event: Extract<GenerationEvent, { type: 'finish' }>): string {
    let frames = this.#encodeText('content', this.#text.flush(), undefined);
    frames += this.#encodeText('refusal', this.#refusal.flush(), undefined);
    frames += this.#encodeReasoning(this.#reasoning.flush());
    for (const [index, buffer] of this.#arguments.entries()) {
      frames += this.#encodeArguments(index, buffer.push(this.#customInputs[index]?.end() ?? ''));
      frames += this.#encodeArguments(index, buffer.flush());
    }
    frames += this.#encodeRole('""');
    const tier = event.serviceTier === undefined ? '' : `,"service_tier":"${event.serviceTier}"`;
    const delta = this.#hasOutput ? '{}' : '{"content":""}';
    const choice = `{"index":0,"delta":${delta},"logprobs":null,"finish_reason":"${FINISH_REASONS[event.reason]}"}]`;
    frames += `${this.#prefix}${choice}${tier}${this.#suffix}`;
    if (event.moderation !== undefined)
      frames += `${this.#prefix}]${tier},"moderation":${JSON.stringify(encodeChatModeration(event.moderation))}${this.#suffix}`;
    if (this.#options.includeUsage && event.usage !== undefined) {
      frames += `${this.#prefix}]${tier},"usage":${JSON.stringify(encodeChatUsage(event.usage))}}\n\n`;
    }
    return frames + encodeDataFrame('[DONE]');
  }

  /** Returns the chunk with the role, which comes first. Returns '' from the second call on. */
  #encodeRole(content: '""' | 'null'): string {
    if (this.#hasRole) return '';
    this.#hasRole = true;
    return this.#encodeChunk(`{"role":"assistant","content":${content},"refusal":null}`);
  }

  #encodeChunk(delta: string, logprobs = 'null'): string {
    return `${this.#prefix}{"index":0,"delta":${delta},"logprobs":${logprobs},"finish_reason":null}]${this.#suffix}`;
  }
}
