import { describe, expect, it } from 'vitest';
import { findCapacity, GOOD_SHARE } from './capacity.ts';

const createStep = (at: number) => async (scale: number) => (scale <= at ? 1 : 0.2);
/** Declines by a tenth per doubling beyond 1, so that it is 95% at the square root of 2. */
const computeSlope = async (scale: number) => Math.min(1, 1 - 0.1 * Math.log2(scale));

describe('the capacity', () => {
  it.each([0.01, 0.5, 1, 3.7, 250])('the capacity is found within 1% if goodput drops at a scale of %d', async (at) => {
    for (const start of [0.02, 1, 2, 90]) {
      const found = await findCapacity(createStep(at), start);
      expect(found / at).toBeGreaterThan(0.99);
      expect(found / at).toBeLessThan(1.01);
    }
  });

  it('the capacity is found far within 1% of the load at which a declining goodput crosses 95%', async () => {
    for (const start of [0.1, Math.SQRT2, 40]) {
      const found = await findCapacity(computeSlope, start);
      expect(found).toBeCloseTo(Math.SQRT2, 3);
      expect(await computeSlope(found)).toBeCloseTo(GOOD_SHARE, 4);
    }
  });

  it('the capacity includes a scale with a goodput of exactly 95%', async () => {
    const found = await findCapacity(async (scale) => (scale <= 2 ? GOOD_SHARE : 0.9), 1);
    expect(found).toBeGreaterThan(1.98);
    expect(found).toBeLessThanOrEqual(2);
  });

  it.each([
    ['never good', 0],
    ['always good', 1],
    ['not a number', Number.NaN],
  ])('the capacity cannot be found if goodput is %s', async (_, goodput) => {
    await expect(findCapacity(async () => goodput, 1)).rejects.toThrow('no scale gives 95% of good answers');
  });

  it('the search rejects with the error of a failed simulation', async () => {
    const failing = async () => {
      throw new Error('no such trace');
    };
    await expect(findCapacity(failing, 1)).rejects.toThrow('no such trace');
  });
});
