import { expect, it } from 'vitest';
import { type FoundName, locateNames } from '../../../../shared/safety/personal/locate-names.ts';

const name = (value: string): FoundName => ({ kind: 'name', value });

it('a name that a guardrail reports as often as it occurs is located once at each place', () => {
  const names = [name('Anna'), name('Anna'), { kind: 'address', value: 'Anna' } as const];
  expect(locateNames(names, ['Anna Anna', 'Anna'])).toEqual([
    [
      { kind: 'name', start: 0, end: 4 },
      { kind: 'name', start: 5, end: 9 },
      { kind: 'address', start: 0, end: 4 },
      { kind: 'address', start: 5, end: 9 },
    ],
    [
      { kind: 'name', start: 0, end: 4 },
      { kind: 'address', start: 0, end: 4 },
    ],
  ]);
});

it('a name that is in no text is an error', () => {
  expect(() => locateNames([name('Anna')], ['anna'])).toThrow(
    expect.objectContaining({ code: 'guardrail_unavailable' }),
  );
});
