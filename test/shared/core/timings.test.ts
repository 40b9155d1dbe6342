import { describe, expect, it } from 'vitest';
import { divideTimings } from '../../../shared/core/timings.ts';

describe('divideTimings', () => {
  it('divideTimings divides each interval by the divisor once, in nested groups too', () => {
    const timings = { leaseMs: 45_000, heartbeat: { everyMs: 15_000, retry: { pauseMs: 3_000 } } };
    expect(divideTimings(timings, 6)).toEqual({
      leaseMs: 7_500,
      heartbeat: { everyMs: 2_500, retry: { pauseMs: 500 } },
    });
  });

  it('divideTimings rounds up to whole milliseconds, so that no interval becomes 0', () => {
    expect(divideTimings({ pauseMs: 10, shortMs: 1 }, 3)).toEqual({ pauseMs: 4, shortMs: 1 });
  });

  it('divideTimings changes nothing if the divisor is 1, as in deployments', () => {
    expect(divideTimings({ leaseMs: 45_000 }, 1)).toEqual({ leaseMs: 45_000 });
  });
});
