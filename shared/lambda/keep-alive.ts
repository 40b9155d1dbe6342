import { Readable } from 'node:stream';

/** A comment in an event stream. Every client ignores it. */
export const KEEP_ALIVE_COMMENT = ': keep-alive\n\n';

/**
 * Creates a byte stream of server-sent event frames that sends `keepAliveFrame` after each `intervalMs` without a frame. Reads
 * the next frame only when the consumer has taken the last one.
 * @param frames whole frames, so that another may stand between any two
 */
export function createKeepAliveStream(
  frames: AsyncGenerator<string>,
  intervalMs: number,
  keepAliveFrame = KEEP_ALIVE_COMMENT,
): Readable {
  let pulling = false;
  const pull = async (stream: Readable): Promise<void> => {
    // Pushing that frame makes the stream call `read` again while the next frame is still pending.
    if (pulling) return;
    pulling = true;
    const frame = await frames.next();
    pulling = false;
    commentTimer.refresh();
    stream.push(frame.done ? null : frame.value, 'utf8');
  };
  const stream = new Readable({
    read() {
      pull(this).catch((error: unknown) => this.destroy(error instanceof Error ? error : new Error(String(error))));
    },
    destroy(error, callback) {
      clearInterval(commentTimer);
      frames.return(undefined).then(
        () => callback(error),
        (failure: unknown) => callback(error ?? (failure instanceof Error ? failure : new Error(String(failure)))),
      );
    },
  });
  const commentTimer = setInterval(() => {
    if (pulling) stream.push(keepAliveFrame, 'utf8');
  }, intervalMs);
  return stream;
}
