import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { checkPattern, compilePattern, isValidPattern } from '../../../shared/access/custom-pattern.ts';

describe('a custom pattern', () => {
  it.each([
    ...['', 'a*', '^', '$', '(?m)^', '(?m)$', '\\B', '\\z', 'x|', '(?:x?)+'],
    ...['\\b', '\\bx*', '^\\b', '\\b$', '(?:\\b)+', '\\b|x', '\\b\\B?', '(?m)^\\b', '(?m)\\b$', '\\b\\w*', '\\b\\d?'],
    ...['(?i)\\ba*', '(?m)^x*\\b\\s*', '\\b|\\Qx*', '\\b\\A', '\\z|\\b'],
  ])('%j is refused, because it matches an empty text', (pattern) => {
    expect(() => checkPattern(pattern)).toThrow('empty text');
    expect(isValidPattern(pattern)).toBe(false);
  });

  it.each([
    ...['x', '\\bx', '\\bx*y', '\\bE-\\d{5}\\b', '\\b\\w+', '(?i)\\b(?:falcon|eagle)\\b', '^\\bx', '\\b.', '(?s)\\b.'],
    ...['\\b\\B', '\\\\b', '\\\\b*', '\\Qa\\b', '\\bx|\\Qy*', '\\b\\n', '\\b '],
  ])('%j is accepted, because each match has a character', (pattern) => {
    expect(() => checkPattern(pattern)).not.toThrow();
  });

  it('a pattern that is accepted has no empty match in any text', () => {
    const part = fc.constantFrom(
      '\\b',
      '\\B',
      '^',
      '$',
      '\\w',
      'a',
      ' ',
      '.',
      '\\n',
      '|',
      '*',
      '?',
      '(?:',
      ')',
      '(?m)',
    );
    const parts = fc.array(part, { minLength: 1, maxLength: 8 }).map((each) => each.join(''));
    const text = fc.array(fc.constantFrom('a', 'b', '1', ' ', '-', '\n', '禁'), { maxLength: 6 });
    fc.assert(
      fc.property(parts.filter(isValidPattern), text, (pattern, characters) => {
        for (const [match] of compilePattern(pattern).matchAll(characters.join(''))) expect(match).not.toBe('');
      }),
      { numRuns: 500 },
    );
  });

  it('a pattern with an empty match that an earlier version has stored still compiles', () => {
    expect(compilePattern('\\b').test('a')).toBe(true);
  });
});
