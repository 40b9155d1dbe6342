/** Wraps a callback so that it also ends the hold on the key. */
export type Release = <Args extends unknown[]>(callback: (...args: Args) => void) => (...args: Args) => void;

/**
 * Returns a function that calls `run` when no other call holds the key, in the order of the calls.
 */
export function createKeyLock(): (key: string, run: (release: Release) => void) => void {
  const waiting = new Map<string, (() => void)[]>();

  const release = (key: string): void => {
    const next = waiting.get(key)?.shift();
    if (next === undefined) waiting.delete(key);
    // Later, so that the holder's own callback comes first and a long queue needs no deep stack.
    else setImmediate(next);
  };
  return (key, run) => {
    const hold = () =>
      run((callback) => (...args) => {
        release(key);
        callback(...args);
      });
    const queue = waiting.get(key);
    if (queue === undefined) {
      waiting.set(key, []);
      hold();
    } else queue.push(hold);
  };
}
