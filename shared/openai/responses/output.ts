import type { ResponseOutputItem } from 'openai/resources/responses/responses';
import type { GenerationEvent, Tool } from '../../inference/generation.ts';
import { type CallBuilder, createCallBuilder } from './call-builders.ts';
import {
  type CompactionItem,
  type EmitEvent,
  type EndStatus,
  type ItemPosition,
  MessageBuilder,
  ReasoningBuilder,
  type ReasoningOptions,
} from './item-builders.ts';

export interface OutputOptions extends ReasoningOptions {
  /** Returns the next item id without the prefix that names the item's type. */
  readonly createItemId: () => string;
  /** The tools of the request, which say how the caller knows those that the model calls. */
  readonly tools: readonly Tool[];
  /** Whether the request asks for log probabilities. */
  readonly includeLogprobs: boolean;
  readonly emit: EmitEvent;
  /** The first item, which precedes what the model generates. Absent if the context was not compacted. */
  readonly compaction?: CompactionItem;
}

/**
 * Builds the output items of a response from a model's events. Consecutive text and refusals form one message. Calls
 * of tools stay open until the end, because the arguments of several calls may be interleaved.
 */
export class ResponseOutput {
  readonly items: ResponseOutputItem[] = [];
  readonly #options: OutputOptions;
  readonly #calls: CallBuilder[] = [];
  /** The open message. At most one message or reasoning item is open. */
  #message: MessageBuilder | undefined;
  #reasoning: ReasoningBuilder | undefined;

  constructor(options: OutputOptions) {
    this.#options = options;
  }

  /** Emits the compaction item, if there is one. Call it once, before any `add`. */
  start(): void {
    const { compaction: item, emit } = this.#options;
    if (item === undefined) return;
    this.items.push(item);
    emit({ type: 'response.output_item.added', output_index: 0, item });
    emit({ type: 'response.output_item.done', output_index: 0, item });
  }

  add(event: Exclude<GenerationEvent, { type: 'finish' }>): void {
    switch (event.type) {
      case 'text': {
        const logprobs = this.#options.includeLogprobs ? (event.logprobs ?? []) : [];
        if (event.text !== '' || logprobs.length > 0) this.#openMessage().addText(event.text, logprobs);
        return;
      }
      case 'refusal':
        if (event.text !== '') this.#openMessage().addRefusal(event.text);
        return;
      case 'reasoning':
        if (event.text !== '') this.#openReasoning().addText(event.text);
        return;
      case 'reasoningEnd':
        // Fully redacted reasoning has a continuation but no text.
        if (event.continuation) this.#openReasoning();
        this.#reasoning?.end(event.continuation);
        this.#reasoning = undefined;
        return;
      case 'toolCall':
        this.#endMessageOrReasoning('completed');
        this.#calls[event.index] = this.#startItem((position) =>
          createCallBuilder(
            position,
            event,
            this.#options.tools.find(({ name }) => name === event.name),
          ),
        );
        return;
      case 'toolArguments':
        this.#calls[event.index]?.add(event.fragment);
        return;
      case 'native':
        return;
    }
  }

  /** Ends all open items. Only the last item of an incomplete response becomes `incomplete`. */
  end(status: EndStatus): void {
    const last = this.items.at(-1);
    this.#endMessageOrReasoning(this.#message?.item === last ? status : 'completed');
    for (const call of this.#calls) call.end(call.item === last ? status : 'completed');
  }

  #openMessage(): MessageBuilder {
    if (this.#message) return this.#message;
    this.#endMessageOrReasoning('completed');
    this.#message = this.#startItem((position) => new MessageBuilder(position));
    return this.#message;
  }

  #openReasoning(): ReasoningBuilder {
    if (this.#reasoning) return this.#reasoning;
    this.#endMessageOrReasoning('completed');
    this.#reasoning = this.#startItem((position) => new ReasoningBuilder(position, this.#options));
    return this.#reasoning;
  }

  #endMessageOrReasoning(status: EndStatus): void {
    this.#message?.end(status);
    this.#message = undefined;
    this.#reasoning?.end(undefined);
    this.#reasoning = undefined;
  }

  #startItem<T extends { readonly item: ResponseOutputItem }>(create: (position: ItemPosition) => T): T {
    const { createItemId, emit } = this.#options;
    const output_index = this.items.length;
    const builder = create({ id: createItemId(), output_index, emit });
    this.items.push(builder.item);
    emit({ type: 'response.output_item.added', output_index, item: builder.item });
    return builder;
  }
}
