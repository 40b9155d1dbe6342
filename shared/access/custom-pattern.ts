import { RE2JS } from 're2js';

/** The largest compiled pattern, in RE2's instructions. A repetition such as `{1000}` copies what it repeats. */
const MAX_PROGRAM = 2_000;

/**
 * Compiles a regular expression in RE2's syntax, which has neither backreferences nor lookaround, so that a search takes time in
 * proportion to the text.
 * @throws Error if it is invalid or too large, or matches an empty text
 */
export function compilePattern(pattern: string): RE2JS {
  const compiled = RE2JS.compile(pattern);
  if (compiled.programSize() > MAX_PROGRAM) throw new RangeError('The pattern is too large');
  if (compiled.test('')) throw new RangeError('The pattern matches an empty text');
  return compiled;
}

/**
 * Checks a pattern before it is stored.
 * @throws Error if `compilePattern` does, or if the pattern matches an empty text within a longer one, as `\b` does
 */
export function checkPattern(pattern: string): void {
  compilePattern(pattern);
  if (pattern.includes('\\b') && WORD_BOUNDARIES.some(([before, after]) => matchesBetween(before, pattern, after)))
    throw new RangeError('The pattern matches an empty text at a word boundary');
}

/** Returns whether `checkPattern` accepts a pattern. */
export function isValidPattern(pattern: string): boolean {
  try {
    checkPattern(pattern);
    return true;
  } catch {
    return false;
  }
}

/**
 * What is next to a word boundary: a character of a word, and on the other side another character, a line break, or nothing. RE2's
 * assertions look no further, and all but `\b` hold in an empty text. So these are all further places of an empty match.
 */
const WORD_BOUNDARIES = ['', ' ', '\n'].flatMap((other) => [
  ['a', other],
  [other, 'a'],
]) as readonly (readonly [before: string, after: string])[];

/** Returns whether a valid pattern matches the empty text between two texts. */
function matchesBetween(before: string, pattern: string, after: string): boolean {
  const matches = (group: string) => RE2JS.compile(`\\A${before}${group}${after}\\z`).test(before + after);
  try {
    return matches(`(?:${pattern})`);
  } catch {
    // The pattern ends in a quotation, `\Q`, which has to be closed first.
    return matches(`(?:${pattern}\\E)`);
  }
}
