import { compilePattern } from '../../../access/custom-pattern.ts';
import type { PersonalDataPattern } from '../../../access/personal-data.ts';
import { LambentError } from '../../../core/errors.ts';
import type { FindValues } from '../finding.ts';

/** The longest value, in characters. */
const MAX_VALUE = 256;
/** Characters before a part of the text that the pattern may look at, such as for `\b`. */
const CONTEXT = 64;
/** The text is searched in parts of this length, because each match may look at all that follows it. */
const PART = 1_024;
/** Bounds the time of a pattern that matches everywhere. */
const MAX_MATCHES = 20_000;

/**
 * Returns the finder of a custom pattern, in the syntax of RE2, which has neither backreferences nor lookaround.
 * @throws LambentError `configuration` if the pattern is invalid or too large
 */
export function createPatternFinder(pattern: PersonalDataPattern): FindValues {
  const compiled = compile(pattern);
  return function* (text) {
    let matches = 0;
    for (let from = 0; from < text.length; from += PART) {
      const start = Math.max(0, from - CONTEXT);
      for (const match of compiled.matchAll(text.slice(start, from + PART + MAX_VALUE))) {
        matches += 1;
        if (matches > MAX_MATCHES)
          throw createRefusal(`The pattern ${pattern.name} of the policy matches too much of the request.`);
        const at = start + (match.index ?? 0);
        const end = at + (match[0] ?? '').length;
        if (end > at && end > from && at < from + PART) yield { start: at, end };
      }
    }
  };
}

function createRefusal(message: string): LambentError {
  return new LambentError('content_filter', message, { refusal: message });
}

function compile({ name, pattern }: PersonalDataPattern) {
  try {
    return compilePattern(pattern);
  } catch (cause) {
    throw new LambentError('configuration', `The pattern ${name} of the policy is invalid or too large`, { cause });
  }
}
