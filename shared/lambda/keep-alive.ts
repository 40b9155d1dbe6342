import { Readable } from 'node:stream';

/** A comment line of an event stream: every client skips it. */
export const KEEP_ALIVE_COMMENT = ': keep-alive\n\n';

/**
 * A byte stream of server-sent event frames that is never silent for long: after `everyMs` without a frame a comment
 * line is sent. Pulls the next frame only when the last one has been taken.
 * @param frames each a whole frame, so that a comment can stand between any two
 */
export function createKeepAliveStream(frames: AsyncGenerator<string>, everyMs: number): Readable {
  let pulling = false;
  const pull = async (stream: Readable): Promise<void> => {
    // Pushing a comment makes the stream ask again while a frame is still on its way.
    if (pulling) return;
    pulling = true;
    const frame = await frames.next();
    pulling = false;
    silence.refresh();
    stream.push(frame.done ? null : frame.value, 'utf8');
  };
  const stream = new Readable({
    read() {
      pull(this).catch((error: unknown) => this.destroy(error instanceof Error ? error : new Error(String(error))));
    },
    destroy(error, callback) {
      clearInterval(silence);
      frames.return(undefined).then(
        () => callback(error),
        (failure: unknown) => callback(error ?? (failure instanceof Error ? failure : new Error(String(failure)))),
      );
    },
  });
  const silence = setInterval(() => {
    if (pulling) stream.push(KEEP_ALIVE_COMMENT);
  }, everyMs);
  return stream;
}
