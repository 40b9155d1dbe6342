import { isObject, omitUndefined } from '../../../core/objects.ts';
import type { FinishReason, GenerationEvent, ServiceTier, TokenLogprob } from '../../generation.ts';
import { type AnswerEnding, readEnding } from './ending.ts';
import { appendDetails, createContinuation, type ReasoningPlace, readReasoning } from './reasoning.ts';
import { type ContentPiece, ThinkTagSplitter } from './think-tags.ts';
import { type AnswerOptions, ToolCallAssembler } from './tool-calls.ts';
import { UsageReader } from './usage.ts';
import { asObject, asObjects, asText, type WireObject } from './wire.ts';

/** With fewer characters or pieces, a model could be repeating itself. */
const SHORTEST_REPETITION = 24;
const FEWEST_PIECES = 3;

/**
 * Converts one answer, as stream chunks or as one buffered completion, to generation events. A chunk's `delta` and a
 * completion's `message` have the same fields, so the same code reads both.
 */
export class AnswerReader {
  readonly #upstream: string;
  readonly #toolCalls: ToolCallAssembler;
  readonly #usage = new UsageReader();
  readonly #thinkTags = new ThinkTagSplitter();
  #reasoning: { place: ReasoningPlace; details: WireObject[] } | undefined;
  #ending: AnswerEnding = { type: 'none' };
  #serviceTier: ServiceTier | undefined;
  #stopSequence: string | undefined;
  /** The content and the reasoning so far, as the upstream has sent them. */
  #content = '';
  #thoughts = '';
  /** Number of texts of which `#content` and `#thoughts` consist. */
  #pieces = 0;
  #hasDeltas = false;
  #hasText = false;
  /** True once more of the answer has come after a finish_reason. */
  #endsTooEarly = false;
  /** Counts what the answer consists of, to see whether a chunk has added something. */
  #additions = 0;

  constructor({ upstream, newId, tools }: AnswerOptions) {
    this.#upstream = upstream;
    this.#toolCalls = new ToolCallAssembler({ newId, tools, upstream });
  }

  get ending(): AnswerEnding {
    return this.#ending;
  }

  /** True if anything of an answer has arrived: text, reasoning or a tool call. */
  get hasOutput(): boolean {
    return this.#additions > 0;
  }

  /** True if nothing shows that the answer is incomplete: there is more than reasoning, and no call is cut. */
  get looksWhole(): boolean {
    const { hasCalls, areWhole } = this.#toolCalls;
    return (this.#hasText || hasCalls) && areWhole && !this.#thinkTags.isThinking;
  }

  /**
   * Reads a chunk or a buffered completion, and appends its events to `events`.
   * @param isBuffered true for a completion that is the whole answer
   */
  read(chunk: WireObject, events: GenerationEvent[], isBuffered = false): void {
    const choice = asObjects(chunk['choices'])[0];
    this.#usage.read(chunk);
    this.#serviceTier = SERVICE_TIERS.get(chunk['service_tier']) ?? this.#serviceTier;
    if (choice === undefined) return;
    const before = this.#additions;
    this.#readChoice(choice, isBuffered, events);
    this.#readEnding(choice, this.#additions > before);
  }

  /**
   * Ends the answer.
   * @returns the last events, `finish` included; undefined if a tool call has no name, which makes it unusable
   */
  finish(): GenerationEvent[] | undefined {
    const events: GenerationEvent[] = [];
    for (const piece of this.#thinkTags.flush()) this.#emitPiece(piece, undefined, events);
    this.#endReasoning(events);
    if (!this.#toolCalls.finish(events)) return undefined;
    events.push({
      type: 'finish',
      reason: this.#finishReason(),
      usage: this.#usage.usage,
      ...omitUndefined({ serviceTier: this.#serviceTier, stopSequence: this.#stopSequence }),
    });
    return events;
  }

  #finishReason(): FinishReason {
    const reason = this.#ending.type === 'finished' ? this.#ending.reason : 'stop';
    // Several dialects report "stop" after tool calls, but clients expect "tool_calls" before they run tools.
    return reason === 'stop' && this.#toolCalls.hasCalls ? 'toolCalls' : reason;
  }

  #readChoice(choice: WireObject, isBuffered: boolean, events: GenerationEvent[]): void {
    const logprobs = asObject(choice['logprobs']);
    const before = this.#additions;
    const delta = asObject(choice['delta']);
    const isLast = asText(choice['finish_reason']) !== undefined;
    if (delta) this.#readMessage(delta, { logprobs, calls: 'fragments', repeats: isLast ? 'maybe' : 'no' }, events);
    // A message beside a delta holds the same text, or all of it so far.
    if (this.#additions > before) {
      this.#hasDeltas = true;
      return;
    }
    const message = asObject(choice['message']);
    const repeats = this.#hasDeltas ? 'all' : 'no';
    if (message) this.#readMessage(message, { logprobs, calls: isBuffered ? 'whole' : 'fragments', repeats }, events);
  }

  /** @param hasAdded true if the chunk has brought something of the answer */
  #readEnding(choice: WireObject, hasAdded: boolean): void {
    const earlier = this.#ending;
    if (earlier.type === 'broken') return;
    if (earlier.type === 'finished' && hasAdded) {
      this.#endsTooEarly = true;
      this.#ending = { type: 'none' };
    }
    const ending = readEnding(choice['finish_reason'], !hasAdded && this.hasOutput && !this.#endsTooEarly);
    if (ending === undefined) return;
    // A repeated reason says less than the first, for instance "stop" after "length".
    const first = this.#ending.type === 'finished' ? this.#ending.reason : 'stop';
    this.#ending = ending.type === 'finished' && first !== 'stop' ? { ...ending, reason: first } : ending;
    // vLLM and SGLang name the stop sequence; a number is the id of a token.
    if (choice['finish_reason'] === 'stop')
      this.#stopSequence = asText(choice['stop_reason']) ?? asText(choice['matched_stop']) ?? this.#stopSequence;
  }

  #readMessage(message: WireObject, { logprobs, calls, repeats }: MessageOptions, events: GenerationEvent[]): void {
    this.#readReasoning(message, repeats, events);
    this.#readContent(message['content'], repeats, readLogprobs(logprobs?.['content']), events);
    this.#emitText('refusal', asText(message['refusal']) ?? '', readLogprobs(logprobs?.['refusal']), events);
    if (repeats === 'all' && this.#toolCalls.hasCalls) return;
    const wireCalls = message['tool_calls'];
    for (const call of isObject(wireCalls) ? [wireCalls] : asObjects(wireCalls))
      this.#readToolCall(call, calls, events);
    // The API of 2023, which some local servers still use: one call, without an id.
    const legacy = asObject(message['function_call']);
    if (legacy) this.#readToolCall({ index: 0, function: legacy }, calls, events);
  }

  #readReasoning(message: WireObject, repeats: Repeats, events: GenerationEvent[]): void {
    const reasoning = readReasoning(message);
    if (reasoning === undefined) return;
    this.#thinkTags.stop();
    const text = this.#removeRepetition(this.#thoughts, reasoning.text, repeats);
    if (reasoning.text !== '' && text === '') return;
    this.#thoughts += text;
    this.#pieces += 1;
    this.#emitReasoning(text, reasoning.place, events);
    if (this.#reasoning) appendDetails(this.#reasoning.details, reasoning.details);
  }

  #emitReasoning(text: string, place: ReasoningPlace, events: GenerationEvent[]): void {
    this.#additions += 1;
    this.#reasoning = { place, details: this.#reasoning?.details ?? [] };
    if (text !== '') events.push({ type: 'reasoning', text });
  }

  /** Reads a string or, at Mistral, an array of text and thinking parts. */
  #readContent(
    content: unknown,
    repeats: Repeats,
    logprobs: TokenLogprob[] | undefined,
    events: GenerationEvent[],
  ): void {
    if (!Array.isArray(content)) {
      const text = typeof content === 'string' ? content : '';
      this.#readText(this.#removeRepetition(this.#content, text, repeats), logprobs, events);
      return;
    }
    for (const part of content) {
      const thinking = isObject(part) && part['type'] === 'thinking' ? extractText(part['thinking']) : '';
      if (thinking === '') this.#readText(extractText(part), undefined, events);
      else this.#emitReasoning(thinking, 'content', events);
    }
    this.#emitText('text', '', logprobs, events);
  }

  #readText(text: string, logprobs: TokenLogprob[] | undefined, events: GenerationEvent[]): void {
    this.#content += text;
    this.#pieces += 1;
    // A log probability belongs to the text of its own event.
    if (logprobs !== undefined) this.#thinkTags.stop();
    const pieces = text === '' ? [] : this.#thinkTags.push(text);
    if (text !== '') this.#additions += 1;
    for (const piece of pieces) this.#emitPiece(piece, logprobs, events);
    if (pieces.length === 0) this.#emitText('text', '', logprobs, events);
  }

  #emitPiece({ type, text }: ContentPiece, logprobs: TokenLogprob[] | undefined, events: GenerationEvent[]): void {
    if (type === 'text') this.#emitText('text', text, logprobs, events);
    else this.#emitReasoning(text, 'think', events);
  }

  #emitText(
    type: 'text' | 'refusal',
    text: string,
    logprobs: TokenLogprob[] | undefined,
    events: GenerationEvent[],
  ): void {
    if (text === '' && logprobs === undefined) return;
    this.#endReasoning(events);
    if (text !== '') this.#hasText = true;
    if (type === 'refusal') this.#additions += 1;
    events.push(logprobs === undefined ? { type, text } : { type, text, logprobs });
  }

  /** Returns `text` without what repeats everything so far: some upstreams end with the whole message. */
  #removeRepetition(sofar: string, text: string, repeats: Repeats): string {
    if (repeats === 'no' || sofar === '') return text;
    if (repeats === 'all') return text.startsWith(sofar) ? text.slice(sofar.length) : '';
    const isLong = sofar.length >= SHORTEST_REPETITION && this.#pieces >= FEWEST_PIECES;
    return isLong && text.startsWith(sofar) ? text.slice(sofar.length) : text;
  }

  #readToolCall(call: WireObject, calls: MessageOptions['calls'], events: GenerationEvent[]): void {
    this.#endReasoning(events);
    this.#thinkTags.stop();
    this.#additions += 1;
    if (calls === 'whole') this.#toolCalls.addCall(call, events);
    else this.#toolCalls.addFragment(call, events);
  }

  #endReasoning(events: GenerationEvent[]): void {
    if (this.#reasoning === undefined) return;
    const origin = this.#reasoning;
    this.#reasoning = undefined;
    const { details } = origin;
    const continuation = createContinuation(origin, this.#upstream);
    events.push({ type: 'reasoningEnd', continuation, ...(details.length > 0 && { details }) });
  }
}

interface MessageOptions {
  readonly logprobs: WireObject | undefined;
  /** Whether each element of `tool_calls` is a call, or may continue an earlier one. */
  readonly calls: 'whole' | 'fragments';
  readonly repeats: Repeats;
}

/** Whether a message holds once more what has arrived before it. */
type Repeats = 'no' | 'maybe' | 'all';

/** Returns the text of a content part, of an array of parts or of a bare string. */
function extractText(value: unknown): string {
  if (typeof value === 'string') return value;
  if (Array.isArray(value)) return value.map(extractText).join('');
  return isObject(value) && typeof value['text'] === 'string' ? value['text'] : '';
}

/** The service tiers by their names at OpenAI. */
export const SERVICE_TIERS: ReadonlyMap<unknown, ServiceTier> = new Map([
  ['auto', 'auto'],
  ['default', 'default'],
  ['flex', 'flex'],
  ['priority', 'priority'],
  // OpenAI's other names.
  ['fast', 'priority'],
  ['ultrafast', 'priority'],
  ['scale', 'default'],
]);

function readLogprobs(content: unknown): TokenLogprob[] | undefined {
  const tokens = asObjects(content);
  if (tokens.length === 0) return undefined;
  return tokens.map((token) => ({
    ...readToken(token),
    alternatives: asObjects(token['top_logprobs']).map(readToken),
  }));
}

function readToken({ token, logprob, bytes }: WireObject) {
  return {
    token: typeof token === 'string' ? token : '',
    // OpenAI's value for "very unlikely", for upstreams that send no number or null for -Infinity.
    logprob: typeof logprob === 'number' ? logprob : -9999,
    bytes: Array.isArray(bytes) ? bytes.filter((byte) => typeof byte === 'number') : null,
  };
}
