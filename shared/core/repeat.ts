/**
 * Calls `run` until it succeeds, and again after each failure that may pass.
 * @param mayRepeat decides after a failure whether `run` is called again
 * @param pause is awaited before that. If it rejects, its error is thrown
 * @throws the first failure that may not be repeated
 */
export async function repeatAfterFailures<T>(
  run: () => Promise<T>,
  mayRepeat: (thrown: unknown) => boolean,
  pause: (thrown: unknown) => Promise<void>,
): Promise<T> {
  for (;;) {
    try {
      return await run();
    } catch (thrown) {
      if (!mayRepeat(thrown)) throw thrown;
      await pause(thrown);
    }
  }
}
