import type { ResponseOutputItem } from 'openai/resources/responses/responses';
import type { GenerationEvent } from '../../inference/generation.ts';
import {
  type EmitEvent,
  type EndStatus,
  FunctionCallBuilder,
  type ItemPosition,
  MessageBuilder,
  ReasoningBuilder,
  type ReasoningOptions,
} from './item-builders.ts';

export interface OutputOptions extends ReasoningOptions {
  /** Makes the variable part of an item's id. */
  readonly ids: () => string;
  /** Whether log probabilities were asked for. */
  readonly logprobs: boolean;
  readonly emit: EmitEvent;
}

type Piece = Exclude<GenerationEvent, { type: 'finish' }>;

/**
 * The output items of a response as they grow out of an answer's events. Text and refusals fill one message until
 * something else comes; a function call stays open to the end, since the arguments of several may come interleaved.
 */
export class ResponseOutput {
  readonly items: ResponseOutputItem[] = [];
  readonly #options: OutputOptions;
  readonly #calls: FunctionCallBuilder[] = [];
  /** The message or the reasoning that further pieces go to. */
  #message: MessageBuilder | undefined;
  #reasoning: ReasoningBuilder | undefined;

  constructor(options: OutputOptions) {
    this.#options = options;
  }

  add(event: Piece): void {
    switch (event.type) {
      case 'text': {
        const logprobs = this.#options.logprobs ? (event.logprobs ?? []) : [];
        if (event.text !== '' || logprobs.length > 0) this.#openMessage().text(event.text, logprobs);
        return;
      }
      case 'refusal':
        if (event.text !== '') this.#openMessage().refusal(event.text);
        return;
      case 'reasoning':
        if (event.text !== '') this.#openReasoning().text(event.text);
        return;
      case 'reasoningEnd':
        // Reasoning that is all redacted has a continuation and no text.
        if (event.continuation) this.#openReasoning();
        this.#reasoning?.end(event.continuation);
        this.#reasoning = undefined;
        return;
      case 'toolCall':
        this.#closeCurrent('completed');
        this.#calls[event.index] = this.#open((at) => new FunctionCallBuilder(at, event.id, event.name));
        return;
      case 'toolArguments':
        this.#calls[event.index]?.add(event.fragment);
        return;
    }
  }

  /** Closes what is open. Where the whole is `incomplete`, so is its last item. */
  end(status: EndStatus): void {
    const last = this.items.at(-1);
    this.#closeCurrent(this.#message?.item === last ? status : 'completed');
    for (const call of this.#calls) call.end(call.item === last ? status : 'completed');
  }

  #openMessage(): MessageBuilder {
    if (this.#message) return this.#message;
    this.#closeCurrent('completed');
    this.#message = this.#open((at) => new MessageBuilder(at));
    return this.#message;
  }

  #openReasoning(): ReasoningBuilder {
    if (this.#reasoning) return this.#reasoning;
    this.#closeCurrent('completed');
    this.#reasoning = this.#open((at) => new ReasoningBuilder(at, this.#options));
    return this.#reasoning;
  }

  #closeCurrent(status: EndStatus): void {
    this.#message?.end(status);
    this.#message = undefined;
    this.#reasoning?.end(undefined);
    this.#reasoning = undefined;
  }

  #open<T extends { readonly item: ResponseOutputItem }>(make: (at: ItemPosition) => T): T {
    const { ids, emit } = this.#options;
    const output_index = this.items.length;
    const opened = make({ id: ids(), output_index, emit });
    this.items.push(opened.item);
    emit({ type: 'response.output_item.added', output_index, item: opened.item });
    return opened;
  }
}
