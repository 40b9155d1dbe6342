import { describe, expect, it } from 'vitest';
import { generateTrace } from './synthetic.ts';
import type { Trace } from './trace.ts';
import { countCopies, generateArrivals, type Load } from './workload.ts';

const TICK = 3_000;
/** Eight requests on four ticks, each with its own block after a shared one. */
const TRACE: Trace = {
  name: 'small',
  requests: Array.from({ length: 8 }, (_, index) => ({
    atMs: TICK * Math.floor(index / 2),
    inputTokens: 1_024 + index,
    outputTokens: 10,
    blocks: [0, index + 1],
  })),
  blockCount: 9,
  tickMs: TICK,
};

function load(changes: Partial<Load> = {}, trace = TRACE) {
  return generateArrivals(trace, { scale: 1, jitter: false, copies: 1, seed: 1, ...changes });
}

describe('the load', () => {
  it('the load at scale 1 is the trace at its own times', () => {
    expect(load()).toEqual(TRACE.requests);
  });

  it('the load arrives faster by its scale', () => {
    expect(load({ scale: 4 }).map(({ atMs }) => atMs)).toEqual(TRACE.requests.map(({ atMs }) => atMs / 4));
  });

  it('the load is spread by jitter within the rounding interval', () => {
    const spread = load({ jitter: true });
    expect(spread).toHaveLength(TRACE.requests.length);
    expect(new Set(spread.map(({ atMs }) => atMs)).size).toBe(TRACE.requests.length);
    for (const { inputTokens, atMs } of spread) {
      const tick = TRACE.requests[inputTokens - 1_024]?.atMs ?? 0;
      expect(atMs).toBeGreaterThanOrEqual(tick);
      expect(atMs).toBeLessThan(tick + TICK);
    }
    const times = spread.map(({ atMs }) => atMs);
    expect(times).toEqual(times.toSorted((a, b) => a - b));
  });

  it('the load is the same for the same seed, and different for another', () => {
    expect(load({ jitter: true })).toEqual(load({ jitter: true }));
    expect(load({ jitter: true, seed: 2 })).not.toEqual(load({ jitter: true }));
  });

  it('the load is not spread if times are not rounded', () => {
    const exact = { ...TRACE, tickMs: 0 };
    expect(load({ jitter: true }, exact)).toEqual(TRACE.requests);
  });
});

describe('copies of a trace', () => {
  it('copies load a large fleet as much as one copy loads a fleet of eight', () => {
    expect([1, 2, 8, 9, 32, 128].map(countCopies)).toEqual([1, 1, 1, 2, 4, 16]);
  });

  it('copies start at different places, share no blocks, and arrive concurrently', () => {
    const both = load({ copies: 2 });
    const [one, other] = [both.filter(({ blocks }) => blocks[0] === 0), both.filter(({ blocks }) => blocks[0] !== 0)];
    expect(one).toEqual(TRACE.requests);
    expect(other.map(({ inputTokens }) => inputTokens - 1_024)).toEqual([4, 5, 6, 7, 0, 1, 2, 3]);
    // The trace restarts one tick after its end.
    expect(other.map(({ atMs }) => atMs / TICK)).toEqual([0, 0, 1, 1, 2, 2, 3, 3]);
    const mine = new Set(one.flatMap(({ blocks }) => blocks));
    expect(other.flatMap(({ blocks }) => blocks).filter((block) => mine.has(block))).toEqual([]);
    for (const { inputTokens, blocks } of other) expect(blocks).toEqual([9, 9 + inputTokens - 1_023]);
  });

  it('copies have at most twice the trace’s requests together, at the rate of all copies', () => {
    const trace = generateTrace(1);
    const whole = generateArrivals(trace, { scale: 1, jitter: false, copies: 1, seed: 1 });
    const large = generateArrivals(trace, { scale: 1, jitter: false, copies: 8, seed: 1 });
    // Each copy has an integer number of requests.
    expect(large.length).toBeGreaterThanOrEqual(2 * whole.length);
    expect(large.length).toBeLessThan(2 * whole.length + 8);
    const computeRate = (made: typeof whole) => made.length / (made.at(-1)?.atMs ?? 0);
    expect(computeRate(large) / computeRate(whole)).toBeGreaterThan(5);
    expect(computeRate(large) / computeRate(whole)).toBeLessThan(11);
  });
});
