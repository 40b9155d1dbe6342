/**
 * The `p`-quantile by linear interpolation between the two nearest values (Hyndman and Fan's type 7).
 * @param p 0 to 1
 * @throws RangeError when there are no values
 */
export function quantile(values: readonly number[], p: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  const position = (sorted.length - 1) * p;
  const lower = sorted[Math.floor(position)];
  const upper = sorted[Math.ceil(position)];
  if (lower === undefined || upper === undefined) throw new RangeError('no values to take a quantile of');
  return lower + (upper - lower) * (position - Math.floor(position));
}

/** The middle value. */
export const median = (values: readonly number[]) => quantile(values, 0.5);

/**
 * Measures every side once a round, in an order that turns by one each round, so that neither a machine that slows down
 * nor a neighbour's effect falls on one side alone.
 * @returns for each side what was measured, round by round
 */
export async function interleave<Side, Result>(
  sides: readonly Side[],
  rounds: number,
  measure: (side: Side, round: number) => Promise<Result>,
): Promise<Map<Side, Result[]>> {
  const results = new Map<Side, Result[]>(sides.map((side) => [side, []]));
  for (let round = 0; round < rounds; round++) {
    const turn = round % sides.length;
    for (const side of [...sides.slice(turn), ...sides.slice(0, turn)]) {
      results.get(side)?.push(await measure(side, round));
    }
  }
  return results;
}
