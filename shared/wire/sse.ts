import { LambentError } from '../core/errors.ts';
import type { GenerationEvent } from '../inference/generation.ts';

/** Encodes the stream of one API. Each method returns complete server-sent event frames, concatenated, or ''. */
export interface StreamEncoder {
  /** Encodes one event. */
  encode(event: GenerationEvent): string;
  /** Stores the response if required and encodes the frames that follow the `finish` event. Throws if storing fails. */
  end?(): Promise<string>;
  /** Encodes the end of a stream that failed. */
  fail(error: LambentError): string | Promise<string>;
}

/** Encodes a frame without an event name, as chat completions use. */
export function encodeDataFrame(json: string): string {
  return escapeLineSeparators(`data: ${json}\n\n`);
}

/** Encodes a frame whose event name is the `type` of its data, as the Responses API uses. */
export function encodeTypedFrame<T extends { readonly type: string }>(event: T): string {
  // Of events that are passed on, the upstream chooses the type. A line break in it would begin another event.
  const name = event.type.replace(/[\r\n]/g, ' ');
  return escapeLineSeparators(`event: ${name}\ndata: ${JSON.stringify(event)}\n\n`);
}

/**
 * Escapes the characters U+0085, U+2028 and U+2029 of frames, in which only strings of JSON contain them. JSON allows them, but
 * many clients split a stream into lines with functions that count them as line ends.
 */
export function escapeLineSeparators(frames: string): string {
  if (!LINE_SEPARATOR.test(frames)) return frames;
  return frames.replace(LINE_SEPARATORS, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

const LINE_SEPARATOR = /[\u0085\u2028\u2029]/;
const LINE_SEPARATORS = new RegExp(LINE_SEPARATOR, 'g');

/**
 * Encodes a model's events as frames, one event at a time. A failure after the first frame is encoded into the stream,
 * since the status has been sent. Events that end without `finish` count as a failure.
 * @returns whether the response is complete
 * @throws any error before the first frame, and errors other than LambentError after it
 */
export async function* encodeStream(
  events: AsyncIterable<GenerationEvent>,
  encoder: StreamEncoder,
): AsyncGenerator<string, boolean> {
  let hasStarted = false;
  try {
    for await (const event of events) {
      const frames = encoder.encode(event);
      if (frames !== '') {
        hasStarted = true;
        yield frames;
      }
      if (event.type !== 'finish') continue;
      const last = await encoder.end?.();
      if (last !== undefined) yield last;
      return true;
    }
    throw missingFinishError();
  } catch (thrown) {
    // The router's observer has recorded a LambentError. Any other error is a bug, which the pipeline logs.
    if (!hasStarted || !(thrown instanceof LambentError)) throw thrown;
    yield await encoder.fail(thrown);
    return false;
  }
}

/**
 * Returns whether `frame` looks like the last frame of a complete stream. Content never matches: JSON escapes its line
 * breaks, so it can't begin a line.
 */
export function isFinalFrame(frame: string): boolean {
  return /(?:^|\n)(?:data: \[DONE\]|event: (?:response\.(?:completed|incomplete)|message_stop))\n/.test(frame);
}

/** Returns the error for a model's response that ended without a `finish` event. */
export function missingFinishError(): LambentError {
  return new LambentError('upstream_cut', 'The response ended without a finish event');
}
