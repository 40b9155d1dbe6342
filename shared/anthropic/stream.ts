import type { LambentError } from '../core/errors.ts';
import { isObject } from '../core/objects.ts';
import type { GenerationEvent } from '../inference/generation.ts';
import { encodeStream, encodeTypedFrame, type StreamEncoder } from '../wire/sse.ts';
import { SurrogatePairBuffer } from '../wire/surrogate-pair-buffer.ts';
import { type AnswerBlock, type BlockListener, BlockQueue } from './block-queue.ts';
import { encodeMessagesError } from './errors.ts';
import { describeMessage, type EncodeMessageOptions, emptyMessage } from './message.ts';
import { encodeDeltaUsage, encodeStop } from './usage.ts';

/**
 * Encodes a model's events as the frames of a message stream. A complete stream ends with `message_stop`, a failed one with
 * `error`.
 * @returns whether the message is complete
 * @throws the same errors as `encodeStream`
 */
export function encodeMessageStream(
  events: AsyncIterable<GenerationEvent>,
  options: EncodeMessageOptions,
): AsyncGenerator<string, boolean> {
  return encodeStream(events, new MessageEncoder(options));
}

/** The event that Anthropic sends to keep a silent connection open. */
export const PING = encodeTypedFrame({ type: 'ping' });

class MessageEncoder implements StreamEncoder, BlockListener {
  readonly #options: EncodeMessageOptions;
  readonly #queue: BlockQueue;
  #text = new SurrogatePairBuffer();
  #index = -1;
  #hasStarted = false;
  #isNative = false;
  /** The frames that are not yet returned. */
  #frames = '';

  constructor(options: EncodeMessageOptions) {
    this.#options = options;
    this.#queue = new BlockQueue(this, options.isThinkingShown);
  }

  encode(event: GenerationEvent): string {
    if (event.type === 'native') return this.#encodeNative(event.event);
    if (event.type === 'finish') return this.#isNative ? '' : this.#encodeFinish(event);
    this.#start();
    this.#queue.add(event);
    return this.#takeFrames();
  }

  fail(error: LambentError): string {
    return encodeTypedFrame(encodeMessagesError(error, this.#options.requestId));
  }

  beginBlock(block: AnswerBlock): void {
    this.#index += 1;
    this.#text = new SurrogatePairBuffer();
    this.#write({ type: 'content_block_start', index: this.#index, content_block: toEmptyBlock(block) });
  }

  addText(block: AnswerBlock, text: string): void {
    this.#writeDelta(block, this.#text.push(text));
  }

  endBlock(block: AnswerBlock): void {
    this.#writeDelta(block, this.#text.flush());
    if (block.type === 'thinking' && block.signature !== '') {
      const delta = { type: 'signature_delta', signature: block.signature };
      this.#write({ type: 'content_block_delta', index: this.#index, delta });
    }
    this.#write({ type: 'content_block_stop', index: this.#index });
  }

  #writeDelta(block: AnswerBlock, text: string): void {
    const delta = text === '' ? undefined : toDelta(block, text);
    if (delta !== undefined) this.#write({ type: 'content_block_delta', index: this.#index, delta });
  }

  #start(): void {
    if (this.#hasStarted) return;
    this.#hasStarted = true;
    this.#write({ type: 'message_start', message: emptyMessage(this.#options) });
    this.#frames += PING;
  }

  #encodeFinish(event: Extract<GenerationEvent, { type: 'finish' }>): string {
    this.#start();
    this.#queue.finish();
    const { context_management } = describeMessage(this.#options);
    this.#write({
      type: 'message_delta',
      delta: { ...encodeStop(event, this.#queue.isRefused), container: null },
      usage: encodeDeltaUsage(event.usage),
      ...(context_management !== undefined && { context_management }),
    });
    this.#write({ type: 'message_stop' });
    return this.#takeFrames();
  }

  /** Writes an event of a target that speaks this protocol. Only the id and the model's name are the service's own. */
  #encodeNative(event: Readonly<Record<string, unknown>>): string {
    this.#isNative = true;
    const { context_management, ...head } = describeMessage(this.#options);
    const type = String(event['type']);
    if (type === 'message_start' && isObject(event['message'])) {
      this.#write({ ...event, type, message: { ...event['message'], ...head } });
    } else if (type === 'message_delta' && context_management !== undefined) {
      this.#write({ ...event, type, context_management });
    } else this.#write({ ...event, type });
    return this.#takeFrames();
  }

  #write<T extends { readonly type: string }>(event: T): void {
    this.#frames += encodeTypedFrame(event);
  }

  #takeFrames(): string {
    const frames = this.#frames;
    this.#frames = '';
    return frames;
  }
}

function toEmptyBlock(block: AnswerBlock): object {
  switch (block.type) {
    case 'text':
      return { type: 'text', text: '', citations: null };
    case 'thinking':
      return { type: 'thinking', thinking: '', signature: '' };
    case 'redacted_thinking':
      return { type: 'redacted_thinking', data: block.data };
    case 'tool_use':
      return { type: 'tool_use', id: block.id, name: block.name, input: {}, caller: { type: 'direct' } };
  }
}

function toDelta(block: AnswerBlock, text: string): object | undefined {
  switch (block.type) {
    case 'text':
      return { type: 'text_delta', text };
    case 'thinking':
      return block.isShown ? { type: 'thinking_delta', thinking: text } : undefined;
    case 'tool_use':
      return { type: 'input_json_delta', partial_json: text };
    case 'redacted_thinking':
      return undefined;
  }
}
