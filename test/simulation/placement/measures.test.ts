import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { computeAloneMs, computeJainIndex, computeMeasures } from './measures.ts';
import { type Outcome, simulate } from './simulate.ts';
import type { Arrival } from './workload.ts';
import { ENGINE, makeArrival, makeOptions } from './world.ts';

/** A request with its milliseconds to the first token and per later token. */
interface Answer extends Partial<Arrival> {
  readonly firstMs: number;
  readonly eachMs?: number;
  readonly cached?: number;
}

function measureAnswers(answers: readonly Answer[], more: Partial<Outcome> = {}) {
  const arrivals = answers.map(({ firstMs: _, eachMs: __, cached: ___, ...rest }, index) => makeArrival(index, rest));
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
  return computeMeasures(arrivals, outcome, ENGINE);
}
const REFUSED = { firstMs: Number.NaN };

describe('goodput', () => {
  it('goodput counts answers with the first token within 5 s and later tokens within 100 ms each', () => {
    const { goodput } = measureAnswers([
      { firstMs: 5_000, eachMs: 100 },
      { firstMs: 5_001, eachMs: 10 },
      { firstMs: 10, eachMs: 100.1 },
      { firstMs: 10, eachMs: 10 },
    ]);
    expect(goodput).toBe(0.5);
  });

  it('goodput counts refused requests as bad answers', () => {
    expect(measureAnswers([{ firstMs: 10 }, REFUSED, REFUSED, REFUSED])).toMatchObject({
      requests: 4,
      refused: 3,
      goodput: 0.25,
      scaledGoodput: 0.25,
    });
  });

  it('goodput judges an answer of one token by its first token only', () => {
    const { goodput, perTokenMs } = measureAnswers([{ firstMs: 10, outputTokens: 1 }]);
    expect(goodput).toBe(1);
    expect(perTokenMs.p50).toBeNaN();
  });

  it('the length-scaled target allows one second plus twice the prompt’s time on an idle worker', () => {
    for (const inputTokens of [100, 5_000, 60_000]) {
      const target = 1_000 + 2 * computeAloneMs(inputTokens, ENGINE);
      expect(measureAnswers([{ inputTokens, firstMs: target }]).scaledGoodput).toBe(1);
      expect(measureAnswers([{ inputTokens, firstMs: target + 1 }]).scaledGoodput).toBe(0);
    }
    expect(measureAnswers([{ inputTokens: 100, firstMs: 10, eachMs: 101 }]).scaledGoodput).toBe(0);
  });

  it.each([1, 2_047, 2_048, 2_049, 10_000, 90_000])(
    'the time of a prompt of %d tokens on an idle worker is the time that an engine takes',
    async (inputTokens) => {
      const arrivals = [makeArrival(0, { inputTokens, outputTokens: 1 })];
      const { firstTokenMs } = await simulate(makeOptions({ arrivals, workers: 1, policy: 'round-robin' }));
      expect(firstTokenMs[0]).toBeCloseTo(computeAloneMs(inputTokens, ENGINE), 6);
    },
  );
});

describe('the other measures', () => {
  it('the prefix hit rate is the cached share of served prompts', () => {
    const { prefixHitRate } = measureAnswers([
      { firstMs: 10, inputTokens: 1_000, cached: 512 },
      { firstMs: 10, inputTokens: 3_000, cached: 0 },
      { ...REFUSED, inputTokens: 50_000 },
    ]);
    expect(prefixHitRate).toBe(512 / 4_000);
  });

  it('the times are given as median and 99th percentile', () => {
    const answers = Array.from({ length: 101 }, (_, index) => ({ firstMs: 10 * index, eachMs: index }));
    const { firstTokenMs, perTokenMs } = measureAnswers(answers);
    expect(firstTokenMs).toEqual({ p50: 500, p99: 990 });
    expect(perTokenMs.p50).toBeCloseTo(50);
    expect(perTokenMs.p99).toBeCloseTo(99);
  });

  it('utilisation and fairness show how long and how evenly workers computed', () => {
    const { utilisation, fairness } = measureAnswers([{ firstMs: 1 }], { busyMs: [300, 100, 0, 0], spanMs: 400 });
    expect(utilisation).toBe(0.25);
    expect(fairness).toBeCloseTo(0.4);
  });

  it('the measures include recomputed tokens and the tokens of bulk work', () => {
    const answers = [
      { firstMs: 1, inputTokens: 900, outputTokens: 100 },
      { firstMs: 1, inputTokens: 950, outputTokens: 50 },
    ];
    const found = measureAnswers(answers, { recomputedTokens: 500, bulkTokens: 3 });
    expect(found.wastedTokens).toBe(0.25);
    // Until the last arrival, at 1 ms.
    expect(found.bulkTokensPerSecond).toBe(3_000);
    expect(measureAnswers([{ firstMs: 1 }]).bulkTokensPerSecond).toBe(0);
  });

  it('the measures are empty if no request was served', () => {
    expect(measureAnswers([REFUSED])).toMatchObject({ goodput: 0, prefixHitRate: 0, wastedTokens: 0 });
    expect(measureAnswers([REFUSED]).firstTokenMs.p99).toBeNaN();
  });
});

describe('Jain’s index', () => {
  it.each([
    [[1, 1, 1, 1], 1],
    [[4, 0, 0, 0], 0.25],
    [[1, 2, 3], 36 / 42],
    [[0, 0], 1],
  ])('Jain’s index of %j is %d', (shares, index) => {
    expect(computeJainIndex(shares)).toBeCloseTo(index, 12);
  });

  it('Jain’s index lies between 1/n and 1 in any unit', () => {
    const shares = fc.array(fc.double({ min: 0.001, max: 1e6, noNaN: true }), { minLength: 1, maxLength: 50 });
    fc.assert(
      fc.property(shares, fc.double({ min: 0.01, max: 100, noNaN: true }), (each, unit) => {
        const index = computeJainIndex(each);
        expect(index).toBeGreaterThanOrEqual(1 / each.length - 1e-9);
        expect(index).toBeLessThanOrEqual(1 + 1e-9);
        expect(computeJainIndex(each.map((share) => share * unit))).toBeCloseTo(index, 9);
      }),
    );
  });
});
