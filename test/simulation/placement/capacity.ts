/** Share of good answers that a fleet at its capacity still gives. */
export const GOOD_SHARE = 0.95;

/** By how much the two ends may be apart when the search stops. */
const PRECISION = 1.01;
/** By how much it steps while it looks for them. */
const STRIDE = 1.25;
/** Further out there is nothing to find. */
const RANGE = { least: 1 / 1_024, most: 1_024 };

/**
 * The largest scale of arrivals at which `goodput` still is 95%, within a percent: strides until there is a scale that keeps it
 * and one that doesn't, halves of what is between them, and a straight line at last. Less load is taken to be no worse.
 * @param start where to look first
 * @throws Error when there is none between a thousandth and a thousand
 */
export async function findCapacity(goodput: (scale: number) => Promise<number>, start: number): Promise<number> {
  let [kept, missed]: [Point | undefined, Point | undefined] = [undefined, undefined];
  let scale = start;
  for (;;) {
    if (scale < RANGE.least || scale > RANGE.most) throw new Error('no scale gives 95% of good answers');
    const point = { scale, goodput: await goodput(scale) };
    if (point.goodput >= GOOD_SHARE) kept = point;
    else missed = point;
    if (kept === undefined) scale /= STRIDE;
    else if (missed === undefined) scale *= STRIDE;
    else if (missed.scale / kept.scale > PRECISION) scale = Math.sqrt(kept.scale * missed.scale);
    else return between(kept, missed);
  }
}

interface Point {
  readonly scale: number;
  readonly goodput: number;
}

function between(kept: Point, missed: Point): number {
  const share = (kept.goodput - GOOD_SHARE) / (kept.goodput - missed.goodput);
  return kept.scale + share * (missed.scale - kept.scale);
}
