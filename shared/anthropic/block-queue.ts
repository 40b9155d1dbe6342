import { LambentError } from '../core/errors.ts';
import type { Continuation, GenerationEvent } from '../inference/generation.ts';
import { encodeReasoning } from '../wire/continuation.ts';
import { UNNEEDED } from './messages.ts';

/** A content block of an answer. `text` is what it has so far: text, thinking, or a tool's input as JSON text. */
export type AnswerBlock =
  | { readonly type: 'text'; text: string }
  | { readonly type: 'thinking'; text: string; readonly isShown: boolean; signature: string; isEnded: boolean }
  | { readonly type: 'redacted_thinking'; readonly data: string }
  | { readonly type: 'tool_use'; readonly id: string; readonly name: string; text: string };

/** Receives the blocks, one after another. */
export interface BlockListener {
  beginBlock(block: AnswerBlock): void;
  /** Called with each further piece of the block's text. */
  addText(block: AnswerBlock, text: string): void;
  endBlock(block: AnswerBlock): void;
}

/**
 * Orders a model's events into content blocks. Blocks of this API follow one another, but a model may write several tool
 * calls at once: a block that begins while a call isn't finished waits until it is.
 */
export class BlockQueue {
  readonly #listener: BlockListener;
  readonly #isThinkingShown: boolean;
  readonly #calls: Extract<AnswerBlock, { type: 'tool_use' }>[] = [];
  /** The blocks that are not finished. The first has begun. */
  #waiting: AnswerBlock[] = [];
  #isRefused = false;

  /** @param isThinkingShown false if thinking blocks have only their signature */
  constructor(listener: BlockListener, isThinkingShown: boolean) {
    this.#listener = listener;
    this.#isThinkingShown = isThinkingShown;
  }

  /** True if the model refused to answer. */
  get isRefused(): boolean {
    return this.#isRefused;
  }

  /**
   * Adds an event.
   * @throws LambentError `upstream_malformed` for a piece of a tool call that seemed complete
   */
  add(event: Exclude<GenerationEvent, { type: 'finish' | 'native' }>): void {
    switch (event.type) {
      case 'refusal':
        this.#isRefused = true;
        this.#addText(event.text);
        break;
      case 'text':
        this.#addText(event.text);
        break;
      case 'reasoning':
        this.#addThinking(event.text);
        break;
      case 'reasoningEnd':
        this.#endThinking(event.continuation);
        break;
      case 'toolCall':
        this.#addCall(event);
        break;
      case 'toolArguments': {
        const call = this.#calls[event.index];
        if (call !== undefined) this.#append(call, event.fragment);
      }
    }
  }

  /** Ends all blocks. */
  finish(): void {
    while (this.#waiting.length > 0) this.#shift();
  }

  #addText(text: string): void {
    if (text === '') return;
    const last = this.#waiting.at(-1);
    if (last?.type === 'text') this.#append(last, text);
    else this.#push({ type: 'text', text }, text);
  }

  #addThinking(text: string): void {
    if (text === '') return;
    const last = this.#waiting.at(-1);
    if (last?.type === 'thinking' && !last.isEnded) this.#append(last, text);
    else this.#push({ type: 'thinking', text, isShown: this.#isThinkingShown, signature: '', isEnded: false }, text);
  }

  #addCall({ index, id, name }: Extract<GenerationEvent, { type: 'toolCall' }>): void {
    const call: AnswerBlock = { type: 'tool_use', id, name, text: '' };
    this.#calls[index] = call;
    this.#push(call);
  }

  #endThinking(continuation: Continuation | undefined): void {
    const last = this.#waiting.at(-1);
    if (last?.type === 'thinking' && !last.isEnded) {
      last.isEnded = true;
      last.signature = encodeReasoning(last.text, continuation ?? { provider: UNNEEDED, data: null }) ?? '';
      return;
    }
    // Fully redacted reasoning has a continuation but no text.
    const data = continuation && encodeReasoning('', continuation);
    if (data !== undefined) this.#push({ type: 'redacted_thinking', data });
  }

  #append(block: Exclude<AnswerBlock, { type: 'redacted_thinking' }>, text: string): void {
    if (!this.#waiting.includes(block)) {
      if (text.trim() === '') return;
      throw new LambentError('upstream_malformed', 'A tool call continued after its arguments were complete');
    }
    block.text += text;
    if (this.#waiting[0] === block) this.#listener.addText(block, text);
  }

  #push(block: AnswerBlock, text = ''): void {
    while (this.#waiting[0] !== undefined && isComplete(this.#waiting[0])) this.#shift();
    this.#waiting.push(block);
    if (this.#waiting.length > 1) return;
    this.#listener.beginBlock(block);
    if (text !== '') this.#listener.addText(block, text);
  }

  /** Ends the first block, and begins the next with what it has so far. */
  #shift(): void {
    const [ended, ...rest] = this.#waiting;
    this.#waiting = rest;
    if (ended !== undefined) this.#listener.endBlock(ended);
    const [next] = rest;
    if (next === undefined) return;
    this.#listener.beginBlock(next);
    if (next.type !== 'redacted_thinking' && next.text !== '') this.#listener.addText(next, next.text);
  }
}

/** True if nothing can be added to a block when another one has begun. */
function isComplete(block: AnswerBlock): boolean {
  if (block.type !== 'tool_use') return true;
  try {
    JSON.parse(block.text);
    return true;
  } catch {
    return false;
  }
}
