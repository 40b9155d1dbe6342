/** A fleet is at its capacity when this share of its answers is good. */
export const GOOD_SHARE = 0.95;

/** Ratio of the interval's ends at which the search stops. */
const PRECISION = 1.01;
/** Factor between two scales in the search for an interval. */
const STRIDE = 1.25;
/** Limits of the search. */
const RANGE = { least: 1 / 1_024, most: 1_024 };

/**
 * Returns the largest scale of arrivals at which `goodput` is at least 95%, within 1%. The search steps outwards until
 * one scale reaches the target and one misses it, bisects, and interpolates linearly at the end. It assumes that
 * goodput never falls when load falls.
 * @param start the first scale to try
 * @throws Error if there is no such scale between 1/1,024 and 1,024
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
    else return interpolate(kept, missed);
  }
}

interface Point {
  readonly scale: number;
  readonly goodput: number;
}

function interpolate(kept: Point, missed: Point): number {
  const share = (kept.goodput - GOOD_SHARE) / (kept.goodput - missed.goodput);
  return kept.scale + share * (missed.scale - kept.scale);
}
