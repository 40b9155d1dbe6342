import type { LambentError } from '../../core/errors.ts';
import { getOrCreate } from '../../core/get-or-create.ts';
import { isObject } from '../../core/objects.ts';
import type { Continuation, GenerationEvent, Usage } from '../../inference/generation.ts';
import { mapOutputItems } from '../../inference/native-items.ts';
import { encodeReasoning } from '../../wire/continuation.ts';
import {
  encodeDataFrame,
  encodeStream,
  encodeTypedFrame,
  missingFinishError,
  type StreamEncoder,
} from '../../wire/sse.ts';
import {
  type EncodeResponseOptions,
  encodeFailure,
  failedResponse,
  getConversationId,
  inProgressResponse,
  type ResponseObject,
  type StoredAnswer,
} from './response.ts';

type Fields = Readonly<Record<string, unknown>>;

/**
 * Reads all events of a native answer, stores the response if required, and returns it.
 * @throws LambentError `upstream_cut` if the events end without `finish`, and every error of `events` and `commit`
 */
export async function encodeNativeResponse(
  events: AsyncIterable<GenerationEvent>,
  options: EncodeResponseOptions,
): Promise<ResponseObject> {
  const native = new NativeResponse(options, options.commit !== undefined);
  for await (const event of events) {
    if (event.type === 'native') native.read(event.event);
    if (event.type !== 'finish') continue;
    const answer = native.finish();
    await options.commit?.(answer, event.usage);
    return answer.answer;
  }
  throw missingFinishError();
}

/**
 * Encodes the events of a native answer as the frames of a response stream.
 * @returns whether the response is complete
 * @throws the same errors as `encodeStream`
 */
export function encodeNativeResponseStream(
  events: AsyncIterable<GenerationEvent>,
  options: EncodeResponseOptions,
): AsyncGenerator<string, boolean> {
  return encodeStream(events, new NativeEncoder(options));
}

class NativeEncoder implements StreamEncoder {
  readonly #options: EncodeResponseOptions;
  readonly #native: NativeResponse;
  /** The event that ends the stream. It is sent after the response has been stored. */
  #last: Fields | undefined;
  #usage: Usage | undefined;

  constructor(options: EncodeResponseOptions) {
    this.#options = options;
    this.#native = new NativeResponse(options, options.commit !== undefined);
  }

  encode(event: GenerationEvent): string {
    if (event.type === 'finish') this.#usage = event.usage;
    if (event.type !== 'native') return '';
    const own = this.#native.read(event.event);
    if (!this.#native.isFinished) return encodeFrame(own);
    this.#last ??= own;
    return '';
  }

  async end(): Promise<string> {
    if (this.#last === undefined) throw missingFinishError();
    await this.#options.commit?.(this.#native.finish(), this.#usage);
    return encodeFrame(this.#last);
  }

  async fail(error: LambentError): Promise<string> {
    const response = this.#native.fail(error);
    await this.#options.commitFailure?.({ answer: response, continuations: {} }, error);
    const next = this.#native.sequenceNumber + 1;
    return [encodeFailure(error), { type: 'response.failed', response }]
      .map((event, index) => encodeTypedFrame({ ...event, sequence_number: next + index }))
      .join('');
  }
}

function encodeFrame(event: Fields): string {
  const { type } = event;
  return typeof type === 'string' ? encodeTypedFrame({ ...event, type }) : encodeDataFrame(JSON.stringify(event));
}

/**
 * A native response. It is unchanged except for the fields that Lambent sets: the response's id, the model's name, the
 * fields about storage, and, if it is stored, the ids of its items.
 */
export class NativeResponse {
  readonly #options: EncodeResponseOptions;
  readonly #isStored: boolean;
  readonly #head: Fields;
  /** Lambent's ids of the items, by the upstream's; by `#` and the item's position for items without an id. */
  readonly #ids = new Map<string, string>();
  readonly #continuations: Record<string, string> = {};
  /** The items by their index, which may be any number. */
  readonly #items = new Map<number, Fields>();
  #response: Fields;
  #isFinished = false;
  #sequenceNumber = -1;

  /** @param isStored whether the items are stored, so that they need ids of this service */
  constructor(options: EncodeResponseOptions, isStored: boolean) {
    this.#options = options;
    this.#isStored = isStored;
    this.#head = createHead(options);
    this.#response = this.#head;
  }

  /** True if the whole response has been read. */
  get isFinished(): boolean {
    return this.#isFinished;
  }

  /** The number of the latest event; -1 before the first. */
  get sequenceNumber(): number {
    return this.#sequenceNumber;
  }

  /** Reads an event of the upstream's stream, or a whole response, and returns it as the caller gets it. */
  read(event: Fields): Fields {
    if (typeof event['sequence_number'] === 'number') this.#sequenceNumber = event['sequence_number'];
    const own = this.#renameItemId(this.#encodeItems(event));
    if (
      isObject(own['response']) &&
      (own['response']['object'] === 'response' || LIFECYCLE.test(String(own['type'])))
    ) {
      this.#response = { ...own['response'], ...this.#head };
      this.#isFinished ||= ENDS.test(String(own['type'])) && isWhole(this.#response);
      return { ...own, response: this.#response };
    }
    if (own['object'] === 'response') {
      this.#response = { ...own, ...this.#head };
      this.#isFinished ||= isWhole(this.#response);
      return this.#response;
    }
    const { item, output_index: index } = own;
    if (own['type'] === 'response.output_item.done' && isObject(item) && typeof index === 'number')
      this.#items.set(index, item);
    return own;
  }

  /**
   * Returns the whole response in its stored form.
   * @throws LambentError `upstream_cut` if it has not been read
   */
  finish(): StoredAnswer {
    if (!this.#isFinished) throw missingFinishError();
    const { output } = this.#response;
    // Some upstreams leave the items out at the end of a stream that had them.
    const hasItems = Array.isArray(output) && output.length > 0;
    const answer = hasItems ? this.#response : { ...this.#response, output: this.#listItems() };
    const upstreamIds = Object.fromEntries(
      [...this.#ids].map(([theirs, ours]) => [ours, theirs.startsWith('#') ? '' : theirs]),
    );
    return {
      answer: answer as unknown as ResponseObject,
      continuations: this.#continuations,
      ...(this.#isStored && { upstreamIds }),
    };
  }

  /** Returns the response with status `failed`, as far as it was read. */
  fail(error: LambentError): ResponseObject {
    const begun = { ...inProgressResponse(this.#options), ...this.#response } as unknown as ResponseObject;
    return { ...failedResponse(begun, error), output: this.#listItems() as unknown as ResponseObject['output'] };
  }

  #listItems(): Fields[] {
    return [...this.#items].sort(([first], [second]) => first - second).map(([, item]) => item);
  }

  #encodeItems(event: Fields): Fields {
    const first = typeof event['output_index'] === 'number' ? event['output_index'] : 0;
    let index = first;
    return mapOutputItems(event, (item) => {
      const own = this.#isStored ? { ...item, id: this.#toOwnId(item['id'], index) } : item;
      index += 1;
      return this.#encodeContinuation(own);
    });
  }

  #renameItemId(event: Fields): Fields {
    const { item_id: id, output_index: index } = event;
    if (!this.#isStored || typeof id !== 'string') return event;
    return { ...event, item_id: this.#toOwnId(id, typeof index === 'number' ? index : 0) };
  }

  #toOwnId(theirs: unknown, index: number): string {
    const hasId = typeof theirs === 'string' && theirs !== '';
    const key = hasId ? theirs : `#${index}`;
    return getOrCreate(this.#ids, key, () => {
      const prefix = (hasId ? /^[a-z]{1,16}(?=_)/.exec(theirs)?.[0] : undefined) ?? 'item';
      return `${prefix}_${this.#options.createItemId()}`;
    });
  }

  /** Records an item's continuation for the next turn. Returns the item with it if the caller includes it, or without. */
  #encodeContinuation(item: Fields): Fields {
    const { encrypted_content: continuation, ...rest } = item;
    if (!isObject(continuation)) return item;
    const encoded = encodeReasoning('', continuation as unknown as Continuation);
    if (encoded !== undefined && typeof item['id'] === 'string') this.#continuations[item['id']] = encoded;
    return this.#options.includeContinuations ? { ...rest, encrypted_content: encoded ?? null } : rest;
  }
}

/** The types of events that have the response. */
const LIFECYCLE = /^response\.(created|queued|in_progress|completed|incomplete|failed)$/;

/** The types of events that have the whole response. */
const ENDS = /^response\.(completed|incomplete)$/;

/** Returns whether an event has the response. A job writes such events itself. */
export function isLifecycleEvent({ type, object }: Fields): boolean {
  return object === 'response' || LIFECYCLE.test(String(type));
}

function isWhole({ status }: Fields): boolean {
  return status === 'completed' || status === 'incomplete';
}

/** Returns the fields of a response that Lambent sets itself. */
function createHead({ body, id, createdAt, stored = false }: EncodeResponseOptions): Fields {
  const conversation = getConversationId(body);
  return {
    id,
    object: 'response',
    model: body.model,
    store: stored,
    background: body.background ?? false,
    metadata: { ...body.metadata },
    previous_response_id: body.previous_response_id ?? null,
    ...(conversation !== undefined && { conversation: { id: conversation } }),
    // The caller got this time with the queued response, before the upstream created its own.
    ...(body.background && { created_at: createdAt }),
  };
}
