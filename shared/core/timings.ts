import * as v from 'valibot';

/** The setting with which tests shorten a function's recovery intervals. Unset in deployments. */
export const timingsSettings = {
  /** Divides leases, heartbeats and pauses: with 6, a 45 s lease takes 7.5 s. */
  TIMINGS_DIVISOR: v.optional(v.pipe(v.string(), v.toNumber(), v.minValue(1)), '1'),
};

type Timings<T> = { readonly [Name in keyof T]: T[Name] extends number ? number : Timings<T[Name]> };

/**
 * Divides all intervals by `divisor`, which keeps their proportions.
 * @param timings milliseconds by name; groups may be nested
 * @returns whole milliseconds, rounded up
 */
export function divideTimings<T extends Timings<T>>(timings: T, divisor: number): T {
  const divide = (value: object | number): unknown =>
    typeof value === 'number'
      ? Math.ceil(value / divisor)
      : Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, divide(inner)]));
  return divide(timings) as T;
}
