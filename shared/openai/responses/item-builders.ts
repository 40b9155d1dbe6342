import type {
  ResponseCompactionItem,
  ResponseOutputMessage,
  ResponseOutputRefusal,
  ResponseOutputText,
  ResponseReasoningItem,
  ResponseStreamEvent,
} from 'openai/resources/responses/responses';
import type { Continuation, TokenLogprob } from '../../inference/generation.ts';
import { encodeReasoning } from '../../wire/continuation.ts';
import { SurrogatePairBuffer } from '../../wire/surrogate-pair-buffer.ts';

/** An item that stands for a compacted context. */
export type CompactionItem = Pick<ResponseCompactionItem, 'id' | 'type' | 'encrypted_content'>;

/** A typed event of the API, without its sequence number. */
export type OutputEvent = WithoutSequenceNumber<ResponseStreamEvent>;
type WithoutSequenceNumber<T> = T extends unknown ? Omit<T, 'sequence_number'> : never;

/** Receives every event, in order. It must serialize the event at once, because the objects in it keep changing. */
export type EmitEvent = (event: OutputEvent) => void;

/** The final status of an item. */
export type EndStatus = 'completed' | 'incomplete';

/** An item's position in the output, and the receiver of its events. */
export interface ItemPosition {
  /** The item's id without its prefix. */
  readonly id: string;
  readonly output_index: number;
  readonly emit: EmitEvent;
}

/** Builds a message item. Text and refusals become separate parts. */
export class MessageBuilder {
  readonly item: ResponseOutputMessage;
  readonly #position: ItemPosition;
  #part: PartBuilder | undefined;

  constructor(position: ItemPosition) {
    this.#position = position;
    this.item = { id: `msg_${position.id}`, type: 'message', status: 'in_progress', role: 'assistant', content: [] };
  }

  addText(text: string, logprobs: readonly TokenLogprob[] | undefined): void {
    const part =
      this.#part?.type === 'output_text'
        ? this.#part
        : this.#startPart(
            (position) =>
              new TextPartBuilder(position, { type: 'output_text', annotations: [], logprobs: [], text: '' }),
          );
    part.add(text, logprobs);
  }

  addRefusal(text: string): void {
    const part =
      this.#part?.type === 'refusal'
        ? this.#part
        : this.#startPart((position) => new RefusalPartBuilder(position, { type: 'refusal', refusal: '' }));
    part.add(text);
  }

  end(status: EndStatus): void {
    this.#endPart();
    this.item.status = status;
    this.#position.emit({
      type: 'response.output_item.done',
      output_index: this.#position.output_index,
      item: this.item,
    });
  }

  #startPart<T extends PartBuilder>(create: (position: PartPosition) => T): T {
    this.#endPart();
    const { output_index, emit } = this.#position;
    const fields = { item_id: this.item.id, output_index, content_index: this.item.content.length };
    const builder = create({ fields, emit });
    this.#part = builder;
    this.item.content.push(builder.part);
    emit({ type: 'response.content_part.added', ...fields, part: builder.part });
    return builder;
  }

  #endPart(): void {
    if (this.#part === undefined) return;
    const { position, part } = this.#part;
    this.#part.end();
    position.emit({ type: 'response.content_part.done', ...position.fields, part });
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
  readonly position: PartPosition;
  readonly part: ResponseOutputText;
  readonly #logprobs: ResponseOutputText.Logprob[] = [];
  readonly #buffer = new SurrogatePairBuffer();

  constructor(position: PartPosition, part: ResponseOutputText) {
    this.position = position;
    this.part = part;
  }

  add(text: string, logprobs: readonly TokenLogprob[] | undefined): void {
    this.#append(this.#buffer.push(text), (logprobs ?? []).map(encodeLogprob));
  }

  end(): void {
    this.#append(this.#buffer.flush(), []);
    this.part.logprobs = this.#logprobs;
    this.position.emit({
      type: 'response.output_text.done',
      ...this.position.fields,
      text: this.part.text,
      logprobs: this.#logprobs,
    });
  }

  #append(delta: string, logprobs: ResponseOutputText.Logprob[]): void {
    if (delta === '' && logprobs.length === 0) return;
    this.part.text += delta;
    this.#logprobs.push(...logprobs);
    this.position.emit({ type: 'response.output_text.delta', ...this.position.fields, delta, logprobs });
  }
}

class RefusalPartBuilder {
  readonly type = 'refusal';
  readonly position: PartPosition;
  readonly part: ResponseOutputRefusal;
  readonly #buffer = new SurrogatePairBuffer();

  constructor(position: PartPosition, part: ResponseOutputRefusal) {
    this.position = position;
    this.part = part;
  }

  add(text: string): void {
    this.#append(this.#buffer.push(text));
  }

  end(): void {
    this.#append(this.#buffer.flush());
    this.position.emit({ type: 'response.refusal.done', ...this.position.fields, refusal: this.part.refusal });
  }

  #append(delta: string): void {
    if (delta === '') return;
    this.part.refusal += delta;
    this.position.emit({ type: 'response.refusal.delta', ...this.position.fields, delta });
  }
}

export interface ReasoningOptions {
  /** Whether the reasoning text is returned, as a summary. */
  readonly reasoningSummary: boolean;
  /** Whether the item has `encrypted_content`, which a stateless caller sends back. */
  readonly includeContinuations: boolean;
  /** Receives every encoded continuation, even if the item doesn't include it: stored responses need them all. */
  readonly recordContinuation?: ((itemId: string, continuation: string) => void) | undefined;
}

/** Builds a reasoning item. */
export class ReasoningBuilder {
  readonly item: ResponseReasoningItem;
  readonly #position: ItemPosition;
  readonly #options: ReasoningOptions;
  readonly #buffer = new SurrogatePairBuffer();
  /** The provider's exact text, which its signature covers. */
  #originalText = '';
  #summary: { type: 'summary_text'; text: string } | undefined;

  constructor(position: ItemPosition, options: ReasoningOptions) {
    this.#position = position;
    this.#options = options;
    this.item = { id: `rs_${position.id}`, type: 'reasoning', summary: [] };
  }

  addText(text: string): void {
    this.#originalText += text;
    if (this.#options.reasoningSummary) this.#appendSummary(this.#buffer.push(text));
  }

  end(continuation: Continuation | undefined): void {
    this.#appendSummary(this.#buffer.flush());
    if (this.#summary) {
      this.#position.emit({
        type: 'response.reasoning_summary_text.done',
        ...this.#fields(),
        text: this.#summary.text,
      });
      this.#position.emit({ type: 'response.reasoning_summary_part.done', ...this.#fields(), part: this.#summary });
    }
    const { includeContinuations, recordContinuation } = this.#options;
    const isNeeded = includeContinuations || recordContinuation !== undefined;
    const encoded = continuation && isNeeded ? encodeReasoning(this.#originalText, continuation) : undefined;
    if (includeContinuations) this.item.encrypted_content = encoded ?? null;
    if (encoded !== undefined) recordContinuation?.(this.item.id, encoded);
    this.#position.emit({
      type: 'response.output_item.done',
      output_index: this.#position.output_index,
      item: this.item,
    });
  }

  #appendSummary(delta: string): void {
    if (delta === '') return;
    if (this.#summary === undefined) {
      this.#summary = { type: 'summary_text', text: '' };
      this.item.summary.push(this.#summary);
      this.#position.emit({ type: 'response.reasoning_summary_part.added', ...this.#fields(), part: this.#summary });
    }
    this.#summary.text += delta;
    this.#position.emit({ type: 'response.reasoning_summary_text.delta', ...this.#fields(), delta });
  }

  #fields() {
    return { item_id: this.item.id, output_index: this.#position.output_index, summary_index: 0 };
  }
}

function encodeLogprob({ token, logprob, bytes, alternatives }: TokenLogprob): ResponseOutputText.Logprob {
  return {
    token,
    logprob,
    bytes: [...(bytes ?? [])],
    top_logprobs: alternatives.map((alternative) => ({ ...alternative, bytes: [...(alternative.bytes ?? [])] })),
  };
}
