import * as v from 'valibot';

/** The setting by which tests shorten every recovery interval of a function. Unset in every deployment. */
export const timingsSettings = {
  /** Leases, heartbeats and pauses are divided by it: 6 makes a 45 s lease one of 7.5 s. */
  TIMINGS_DIVISOR: v.optional(v.pipe(v.string(), v.toNumber(), v.minValue(1)), '1'),
};

type Timings<T> = { readonly [Name in keyof T]: T[Name] extends number ? number : Timings<T[Name]> };

/**
 * Divides intervals by `divisor`, so that they keep their proportions.
 * @param timings milliseconds by name, also in groups
 * @returns whole milliseconds, rounded up
 */
export function divideTimings<T extends Timings<T>>(timings: T, divisor: number): T {
  const divide = (value: object | number): unknown =>
    typeof value === 'number'
      ? Math.ceil(value / divisor)
      : Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, divide(inner)]));
  return divide(timings) as T;
}
