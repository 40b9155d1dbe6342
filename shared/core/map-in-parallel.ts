/**
 * Calls `run` for each item, at most `limit` at a time, and returns the results in the items' order. If some fail,
 * rejects with the first failure once all have ended.
 */
export async function mapInParallel<Item, Result>(
  items: readonly Item[],
  limit: number,
  run: (item: Item) => Promise<Result>,
): Promise<Result[]> {
  const results: Result[] = [];
  const failures: unknown[] = [];
  // All runners take their items from the same iterator.
  const queue = items.entries();
  const runQueue = async (): Promise<void> => {
    for (const [index, item] of queue) {
      try {
        results[index] = await run(item);
      } catch (thrown) {
        failures.push(thrown);
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, runQueue));
  if (failures.length > 0) throw failures[0];
  return results;
}
