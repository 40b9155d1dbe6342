import { createParser } from 'eventsource-parser';
import { isObject } from '../../../core/objects.ts';
import type { GenerationEvent } from '../../generation.ts';
import type { UpstreamError } from '../../model.ts';
import type { AnswerReader } from './answer.ts';
import { cutAnswerError, findInBandError, malformedAnswerError, type WireError } from './errors.ts';
import type { UpstreamResponse } from './transport.ts';
import type { WireObject } from './wire.ts';

/** Maximum characters of one event: far above any real one (a complete tool call in one chunk), and still harmless. */
const MAX_EVENT_SIZE = 8 * 1024 * 1024;
/** Maximum characters of a buffered answer. */
const MAX_BODY_SIZE = 64 * 1024 * 1024;
/** How long to wait for the usage and the end of the stream after the answer is finished. */
const USAGE_GRACE_MS = 3_000;
/** Maximum characters that are read of an error's body. */
const MAX_ERROR_SIZE = 64 * 1024;

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
  answer: AnswerReader,
  toError: (error: WireError) => UpstreamError,
): AsyncGenerator<GenerationEvent[]> {
  const contentType = response.headers['content-type']?.toLowerCase() ?? '';
  if (contentType.includes('html')) throw malformedAnswerError('The upstream answered with an HTML page', 'nextTarget');
  const isStream = contentType.includes('event-stream') || (streamed && !contentType.includes('json'));
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
  answer: AnswerReader,
  toError: (error: WireError) => UpstreamError,
): Promise<GenerationEvent[]> {
  const completion = parseCompletion(await readText(response));
  const error = findInBandError(completion);
  if (error) throw toError(error);
  if (!Array.isArray(completion['choices']))
    throw malformedAnswerError('The upstream answered without choices', 'nextTarget');
  const events: GenerationEvent[] = [];
  answer.read(completion, events);
  return events.concat(finishAnswer(answer));
}

async function readText({ body }: UpstreamResponse): Promise<string> {
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
  if (size > MAX_BODY_SIZE)
    throw malformedAnswerError(`The upstream's answer has more than ${MAX_BODY_SIZE} characters`, 'nextTarget');
  return chunks.join('');
}

function parseCompletion(text: string): WireObject {
  const completion = parseJson(text.replace(/^\uFEFF/, ''));
  if (!isObject(completion)) throw malformedAnswerError("The upstream's answer is not a JSON object", 'nextTarget');
  return completion;
}

async function* readStream(
  response: UpstreamResponse,
  answer: AnswerReader,
  toError: (error: WireError) => UpstreamError,
): AsyncGenerator<GenerationEvent[]> {
  const stream = new EventStream(answer, toError);
  let broken: unknown;
  let grace: NodeJS.Timeout | undefined;
  try {
    for await (const chunk of response.body) {
      yield stream.feed(chunk);
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
    throw cutAnswerError('The stream ended before the answer was complete', broken);
  if (stream.done) response.release();
  yield finishAnswer(answer);
}

function finishAnswer(answer: AnswerReader): GenerationEvent[] {
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
  readonly #answer: AnswerReader;
  readonly #toError: (error: WireError) => UpstreamError;
  #events: GenerationEvent[] = [];
  #ending = false;
  readonly #parser = createParser({
    maxBufferSize: MAX_EVENT_SIZE,
    onEvent: ({ data, event }) => this.#readEvent(data, event),
    onError: ({ type }) => {
      // The specification requires unknown fields to be ignored.
      if (type === 'max-buffer-size-exceeded')
        this.failure ??= malformedAnswerError('An event was too large', 'nextTarget');
    },
  });

  constructor(answer: AnswerReader, toError: (error: WireError) => UpstreamError) {
    this.#answer = answer;
    this.#toError = toError;
  }

  /** Parses a chunk of text, split anywhere, and returns the events that it completes. */
  feed(chunk: string): GenerationEvent[] {
    this.#parser.feed(chunk);
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
    // Half an event at the end means that the stream was cut off, which is detected anyway.
    else if (!this.#ending) this.failure = malformedAnswerError('An event was not a JSON object', 'retryOnce');
  }

  #readChunk(chunk: WireObject, name: string | undefined): void {
    const error = findInBandError(chunk, name);
    if (error) this.failure = this.#toError(error);
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
