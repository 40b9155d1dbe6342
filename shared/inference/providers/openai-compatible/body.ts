import { createParser } from 'eventsource-parser';
import { isObject } from '../../../core/objects.ts';
import type { GenerationEvent } from '../../generation.ts';
import { UpstreamError } from '../../model.ts';
import { BareJsonSeparator } from './bare-json.ts';
import type { AnswerEnding } from './ending.ts';
import { cutAnswerError, findInBandError, malformedAnswerError, type WireError } from './errors.ts';
import type { UpstreamResponse } from './transport.ts';
import type { WireObject } from './wire.ts';

/** Maximum characters of one event: far above any real one (a complete tool call in one chunk), and still harmless. */
const MAX_EVENT_SIZE = 8 * 1024 * 1024;
/** Maximum characters of an answer, buffered or streamed. What reads all of it keeps it in memory. */
const MAX_BODY_SIZE = 64 * 1024 * 1024;
/** How long to wait for the usage and the end of the stream after the answer is finished. */
const USAGE_GRACE_MS = 3_000;
/** How long to wait for more after a finish_reason that may be too early. Without an end, the answer isn't whole. */
const MORE_GRACE_MS = 30_000;
/** Maximum characters that are read of an error's body. */
const MAX_ERROR_SIZE = 64 * 1024;

/** Reads one answer, chunk by chunk. */
export interface ChunkReader {
  readonly ending: AnswerEnding;
  /** True if anything of an answer has arrived: text, reasoning or a tool call. */
  readonly hasOutput: boolean;
  /** True if nothing shows that an answer without an ending is incomplete. */
  readonly looksWhole: boolean;
  /** True once nothing can follow, although the stream may stay open. */
  readonly isOver?: boolean;
  /**
   * Reads a chunk or a buffered answer, and appends its events to `events`.
   * @param isBuffered true for the whole answer
   */
  read(chunk: WireObject, events: GenerationEvent[], isBuffered?: boolean): void;
  /** Returns the last events, `finish` included; undefined if the answer is unusable. */
  finish(): GenerationEvent[] | undefined;
  /** Finds an error in a chunk or a buffered answer; absent for the usual places. */
  findError?(chunk: WireObject, eventName?: string): WireError | undefined;
}

/**
 * Reads a 2xx answer to its end, streamed or buffered: upstreams don't always answer in the requested form.
 * @param streamed true if a stream was requested
 * @param toError maps an error that the upstream reports in the body
 * @yields the events of each chunk as it arrives: an empty array if the chunk completes no event
 * @throws UpstreamError `upstream_cut`, `upstream_malformed` or an error from `toError`
 */
export async function* readAnswer(
  response: UpstreamResponse,
  streamed: boolean,
  answer: ChunkReader,
  toError: (error: WireError) => UpstreamError,
): AsyncGenerator<GenerationEvent[]> {
  const contentType = response.headers['content-type']?.toLowerCase() ?? '';
  if (contentType.includes('html')) throw malformedAnswerError('The upstream answered with an HTML page', 'nextTarget');
  const isLines = contentType.includes('event-stream') || /ndjson|jsonl|json-seq/.test(contentType);
  const isStream = isLines || (streamed && !contentType.includes('json'));
  if (isStream) yield* readStream(response, answer, toError);
  else yield await readBuffered(response, answer, toError);
}

/** Reads the body of an error response, up to a limit, and closes the response. */
export async function readErrorBody(response: UpstreamResponse): Promise<string> {
  let text = '';
  try {
    for await (const chunk of response.body) {
      text += chunk;
      if (text.length > MAX_ERROR_SIZE) break;
    }
  } catch {
    // The body was cut off. The status and the headers are enough to classify the error.
  }
  response.close();
  return text;
}

async function readBuffered(
  response: UpstreamResponse,
  answer: ChunkReader,
  toError: (error: WireError) => UpstreamError,
): Promise<GenerationEvent[]> {
  const text = (await readText(response)).replace(/^\uFEFF/, '');
  // A stream with the wrong content type.
  if (/^\s*(data|event|id)?:/.test(text)) return readWholeStream(text, answer, toError);
  const completion = parseBody(text);
  const error = findError(completion, answer);
  if (error) throw toError(error);
  const events: GenerationEvent[] = [];
  answer.read(completion, events, true);
  checkEnding(answer);
  return events.concat(finishAnswer(answer));
}

function findError(chunk: WireObject, answer: ChunkReader, eventName?: string): WireError | undefined {
  return answer.findError === undefined ? findInBandError(chunk, eventName) : answer.findError(chunk, eventName);
}

function readWholeStream(
  text: string,
  answer: ChunkReader,
  toError: (error: WireError) => UpstreamError,
): GenerationEvent[] {
  const stream = new EventStream(answer, toError);
  const events = [...stream.feed(text), ...stream.end()];
  if (stream.failure) throw stream.failure;
  if (stream.done) checkEnding(answer);
  else if (answer.ending.type === 'none') throw cutAnswerError('The stream ended before the answer was complete');
  return events.concat(finishAnswer(answer));
}

/**
 * Reads an answer to its end.
 * @throws UpstreamError `upstream_cut`, or `upstream_malformed` if it is too long
 */
export async function readText({ body }: UpstreamResponse): Promise<string> {
  const chunks: string[] = [];
  let size = 0;
  try {
    for await (const chunk of body) {
      chunks.push(chunk);
      size += chunk.length;
      if (size > MAX_BODY_SIZE) break;
    }
  } catch (cause) {
    throw cutAnswerError('The connection broke before the answer was complete', cause);
  }
  if (size > MAX_BODY_SIZE) throw tooLargeError();
  return chunks.join('');
}

function tooLargeError(): UpstreamError {
  return malformedAnswerError(`The upstream's answer has more than ${MAX_BODY_SIZE} characters`, 'nextTarget');
}

/**
 * Parses an answer.
 * @throws UpstreamError `upstream_malformed` unless it is a JSON object
 */
export function parseBody(text: string): WireObject {
  const completion = parseJson(text);
  if (!isObject(completion)) throw malformedAnswerError("The upstream's answer is not a JSON object", 'nextTarget');
  return completion;
}

async function* readStream(
  response: UpstreamResponse,
  answer: ChunkReader,
  toError: (error: WireError) => UpstreamError,
): AsyncGenerator<GenerationEvent[]> {
  const stream = new EventStream(answer, toError);
  const grace = new Grace(response);
  let broken: unknown;
  let size = 0;
  try {
    for await (const chunk of response.body) {
      yield stream.feed(chunk);
      if (stream.done || stream.failure || answer.isOver) break;
      size += chunk.length;
      if (size > MAX_BODY_SIZE) stream.failure = tooLargeError();
      if (stream.failure) break;
      grace.follow(answer.ending);
    }
  } catch (cause) {
    broken = cause;
  } finally {
    grace.stop();
  }
  const last = stream.end();
  if (last.length > 0) yield last;
  if (stream.failure) throw stream.failure;
  if (stream.done) checkEnding(answer);
  else checkUnmarkedEnd(answer, grace.isOver || broken !== undefined, broken);
  if (stream.done || answer.isOver) response.release();
  yield finishAnswer(answer);
}

/** Closes a response that stays open although its answer is finished. */
class Grace {
  isOver = false;
  readonly #response: UpstreamResponse;
  #timer: NodeJS.Timeout | undefined;
  #isForUsage = false;

  constructor(response: UpstreamResponse) {
    this.#response = response;
  }

  /** Sets the timer that an ending needs. Each chunk restarts it, unless only the usage is missing. */
  follow(ending: AnswerEnding): void {
    const isForUsage = ending.type === 'finished' && ending.isCertain;
    if (isForUsage && this.#isForUsage) return;
    this.#isForUsage = isForUsage;
    clearTimeout(this.#timer);
    if (ending.type === 'finished')
      this.#timer = setTimeout(() => this.#end(), isForUsage ? USAGE_GRACE_MS : MORE_GRACE_MS);
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  #end(): void {
    this.isOver = true;
    this.#response.close();
  }
}

/**
 * Checks an answer whose end the upstream has marked: by `[DONE]`, or because the body is complete.
 * @throws UpstreamError unless there is a finish_reason, or an answer that is evidently whole without one
 */
function checkEnding(answer: ChunkReader): void {
  if (answer.ending.type !== 'none') return;
  if (!answer.hasOutput)
    throw malformedAnswerError('The upstream answered without a choice and a finish_reason', 'retryOnce');
  if (!answer.looksWhole) throw cutAnswerError('The upstream ended its answer in the middle');
}

/** Checks an answer at whose end neither `[DONE]` nor an error was sent. Throws UpstreamError unless it is whole. */
function checkUnmarkedEnd({ ending }: ChunkReader, isBroken: boolean, cause: unknown): void {
  if (ending.type === 'none') throw cutAnswerError('The stream ended before the answer was complete', cause);
  if (isBroken && ending.type === 'finished' && !ending.isCertain)
    throw cutAnswerError('The stream broke off after a finish_reason that may have been too early', cause);
}

function finishAnswer(answer: ChunkReader): GenerationEvent[] {
  if (answer.ending.type === 'broken')
    throw cutAnswerError(`The upstream interrupted its answer (${answer.ending.reason})`);
  const events = answer.finish();
  if (events === undefined) throw malformedAnswerError('The upstream sent a tool call without a name', 'retryOnce');
  return events;
}

/**
 * Parses the server-sent events of one answer. Everything before `[DONE]` or a failure is passed on and everything
 * after it is ignored, so the result doesn't depend on how the network splits the stream.
 */
class EventStream {
  done = false;
  failure: UpstreamError | undefined;
  readonly #answer: ChunkReader;
  readonly #toError: (error: WireError) => UpstreamError;
  #events: GenerationEvent[] = [];
  #ending = false;
  readonly #separator = new BareJsonSeparator();
  readonly #parser = createParser({
    maxBufferSize: MAX_EVENT_SIZE,
    onEvent: ({ data, event }) => this.#readEvent(data, event),
    onError: ({ type }) => {
      // The specification requires unknown fields to be ignored.
      if (type === 'max-buffer-size-exceeded')
        this.failure ??= malformedAnswerError('An event was too large', 'nextTarget');
    },
  });

  constructor(answer: ChunkReader, toError: (error: WireError) => UpstreamError) {
    this.#answer = answer;
    this.#toError = toError;
  }

  /** Parses a chunk of text, split anywhere, and returns the events that it completes. */
  feed(chunk: string): GenerationEvent[] {
    for (const { type, text } of this.#separator.separate(chunk)) {
      if (type === 'json') this.#readBareJson(text);
      else if (!this.failure) this.#parser.feed(text);
    }
    if (this.#separator.heldLength > MAX_EVENT_SIZE)
      this.failure ??= malformedAnswerError('An event was too large', 'nextTarget');
    const events = this.#events;
    this.#events = [];
    return events;
  }

  /** Ends the text. A complete last event counts even if its blank line is missing. */
  end(): GenerationEvent[] {
    if (this.done || this.failure) return [];
    this.#ending = true;
    return this.feed('\n\n');
  }

  #readEvent(data: string, name: string | undefined): void {
    if (this.done || this.failure || data === '') return;
    if (data.trim() === '[DONE]') {
      this.done = true;
      return;
    }
    const chunk = parseJson(data);
    if (isObject(chunk)) this.#readChunk(chunk, name);
    else if (name === 'error') this.#readChunk({ message: data }, name);
    // Half an event at the end means that the stream was cut off, which is detected anyway.
    else if (!this.#ending) this.failure = malformedAnswerError('An event was not a JSON object', 'retryOnce');
  }

  /** Reads an error, a chunk or a completion that is sent without framing. */
  #readBareJson(text: string): void {
    if (this.done || this.failure) return;
    const json = parseJson(text);
    const chunk = Array.isArray(json) ? json[0] : json;
    if (isObject(chunk)) this.#readChunk(chunk, undefined);
  }

  #readChunk(chunk: WireObject, name: string | undefined): void {
    const error = findError(chunk, this.#answer, name);
    if (error) {
      this.failure = this.#toError(error);
      return;
    }
    try {
      this.#answer.read(chunk, this.#events);
    } catch (thrown) {
      // Not a broken connection, after which the same target would be tried again.
      if (!(thrown instanceof UpstreamError)) throw thrown;
      this.failure = thrown;
    }
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
