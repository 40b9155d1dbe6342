import type {
  ResponseFunctionToolCallItem,
  ResponseOutputMessage,
  ResponseOutputRefusal,
  ResponseOutputText,
  ResponseReasoningItem,
  ResponseStreamEvent,
} from 'openai/resources/responses/responses';
import type { Continuation, TokenLogprob } from '../../inference/generation.ts';
import { encodeReasoning } from '../continuation.ts';
import { SurrogatePairBuffer } from '../surrogate-pair-buffer.ts';

/** One of the API's typed events, before it gets its number. */
export type OutputEvent = WithoutNumber<ResponseStreamEvent>;
type WithoutNumber<T> = T extends unknown ? Omit<T, 'sequence_number'> : never;

/** Hears of every change, in order. What an event holds goes on changing: it is to be written down at once. */
export type EmitEvent = (event: OutputEvent) => void;

/** How an item ended. */
export type EndStatus = 'completed' | 'incomplete';

/** Where an item stands, and who hears of it. */
export interface ItemPosition {
  readonly id: string;
  readonly output_index: number;
  readonly emit: EmitEvent;
}

/** A message that is being written: text and refusals, each a part of its own. */
export class MessageBuilder {
  readonly item: ResponseOutputMessage;
  readonly #at: ItemPosition;
  #part: PartBuilder | undefined;

  constructor(at: ItemPosition) {
    this.#at = at;
    this.item = { id: `msg_${at.id}`, type: 'message', status: 'in_progress', role: 'assistant', content: [] };
  }

  text(text: string, logprobs: readonly TokenLogprob[] | undefined): void {
    const part =
      this.#part?.type === 'output_text'
        ? this.#part
        : this.#open(
            new TextPartBuilder(this.#place(), { type: 'output_text', annotations: [], logprobs: [], text: '' }),
          );
    part.add(text, logprobs);
  }

  refusal(text: string): void {
    const part =
      this.#part?.type === 'refusal'
        ? this.#part
        : this.#open(new RefusalPartBuilder(this.#place(), { type: 'refusal', refusal: '' }));
    part.add(text);
  }

  end(status: EndStatus): void {
    this.#closePart();
    this.item.status = status;
    this.#at.emit({ type: 'response.output_item.done', output_index: this.#at.output_index, item: this.item });
  }

  #place(): PartPosition {
    const { output_index, emit } = this.#at;
    this.#closePart();
    return { fields: { item_id: this.item.id, output_index, content_index: this.item.content.length }, emit };
  }

  #open<T extends PartBuilder>(opened: T): T {
    this.#part = opened;
    this.item.content.push(opened.part);
    opened.at.emit({ type: 'response.content_part.added', ...opened.at.fields, part: opened.part });
    return opened;
  }

  #closePart(): void {
    if (this.#part === undefined) return;
    const { at, part } = this.#part;
    this.#part.end();
    at.emit({ type: 'response.content_part.done', ...at.fields, part });
    this.#part = undefined;
  }
}

type PartBuilder = TextPartBuilder | RefusalPartBuilder;

interface PartPosition {
  readonly fields: { readonly item_id: string; readonly output_index: number; readonly content_index: number };
  readonly emit: EmitEvent;
}

class TextPartBuilder {
  readonly type = 'output_text';
  readonly at: PartPosition;
  readonly part: ResponseOutputText;
  readonly #logprobs: ResponseOutputText.Logprob[] = [];
  readonly #characters = new SurrogatePairBuffer();

  constructor(at: PartPosition, part: ResponseOutputText) {
    this.at = at;
    this.part = part;
  }

  add(text: string, logprobs: readonly TokenLogprob[] | undefined): void {
    this.#append(this.#characters.push(text), (logprobs ?? []).map(outputLogprob));
  }

  end(): void {
    this.#append(this.#characters.flush(), []);
    this.part.logprobs = this.#logprobs;
    this.at.emit({
      type: 'response.output_text.done',
      ...this.at.fields,
      text: this.part.text,
      logprobs: this.#logprobs,
    });
  }

  #append(delta: string, logprobs: ResponseOutputText.Logprob[]): void {
    if (delta === '' && logprobs.length === 0) return;
    this.part.text += delta;
    this.#logprobs.push(...logprobs);
    this.at.emit({ type: 'response.output_text.delta', ...this.at.fields, delta, logprobs });
  }
}

class RefusalPartBuilder {
  readonly type = 'refusal';
  readonly at: PartPosition;
  readonly part: ResponseOutputRefusal;
  readonly #characters = new SurrogatePairBuffer();

  constructor(at: PartPosition, part: ResponseOutputRefusal) {
    this.at = at;
    this.part = part;
  }

  add(text: string): void {
    this.#append(this.#characters.push(text));
  }

  end(): void {
    this.#append(this.#characters.flush());
    this.at.emit({ type: 'response.refusal.done', ...this.at.fields, refusal: this.part.refusal });
  }

  #append(delta: string): void {
    if (delta === '') return;
    this.part.refusal += delta;
    this.at.emit({ type: 'response.refusal.delta', ...this.at.fields, delta });
  }
}

export interface ReasoningOptions {
  /** Whether the text is shown, as a summary. */
  readonly reasoningSummary: boolean;
  /** Whether the item carries what the caller has to bring back. */
  readonly continuations: boolean;
  /** Hears what has to be brought back, shown or not: who stores an answer keeps it with the item. */
  readonly keep?: ((itemId: string, continuation: string) => void) | undefined;
}

/** A block of the model's reasoning that is being written. */
export class ReasoningBuilder {
  readonly item: ResponseReasoningItem;
  readonly #at: ItemPosition;
  readonly #options: ReasoningOptions;
  readonly #characters = new SurrogatePairBuffer();
  /** What the provider said, to the letter: its signature is over that. */
  #said = '';
  #shown: { type: 'summary_text'; text: string } | undefined;

  constructor(at: ItemPosition, options: ReasoningOptions) {
    this.#at = at;
    this.#options = options;
    this.item = { id: `rs_${at.id}`, type: 'reasoning', summary: [] };
  }

  text(text: string): void {
    this.#said += text;
    if (this.#options.reasoningSummary) this.#show(this.#characters.push(text));
  }

  end(continuation: Continuation | undefined): void {
    this.#show(this.#characters.flush());
    if (this.#shown) {
      this.#at.emit({ type: 'response.reasoning_summary_text.done', ...this.#fields(), text: this.#shown.text });
      this.#at.emit({ type: 'response.reasoning_summary_part.done', ...this.#fields(), part: this.#shown });
    }
    const { continuations, keep } = this.#options;
    const sealed = continuation && (continuations || keep) ? encodeReasoning(this.#said, continuation) : undefined;
    if (continuations) this.item.encrypted_content = sealed ?? null;
    if (sealed !== undefined) keep?.(this.item.id, sealed);
    this.#at.emit({ type: 'response.output_item.done', output_index: this.#at.output_index, item: this.item });
  }

  #show(delta: string): void {
    if (delta === '') return;
    if (this.#shown === undefined) {
      this.#shown = { type: 'summary_text', text: '' };
      this.item.summary.push(this.#shown);
      this.#at.emit({ type: 'response.reasoning_summary_part.added', ...this.#fields(), part: this.#shown });
    }
    this.#shown.text += delta;
    this.#at.emit({ type: 'response.reasoning_summary_text.delta', ...this.#fields(), delta });
  }

  #fields() {
    return { item_id: this.item.id, output_index: this.#at.output_index, summary_index: 0 };
  }
}

/** A function call whose arguments are being written. */
export class FunctionCallBuilder {
  readonly item: ResponseFunctionToolCallItem;
  readonly #at: ItemPosition;
  readonly #characters = new SurrogatePairBuffer();

  constructor(at: ItemPosition, callId: string, name: string) {
    this.#at = at;
    this.item = {
      id: `fc_${at.id}`,
      type: 'function_call',
      status: 'in_progress',
      call_id: callId,
      name,
      arguments: '',
    };
  }

  add(fragment: string): void {
    this.#append(this.#characters.push(fragment));
  }

  end(status: EndStatus): void {
    this.#append(this.#characters.flush());
    this.item.status = status;
    const { output_index, emit } = this.#at;
    const fields = { item_id: this.item.id, output_index, name: this.item.name, arguments: this.item.arguments };
    emit({ type: 'response.function_call_arguments.done', ...fields });
    emit({ type: 'response.output_item.done', output_index, item: this.item });
  }

  #append(delta: string): void {
    if (delta === '') return;
    this.item.arguments += delta;
    const { output_index, emit } = this.#at;
    emit({ type: 'response.function_call_arguments.delta', item_id: this.item.id, output_index, delta });
  }
}

function outputLogprob({ token, logprob, bytes, alternatives }: TokenLogprob): ResponseOutputText.Logprob {
  return {
    token,
    logprob,
    bytes: [...(bytes ?? [])],
    top_logprobs: alternatives.map((alternative) => ({ ...alternative, bytes: [...(alternative.bytes ?? [])] })),
  };
}
