import { describe, expect, it } from 'vitest';
import { createTokenEstimator, estimateTokens } from '../../../shared/core/token-estimate.ts';

describe('estimateTokens', () => {
  it('estimateTokens counts a token per four bytes of UTF-8, rounded up', () => {
    expect(estimateTokens('')).toBe(0);
    expect(estimateTokens('12345')).toBe(2);
    expect(estimateTokens('日本')).toBe(2);
  });
});

describe('createTokenEstimator', () => {
  it('a token estimator starts at four bytes per token and takes the first answer as it is', () => {
    const tokens = createTokenEstimator();
    expect(tokens.getBytesPerToken('m')).toBe(4);
    tokens.recordUsage('m', 4_000, 2_000);
    expect(tokens.getBytesPerToken('m')).toBe(2);
    expect(tokens.getBytesPerToken('other')).toBe(4);
  });

  it('a token estimator moves a tenth of the way with each further answer', () => {
    const tokens = createTokenEstimator();
    tokens.recordUsage('m', 4_000, 1_000);
    tokens.recordUsage('m', 4_000, 2_000);
    expect(tokens.getBytesPerToken('m')).toBeCloseTo(3.8);
  });
});
