import fc from 'fast-check';
import { expect, it } from 'vitest';
import { formatSeconds } from '../../../shared/limits/limit-errors.ts';

it.each([
  [0, '0s'],
  [1_500, '1.5s'],
  [59_999, '59.999s'],
  [59_999.5, '1m0s'],
  [60_000, '1m0s'],
  [119_500, '2m0s'],
  [3_599_500, '1h0m0s'],
  [86_399_900, '24h0m0s'],
])('%d ms are formatted as %s', (ms, text) => {
  expect(formatSeconds(ms)).toBe(text);
});

it('a formatted time is the milliseconds, rounded up to seconds from a minute on, and no part of it reaches 60', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 31 * 86_400_000 }), (ms) => {
      const parts = /^(?:(\d+)h)?(?:(\d+)m)?(\d+(?:\.\d+)?)s$/.exec(formatSeconds(ms));
      const [hours, minutes, seconds] = (parts ?? []).slice(1).map((part) => Number(part ?? 0));
      if (hours === undefined || minutes === undefined || seconds === undefined) throw new Error('another format');
      expect(Math.max(minutes, seconds)).toBeLessThan(60);
      const shown = Math.round((hours * 3_600 + minutes * 60 + seconds) * 1_000);
      expect(shown).toBe(ms < 60_000 ? ms : Math.ceil(ms / 1_000) * 1_000);
    }),
  );
});
