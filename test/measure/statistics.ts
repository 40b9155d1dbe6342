/**
 * Returns the `p`-quantile by linear interpolation between the two nearest values (Hyndman and Fan's type 7).
 * @param p 0 to 1
 * @throws RangeError if there are no values
 */
export function computeQuantile(values: readonly number[], p: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  const position = (sorted.length - 1) * p;
  const lower = sorted[Math.floor(position)];
  const upper = sorted[Math.ceil(position)];
  if (lower === undefined || upper === undefined) throw new RangeError('there are no values to compute a quantile of');
  return lower + (upper - lower) * (position - Math.floor(position));
}

/** Returns the median. */
export const computeMedian = (values: readonly number[]) => computeQuantile(values, 0.5);

/**
 * Measures every target once per round. The order rotates each round, so that neither a machine that slows down nor the
 * order favours a target.
 * @returns the results of each target, round by round
 */
export async function interleave<Target, Result>(
  targets: readonly Target[],
  rounds: number,
  measure: (target: Target, round: number) => Promise<Result>,
): Promise<Map<Target, Result[]>> {
  const results = new Map<Target, Result[]>(targets.map((target) => [target, []]));
  for (let round = 0; round < rounds; round++) {
    const turn = round % targets.length;
    for (const target of [...targets.slice(turn), ...targets.slice(0, turn)]) {
      results.get(target)?.push(await measure(target, round));
    }
  }
  return results;
}
