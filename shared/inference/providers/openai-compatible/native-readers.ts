import { omitUndefined } from '../../../core/objects.ts';
import type { FinishReason, GenerationEvent } from '../../generation.ts';
import { MessageEnding } from '../../message-ending.ts';
import { mapOutputItems } from '../../native-items.ts';
import { type AnswerReader, SERVICE_TIERS } from './answer.ts';
import type { AnswerEnding } from './ending.ts';
import { findInBandError, malformedAnswerError, type WireError } from './errors.ts';
import { createItemContinuation } from './native-reasoning.ts';
import { UsageReader } from './usage.ts';
import { asObject, asObjects, asText, type WireObject } from './wire.ts';

// The readers of native answers. Until a stream has an event with a part of the answer, another target can be tried, so the
// readers hold the events before it back.

/** Passes on the chunks of a chat completion. Also reads them as translated answers are read, to see whether it is whole. */
export class NativeChatReader {
  readonly #answer: AnswerReader;
  readonly #streamed: boolean;
  readonly #waiting: GenerationEvent[] = [];
  /** True if the upstream streams a buffered request, or the reverse. Its answer is then translated. */
  #isTranslated = false;

  constructor(answer: AnswerReader, streamed: boolean) {
    this.#answer = answer;
    this.#streamed = streamed;
  }

  get ending(): AnswerEnding {
    return this.#answer.ending;
  }

  get hasOutput(): boolean {
    return this.#answer.hasOutput;
  }

  get looksWhole(): boolean {
    return this.#answer.looksWhole;
  }

  read(chunk: WireObject, events: GenerationEvent[], isBuffered = false): void {
    this.#isTranslated ||= isBuffered === this.#streamed;
    const translated: GenerationEvent[] = [];
    this.#answer.read(chunk, translated, isBuffered);
    if (this.#isTranslated) {
      events.push(...translated);
      return;
    }
    this.#waiting.push({ type: 'native', event: chunk });
    if (this.hasOutput || this.ending.type !== 'none') events.push(...this.#waiting.splice(0));
  }

  finish(): GenerationEvent[] | undefined {
    const last = this.#answer.finish();
    if (last === undefined || this.#isTranslated) return last;
    return [...this.#waiting.splice(0), ...last.filter(({ type }) => type === 'finish')];
  }
}

/** The events with which a stream of a response begins. */
const FIRST_EVENTS: ReadonlySet<unknown> = new Set(['response.created', 'response.queued', 'response.in_progress']);

/** Passes on the events of a response's stream, or the response. */
export class NativeResponseReader {
  // An answer without its last event is incomplete, whatever it has.
  readonly hasOutput = true;
  readonly looksWhole = false;
  readonly #upstream: string;
  readonly #streamed: boolean;
  readonly #usage = new UsageReader();
  readonly #waiting: GenerationEvent[] = [];
  #ending: AnswerEnding = { type: 'none' };
  #final: WireObject = {};

  constructor(upstream: string, streamed: boolean) {
    this.#upstream = upstream;
    this.#streamed = streamed;
  }

  get ending(): AnswerEnding {
    return this.#ending;
  }

  /** True after the last event, which has the whole response. */
  get isOver(): boolean {
    return this.#ending.type !== 'none';
  }

  read(event: WireObject, events: GenerationEvent[], isBuffered = false): void {
    if (isBuffered && this.#streamed) throw wrongFormError();
    const isLast = isBuffered || LAST_EVENTS.has(event['type']);
    const response = isBuffered ? event : asObject(event['response']);
    if (isLast) this.#readFinal(response ?? {});
    // An event that looks like a regular end is not passed on if the response in it isn't whole.
    if (this.#ending.type === 'broken') return;
    // Of a stream in place of a buffered answer, only the response of the last event is passed on.
    const passed = isBuffered || this.#streamed ? event : isLast ? response : undefined;
    if (passed === undefined) return;
    const native = mapOutputItems(passed, (item) => createItemContinuation(item, this.#upstream));
    this.#waiting.push({ type: 'native', event: native });
    if (!FIRST_EVENTS.has(event['type'])) events.push(...this.#waiting.splice(0));
  }

  finish(): GenerationEvent[] {
    const tier = SERVICE_TIERS.get(this.#final['service_tier']);
    const reason = this.#ending.type === 'finished' ? this.#ending.reason : 'stop';
    return [{ type: 'finish', reason, usage: this.#usage.usage, ...omitUndefined({ serviceTier: tier }) }];
  }

  /** Finds an error in an event or a response. Unknown events may have any field, so only known places are read. */
  findError(event: WireObject, eventName?: string): WireError | undefined {
    const { type, error, status } = event;
    const response = asObject(event['response']);
    if (type === 'response.failed') return findInBandError({ error: response?.['error'] ?? UNKNOWN_FAILURE });
    if (status === 'failed') return findInBandError({ error: error ?? UNKNOWN_FAILURE });
    if (type === 'error' || eventName === 'error') return findInBandError(event, 'error');
    // A body with only an error.
    return type === undefined && error && event['object'] !== 'response' ? findInBandError({ error }) : undefined;
  }

  #readFinal(response: WireObject): void {
    this.#final = response;
    this.#usage.read(response);
    this.#ending = readResponseEnding(response);
  }
}

const LAST_EVENTS: ReadonlySet<unknown> = new Set(['response.completed', 'response.incomplete', 'response.cancelled']);

const UNKNOWN_FAILURE = { code: 'server_error' };

function readResponseEnding(response: WireObject): AnswerEnding {
  const status = asText(response['status']) ?? 'no status';
  const finished = (reason: FinishReason): AnswerEnding => ({ type: 'finished', reason, isCertain: true });
  if (status === 'completed') {
    const hasCalls = asObjects(response['output']).some(({ type }) => CALLS.has(type));
    return finished(hasCalls ? 'toolCalls' : 'stop');
  }
  if (status !== 'incomplete') return { type: 'broken', reason: status };
  const { reason } = asObject(response['incomplete_details']) ?? {};
  return finished(reason === 'content_filter' ? 'contentFilter' : 'length');
}

const CALLS: ReadonlySet<unknown> = new Set(['function_call', 'custom_tool_call']);

function wrongFormError(): Error {
  return malformedAnswerError('The upstream streamed the answer of a buffered request, or the reverse', 'nextTarget');
}

/** Passes on the events of a message's stream, or the message. */
export class NativeMessageReader {
  // As in `NativeResponseReader`.
  readonly hasOutput = true;
  readonly looksWhole = false;
  readonly #streamed: boolean;
  readonly #end = new MessageEnding();
  readonly #waiting: GenerationEvent[] = [];

  constructor(streamed: boolean) {
    this.#streamed = streamed;
  }

  get ending(): AnswerEnding {
    return this.#end.isComplete ? { type: 'finished', reason: 'stop', isCertain: true } : { type: 'none' };
  }

  get isOver(): boolean {
    return this.#end.isComplete;
  }

  read(event: WireObject, events: GenerationEvent[], isBuffered = false): void {
    if (isBuffered === this.#streamed) throw wrongFormError();
    if (isBuffered) this.#end.readMessage(event);
    else this.#end.read(event);
    this.#waiting.push({ type: 'native', event });
    if (event['type'] !== 'message_start' && event['type'] !== 'ping') events.push(...this.#waiting.splice(0));
  }

  finish(): GenerationEvent[] {
    return [this.#end.finish()];
  }

  findError(event: WireObject, eventName?: string): WireError | undefined {
    return event['type'] === 'error' || eventName === 'error' ? findInBandError(event, 'error') : undefined;
  }
}
