import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { aloneMs, jain, measure } from './measures.ts';
import { type Outcome, simulate } from './simulate.ts';
import type { Arrival } from './workload.ts';
import { anArrival, ENGINE, options } from './world.ts';

/** One request, and how it went: milliseconds to its first token, and for each one after it. */
interface Answer extends Partial<Arrival> {
  readonly firstMs: number;
  readonly eachMs?: number;
  readonly cached?: number;
}

function measured(answers: readonly Answer[], more: Partial<Outcome> = {}) {
  const arrivals = answers.map(({ firstMs: _, eachMs: __, cached: ___, ...rest }, index) => anArrival(index, rest));
  const endMs = ({ firstMs, eachMs = 10 }: Answer, index: number) =>
    firstMs + eachMs * ((arrivals[index]?.outputTokens ?? 0) - 1);
  const outcome: Outcome = {
    firstTokenMs: Float64Array.from(answers, ({ firstMs }) => firstMs),
    endMs: Float64Array.from(answers, endMs),
    cachedTokens: Float64Array.from(answers, ({ cached = 0 }) => cached),
    refused: answers.filter(({ firstMs }) => Number.isNaN(firstMs)).length,
    busyMs: [100, 100],
    spanMs: 400,
    recomputedTokens: 0,
    bulkTokens: 0,
    ...more,
  };
  return measure(arrivals, outcome, ENGINE);
}
const REFUSED = { firstMs: Number.NaN };

describe('goodput', () => {
  test('counts who had the first token within 5 s and the others within 100 ms each', () => {
    const { goodput } = measured([
      { firstMs: 5_000, eachMs: 100 },
      { firstMs: 5_001, eachMs: 10 },
      { firstMs: 10, eachMs: 100.1 },
      { firstMs: 10, eachMs: 10 },
    ]);
    expect(goodput).toBe(0.5);
  });

  test('counts the refused among all, and never as good', () => {
    expect(measured([{ firstMs: 10 }, REFUSED, REFUSED, REFUSED])).toMatchObject({
      requests: 4,
      refused: 3,
      goodput: 0.25,
      scaledGoodput: 0.25,
    });
  });

  test('asks an answer of one token for its first one only', () => {
    const { goodput, perTokenMs } = measured([{ firstMs: 10, outputTokens: 1 }]);
    expect(goodput).toBe(1);
    expect(perTokenMs.p50).toBeNaN();
  });

  test('under the length-scaled target allows a second, and twice what the prompt takes alone', () => {
    for (const inputTokens of [100, 5_000, 60_000]) {
      const target = 1_000 + 2 * aloneMs(inputTokens, ENGINE);
      expect(measured([{ inputTokens, firstMs: target }]).scaledGoodput).toBe(1);
      expect(measured([{ inputTokens, firstMs: target + 1 }]).scaledGoodput).toBe(0);
    }
    expect(measured([{ inputTokens: 100, firstMs: 10, eachMs: 101 }]).scaledGoodput).toBe(0);
  });

  test.each([1, 2_047, 2_048, 2_049, 10_000, 90_000])(
    'takes for a prompt of %d tokens alone what an engine takes',
    async (inputTokens) => {
      const arrivals = [anArrival(0, { inputTokens, outputTokens: 1 })];
      const { firstTokenMs } = await simulate(options({ arrivals, workers: 1, policy: 'round-robin' }));
      expect(firstTokenMs[0]).toBeCloseTo(aloneMs(inputTokens, ENGINE), 6);
    },
  );
});

describe('what else is told of a run', () => {
  test('is the share of prompts that was cached, of those that were served', () => {
    const { prefixHitRate } = measured([
      { firstMs: 10, inputTokens: 1_000, cached: 512 },
      { firstMs: 10, inputTokens: 3_000, cached: 0 },
      { ...REFUSED, inputTokens: 50_000 },
    ]);
    expect(prefixHitRate).toBe(512 / 4_000);
  });

  test('is the middle and the hundredth of times', () => {
    const answers = Array.from({ length: 101 }, (_, index) => ({ firstMs: 10 * index, eachMs: index }));
    const { firstTokenMs, perTokenMs } = measured(answers);
    expect(firstTokenMs).toEqual({ p50: 500, p99: 990 });
    expect(perTokenMs.p50).toBeCloseTo(50);
    expect(perTokenMs.p99).toBeCloseTo(99);
  });

  test('is how long workers computed, and how evenly', () => {
    const { utilisation, fairness } = measured([{ firstMs: 1 }], { busyMs: [300, 100, 0, 0], spanMs: 400 });
    expect(utilisation).toBe(0.25);
    expect(fairness).toBeCloseTo(0.4);
  });

  test('is what was computed again, and what bulk work was done beside', () => {
    const answers = [
      { firstMs: 1, inputTokens: 900, outputTokens: 100 },
      { firstMs: 1, inputTokens: 950, outputTokens: 50 },
    ];
    const found = measured(answers, { recomputedTokens: 500, bulkTokens: 3 });
    expect(found.wastedTokens).toBe(0.25);
    // Until the last arrival, at 1 ms.
    expect(found.bulkTokensPerSecond).toBe(3_000);
    expect(measured([{ firstMs: 1 }]).bulkTokensPerSecond).toBe(0);
  });

  test('is nothing where nobody was served', () => {
    expect(measured([REFUSED])).toMatchObject({ goodput: 0, prefixHitRate: 0, wastedTokens: 0 });
    expect(measured([REFUSED]).firstTokenMs.p99).toBeNaN();
  });
});

describe('Jain’s index', () => {
  test.each([
    [[1, 1, 1, 1], 1],
    [[4, 0, 0, 0], 0.25],
    [[1, 2, 3], 36 / 42],
    [[0, 0], 1],
  ])('of %j is %d', (shares, index) => {
    expect(jain(shares)).toBeCloseTo(index, 12);
  });

  test('lies between one n-th and 1, whatever the unit', () => {
    const shares = fc.array(fc.double({ min: 0.001, max: 1e6, noNaN: true }), { minLength: 1, maxLength: 50 });
    fc.assert(
      fc.property(shares, fc.double({ min: 0.01, max: 100, noNaN: true }), (each, unit) => {
        const index = jain(each);
        expect(index).toBeGreaterThanOrEqual(1 / each.length - 1e-9);
        expect(index).toBeLessThanOrEqual(1 + 1e-9);
        expect(jain(each.map((share) => share * unit))).toBeCloseTo(index, 9);
      }),
    );
  });
});
