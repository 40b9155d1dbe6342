import { createParser } from 'eventsource-parser';
import type { GenerationEvent } from '../../generation.ts';
import type { UpstreamError } from '../../model.ts';
import type { AnswerReader } from './answer.ts';
import { cutAnswerError, findInBandError, malformedAnswerError, type WireError } from './errors.ts';
import type { UpstreamResponse } from './transport.ts';
import { isObject, type WireObject } from './wire.ts';

/** Characters of one event: far above any real one (a whole tool call in one chunk), far below what hurts. */
const MAX_EVENT_SIZE = 8 * 1024 * 1024;
/** Characters of a buffered answer. */
const MAX_BODY_SIZE = 64 * 1024 * 1024;
/** How long an upstream may keep us waiting, once its answer is finished, for usage and the end of the stream. */
const USAGE_GRACE_MS = 3_000;
/** Characters of an error's body that are read. */
const MAX_ERROR_SIZE = 64 * 1024;

/**
 * Reads a 2xx answer to its end, whether it streams or not: upstreams don't always answer in the form that they were
 * asked for.
 * @param streamed whether a stream was asked for
 * @param fail maps an error that the upstream reports in the body
 * @returns the events of each piece that arrived, as it arrives: none, where it has only the beginning of one
 * @throws UpstreamError `upstream_cut` or `upstream_malformed`, or what `fail` makes
 */
export async function* readAnswer(
  response: UpstreamResponse,
  streamed: boolean,
  answer: AnswerReader,
  fail: (error: WireError) => UpstreamError,
): AsyncGenerator<GenerationEvent[]> {
  const contentType = response.headers['content-type']?.toLowerCase() ?? '';
  if (contentType.includes('html')) throw malformedAnswerError('The upstream answered an HTML page', 'nextTarget');
  const isStream = contentType.includes('event-stream') || (streamed && !contentType.includes('json'));
  if (isStream) yield* readStream(response, answer, fail);
  else yield await readBuffered(response, answer, fail);
}

/** Reads the body of an error: as much of it as an error object has. */
export async function readErrorBody(response: UpstreamResponse): Promise<string> {
  let text = '';
  try {
    for await (const piece of response.body) {
      text += piece;
      if (text.length > MAX_ERROR_SIZE) break;
    }
  } catch {
    // Cut off: the status and the headers still say what happened.
  }
  response.close();
  return text;
}

async function readBuffered(
  response: UpstreamResponse,
  answer: AnswerReader,
  fail: (error: WireError) => UpstreamError,
): Promise<GenerationEvent[]> {
  const completion = parseCompletion(await readText(response));
  const error = findInBandError(completion);
  if (error) throw fail(error);
  if (!Array.isArray(completion['choices']))
    throw malformedAnswerError('The upstream answered without choices', 'nextTarget');
  const events: GenerationEvent[] = [];
  answer.read(completion, events);
  return events.concat(finishAnswer(answer));
}

async function readText({ body }: UpstreamResponse): Promise<string> {
  const pieces: string[] = [];
  let size = 0;
  try {
    for await (const piece of body) {
      pieces.push(piece);
      size += piece.length;
      if (size > MAX_BODY_SIZE) break;
    }
  } catch (cause) {
    throw cutAnswerError('The connection broke in the middle of the answer', cause);
  }
  if (size > MAX_BODY_SIZE)
    throw malformedAnswerError(`The upstream answered more than ${MAX_BODY_SIZE} characters`, 'nextTarget');
  return pieces.join('');
}

function parseCompletion(text: string): WireObject {
  const completion = parseJson(text.replace(/^\uFEFF/, ''));
  if (!isObject(completion))
    throw malformedAnswerError('The upstream answered something else than a JSON object', 'nextTarget');
  return completion;
}

async function* readStream(
  response: UpstreamResponse,
  answer: AnswerReader,
  fail: (error: WireError) => UpstreamError,
): AsyncGenerator<GenerationEvent[]> {
  const stream = new EventStream(answer, fail);
  let broken: unknown;
  let grace: NodeJS.Timeout | undefined;
  try {
    for await (const piece of response.body) {
      yield stream.feed(piece);
      if (stream.done || stream.failure) break;
      if (answer.ending.type === 'finished') grace ??= setTimeout(() => response.close(), USAGE_GRACE_MS);
    }
  } catch (cause) {
    broken = cause;
  } finally {
    clearTimeout(grace);
  }
  const last = stream.end();
  if (last.length > 0) yield last;
  if (stream.failure) throw stream.failure;
  if (!stream.done && answer.ending.type === 'none')
    throw cutAnswerError('The stream ended before the answer was whole', broken);
  if (stream.done) response.release();
  yield finishAnswer(answer);
}

function finishAnswer(answer: AnswerReader): GenerationEvent[] {
  if (answer.ending.type === 'broken')
    throw cutAnswerError(`The upstream gave up its answer (${answer.ending.reason})`);
  const events = answer.finish();
  if (events === undefined) throw malformedAnswerError('The upstream called a tool without naming it', 'retryOnce');
  return events;
}

/**
 * The server-sent events of one answer. What comes after `[DONE]` or after a failure is ignored, and what came before
 * is always handed on, so that where the network cuts its packets makes no difference.
 */
class EventStream {
  done = false;
  failure: UpstreamError | undefined;
  readonly #answer: AnswerReader;
  readonly #fail: (error: WireError) => UpstreamError;
  #events: GenerationEvent[] = [];
  #ending = false;
  readonly #parser = createParser({
    maxBufferSize: MAX_EVENT_SIZE,
    onEvent: ({ data, event }) => this.#take(data, event),
    onError: ({ type }) => {
      // Unknown fields are not worth a failure; the specification says to ignore them.
      if (type === 'max-buffer-size-exceeded')
        this.failure ??= malformedAnswerError('An event was too large', 'nextTarget');
    },
  });

  constructor(answer: AnswerReader, fail: (error: WireError) => UpstreamError) {
    this.#answer = answer;
    this.#fail = fail;
  }

  /** Takes a piece of text, cut anywhere; returns the events that it completes. */
  feed(piece: string): GenerationEvent[] {
    this.#parser.feed(piece);
    const events = this.#events;
    this.#events = [];
    return events;
  }

  /** Takes the end of the text: a last event whose blank line is missing still counts if it is whole. */
  end(): GenerationEvent[] {
    if (this.done || this.failure) return [];
    this.#ending = true;
    return this.feed('\n\n');
  }

  #take(data: string, name: string | undefined): void {
    if (this.done || this.failure || data === '') return;
    if (data.trim() === '[DONE]') {
      this.done = true;
      return;
    }
    const chunk = parseJson(data);
    if (isObject(chunk)) this.#takeChunk(chunk, name);
    // Half an event at the end is the mark of a cut, which is found out anyway.
    else if (!this.#ending) this.failure = malformedAnswerError('An event was not a JSON object', 'retryOnce');
  }

  #takeChunk(chunk: WireObject, name: string | undefined): void {
    const error = findInBandError(chunk, name);
    if (error) this.failure = this.#fail(error);
    else this.#answer.read(chunk, this.#events);
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
