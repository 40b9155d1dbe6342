import { LambentError } from '../core/errors.ts';
import type { GenerationEvent, OutputFormat } from '../inference/generation.ts';
import { JsonText } from './json-text.ts';
import { listStrings } from './request-texts.ts';
import type { Watcher } from './watcher.ts';

/**
 * Passes the events of an answer on when watchers have decided that their text may be sent. Events keep their order and their
 * text. Each kind of text has its own watcher: the answer, a refusal, the reasoning, and the arguments of each tool call.
 *
 * If a watcher refuses, the answer ends with the finish reason `contentFilter`, and the upstream's connection is closed. It has its
 * usage only if it was complete already, because upstreams report that at the end.
 * @param format of the answer's text: escapes of JSON are decoded before it is checked
 * @throws LambentError as the events and the watchers do
 */
export async function* holdBack(
  events: AsyncIterable<GenerationEvent>,
  createWatcher: () => Watcher,
  format: OutputFormat['type'],
): AsyncGenerator<GenerationEvent> {
  const held = new HeldEvents(createWatcher, format !== 'text');
  for await (const event of events) {
    await held.add(event);
    if (held.isRefused) {
      yield toRefusedEnd(event);
      return;
    }
    yield* held.release();
  }
}

/** Returns the end of a refused answer. @param event the latest event of the answer */
function toRefusedEnd(event: GenerationEvent): GenerationEvent {
  const reason = 'contentFilter';
  if (event.type !== 'finish') return { type: 'finish', reason, usage: undefined };
  // What a text's end decides is decided at the answer's end: all of the answer is charged.
  const { type, usage, serviceTier } = event;
  return { type, reason, usage, ...(serviceTier && { serviceTier }) };
}

/** An event that waits for the decision about its text. */
interface Waiting {
  readonly event: GenerationEvent;
  readonly text: WatchedText | undefined;
  /** Offset of its end in the text. */
  readonly end: number;
}

class HeldEvents {
  readonly #createWatcher: () => Watcher;
  readonly #isTextJson: boolean;
  readonly #texts = new Map<string, WatchedText>();
  readonly #waiting: Waiting[] = [];
  /** The text to which the latest event belongs. Only this one is undecided. */
  #current: WatchedText | undefined;

  constructor(createWatcher: () => Watcher, isTextJson: boolean) {
    this.#createWatcher = createWatcher;
    this.#isTextJson = isTextJson;
  }

  get isRefused(): boolean {
    return [...this.#texts.values()].some(({ isRefused }) => isRefused);
  }

  async add(event: GenerationEvent): Promise<void> {
    const { name, pieces, isJson } = readEvent(event, this.#isTextJson);
    const text = name === undefined ? undefined : this.#getText(name);
    if (text !== this.#current) await this.#current?.end();
    this.#current = text;
    for (const piece of pieces) await text?.push(piece, isJson);
    if (event.type === 'reasoningEnd') await this.#endReasoning();
    this.#waiting.push({ event, text, end: text?.length ?? 0 });
  }

  /** Returns the events that may be sent now, in their order. */
  *release(): Generator<GenerationEvent> {
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      if (next.text !== undefined && next.end > next.text.cleared) return;
      this.#waiting.shift();
      yield next.event;
    }
  }

  async #endReasoning(): Promise<void> {
    await this.#current?.end();
    this.#current = undefined;
  }

  #getText(name: string): WatchedText {
    const text = this.#texts.get(name) ?? new WatchedText(this.#createWatcher());
    this.#texts.set(name, text);
    return text;
  }
}

/** One text of an answer, its watcher, and how far it may be sent. */
class WatchedText {
  readonly #watcher: Watcher;
  readonly #json = new JsonText();
  #length = 0;
  #cleared = 0;

  constructor(watcher: Watcher) {
    this.#watcher = watcher;
  }

  async push(piece: string, isJson: boolean): Promise<void> {
    const text = isJson ? this.#json.push(piece) : piece;
    this.#length += text.length;
    await this.#watcher.push(text);
    this.#clear(Math.min(this.#watcher.heldFrom, this.#length));
  }

  async end(): Promise<void> {
    await this.#watcher.end();
    this.#clear(this.length);
  }

  /** Offset of the end of the text so far. An escape that isn't complete counts as the character that it will be. */
  get length(): number {
    return this.#length + (this.#json.isWithinEscape ? 1 : 0);
  }

  get cleared(): number {
    return this.#cleared;
  }

  get isRefused(): boolean {
    return this.#watcher.isRefused;
  }

  /** What was cleared once may have been sent. */
  #clear(offset: number): void {
    this.#cleared = Math.max(this.#cleared, offset);
  }
}

/** Returns the text of an event, and the name of the text that it is a part of. */
function readEvent(
  event: GenerationEvent,
  isTextJson: boolean,
): { name?: string; pieces: readonly string[]; isJson: boolean } {
  switch (event.type) {
    case 'text':
      return { name: event.type, pieces: [event.text], isJson: isTextJson };
    case 'refusal':
    case 'reasoning':
      return { name: event.type, pieces: [event.text], isJson: false };
    case 'reasoningEnd':
      // A record repeats the text of the reasoning, and may have more.
      return {
        name: 'reasoningDetails',
        pieces: listStrings(event.details ?? []).map((each) => `${each}\n`),
        isJson: false,
      };
    case 'toolCall':
      // The line break keeps the name apart from the arguments.
      return { name: `toolCall ${event.index}`, pieces: [`${event.name}\n`], isJson: false };
    case 'toolArguments':
      return { name: `toolCall ${event.index}`, pieces: [event.fragment], isJson: true };
    case 'finish':
      return { pieces: [], isJson: false };
    case 'native':
      // The request was sent translated, so no upstream may answer like this.
      throw new LambentError('internal', 'A native answer must not pass unchecked');
  }
}
