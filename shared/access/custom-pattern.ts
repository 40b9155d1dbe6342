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

/** Returns whether `compilePattern` accepts a pattern. */
export function isValidPattern(pattern: string): boolean {
  try {
    compilePattern(pattern);
    return true;
  } catch {
    return false;
  }
}
