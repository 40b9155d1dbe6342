/**
 * Returns a function that calls `make` at its first call and returns that result from then on. After a
 * failure, the next call calls `make` again.
 */
export function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => {
    made ??= make().catch((error: unknown) => {
      made = undefined;
      throw error;
    });
    return made;
  };
}
