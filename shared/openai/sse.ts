import { LambentError } from '../core/errors.ts';
import type { GenerationEvent } from '../inference/generation.ts';

/** Writes one API's stream. Each call returns whole server-sent event frames, one after the other, or ''. */
export interface StreamEncoder {
  /** What `event` adds to the stream. */
  encode(event: GenerationEvent): string;
  /** What is left to say after the `finish`, once whatever has to be kept is kept. Throws when it can't be. */
  end?(): Promise<string>;
  /** What a stream says of itself when its answer was cut. */
  fail(error: LambentError): string | Promise<string>;
}

/** A frame without a name, as chat completions send them. */
export function encodeDataFrame(json: string): string {
  return `data: ${json}\n\n`;
}

/** A frame whose event name is the `type` of its data, as responses send them. */
export function encodeTypedFrame<T extends { readonly type: string }>(event: T): string {
  return `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`;
}

/**
 * The frames of an answer, pulled one by one. Once the first one is out a failure can only be told in band; an answer
 * without its `finish` is one.
 * @returns whether the answer is whole
 * @throws whatever `events` throws before the first frame, and what is not a LambentError after it
 */
export async function* encodeStream(
  events: AsyncIterable<GenerationEvent>,
  encoder: StreamEncoder,
): AsyncGenerator<string, boolean> {
  let began = false;
  try {
    for await (const event of events) {
      const frames = encoder.encode(event);
      if (frames !== '') {
        began = true;
        yield frames;
      }
      if (event.type !== 'finish') continue;
      const last = await encoder.end?.();
      if (last !== undefined) yield last;
      return true;
    }
    throw missingFinishError();
  } catch (thrown) {
    // The router has told its observer of it; anything else is a bug, which the pipeline logs.
    if (!began || !(thrown instanceof LambentError)) throw thrown;
    yield await encoder.fail(thrown);
    return false;
  }
}

/** Whether a frame looks like the last of its stream. Content can't: a line of it never begins in the clear. */
export function isFinalFrame(frame: string): boolean {
  return /^(data: \[DONE\]|event: response\.(completed|incomplete))$/m.test(frame);
}

/** Whether the answer to a request may be kept: its caller hasn't said otherwise. */
export function allowsStorage(body: unknown): boolean {
  return !(typeof body === 'object' && body !== null && 'store' in body && body.store === false);
}

/** Whether a request makes a job, which a repetition with its idempotency key finds by an id that follows from both. */
export function runsInBackground(body: unknown): boolean {
  return typeof body === 'object' && body !== null && 'background' in body && body.background === true;
}

/** The error for an answer that ended without being whole. */
export function missingFinishError(): LambentError {
  return new LambentError('upstream_cut', 'The answer ended before it was whole');
}
