import type { LambentError } from '../../core/errors.ts';
import type { GenerationEvent, TokenLogprob } from '../../inference/generation.ts';
import { encodeErrorBody } from '../errors.ts';
import { encodeDataFrame, encodeStream, type StreamEncoder } from '../sse.ts';
import { SurrogatePairBuffer } from '../surrogate-pair-buffer.ts';
import { type ChatCompletionOptions, encodeChatLogprob, encodeChatUsage, FINISH_REASONS } from './completion.ts';

export interface ChatStreamOptions extends ChatCompletionOptions {
  readonly includeUsage: boolean;
}

/**
 * An answer as the frames of a chat completion's stream, ending in `[DONE]` if it is whole.
 * @throws as `framesOf` does
 */
export function encodeChatStream(
  events: AsyncIterable<GenerationEvent>,
  options: ChatStreamOptions,
): AsyncGenerator<string> {
  return encodeStream(events, new ChatEncoder(options));
}

/** Writes chunks around JSON that is the same in all of them, since there is one for each token. */
class ChatEncoder implements StreamEncoder {
  readonly #head: string;
  readonly #tail: string;
  readonly #options: ChatStreamOptions;
  readonly #text = new SurrogatePairBuffer();
  readonly #refusal = new SurrogatePairBuffer();
  readonly #reasoning = new SurrogatePairBuffer();
  readonly #arguments: SurrogatePairBuffer[] = [];
  #began = false;
  /** Whether the answer has content, a refusal or tool calls. */
  #spoke = false;

  constructor(options: ChatStreamOptions) {
    this.#options = options;
    const fields = JSON.stringify({ ...options.head, object: 'chat.completion.chunk' }).slice(0, -1);
    this.#head = `data: ${fields},"choices":[`;
    this.#tail = options.includeUsage ? ',"usage":null}\n\n' : '}\n\n';
  }

  encode(event: GenerationEvent): string {
    switch (event.type) {
      case 'text':
        return this.#said('content', this.#text.push(event.text), event.logprobs);
      case 'refusal':
        return this.#said('refusal', this.#refusal.push(event.text), event.logprobs);
      case 'reasoning':
        return this.#thought(this.#reasoning.push(event.text));
      case 'reasoningEnd':
        return '';
      case 'toolCall':
        return this.#called(event.index, event.id, event.name);
      case 'toolArguments':
        return this.#argued(event.index, this.#arguments[event.index]?.push(event.fragment) ?? '');
      case 'finish':
        return this.#finished(event);
    }
  }

  fail(error: LambentError): string {
    return encodeDataFrame(JSON.stringify(encodeErrorBody(error)));
  }

  #said(field: 'content' | 'refusal', text: string, logprobs: readonly TokenLogprob[] | undefined): string {
    const tokens = this.#options.logprobs ? (logprobs ?? []).map(encodeChatLogprob) : [];
    if (text === '' && tokens.length === 0) return '';
    this.#spoke ||= text !== '';
    const delta = `{"${field}":${JSON.stringify(text)}}`;
    const role = this.#role(field === 'content' ? '""' : 'null');
    if (tokens.length === 0) return role + this.#chunk(delta);
    const empty = field === 'content' ? 'refusal' : 'content';
    return role + this.#chunk(delta, `{"${field}":${JSON.stringify(tokens)},"${empty}":null}`);
  }

  #thought(text: string): string {
    if (text === '') return '';
    return this.#role('null') + this.#chunk(`{"reasoning_content":${JSON.stringify(text)}}`);
  }

  #called(index: number, id: string, name: string): string {
    this.#spoke = true;
    this.#arguments[index] = new SurrogatePairBuffer();
    const call = { index, id, type: 'function', function: { name, arguments: '' } };
    return this.#role('null') + this.#chunk(`{"tool_calls":[${JSON.stringify(call)}]}`);
  }

  #argued(index: number, fragment: string): string {
    if (fragment === '') return '';
    return this.#chunk(`{"tool_calls":[{"index":${index},"function":{"arguments":${JSON.stringify(fragment)}}}]}`);
  }

  #finished(event: Extract<GenerationEvent, { type: 'finish' }>): string {
    let frames = this.#said('content', this.#text.flush(), undefined);
    frames += this.#said('refusal', this.#refusal.flush(), undefined);
    frames += this.#thought(this.#reasoning.flush());
    for (const [index, characters] of this.#arguments.entries()) frames += this.#argued(index, characters.flush());
    frames += this.#role('""');
    const tier = event.serviceTier === undefined ? '' : `,"service_tier":"${event.serviceTier}"`;
    const delta = this.#spoke ? '{}' : '{"content":""}';
    const choice = `{"index":0,"delta":${delta},"logprobs":null,"finish_reason":"${FINISH_REASONS[event.reason]}"}]`;
    frames += `${this.#head}${choice}${tier}${this.#tail}`;
    if (this.#options.includeUsage && event.usage !== undefined) {
      frames += `${this.#head}]${tier},"usage":${JSON.stringify(encodeChatUsage(event.usage))}}\n\n`;
    }
    return frames + encodeDataFrame('[DONE]');
  }

  /** The first chunk, once: whose turn it is. */
  #role(content: '""' | 'null'): string {
    if (this.#began) return '';
    this.#began = true;
    return this.#chunk(`{"role":"assistant","content":${content},"refusal":null}`);
  }

  #chunk(delta: string, logprobs = 'null'): string {
    return `${this.#head}{"index":0,"delta":${delta},"logprobs":${logprobs},"finish_reason":null}]${this.#tail}`;
  }
}
