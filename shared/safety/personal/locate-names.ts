import type { PersonalDataKind } from '../../access/personal-data.ts';
import { LambentError } from '../../core/errors.ts';
import type { Range } from './finding.ts';

/** A name or address that a guardrail has found. */
export interface FoundName {
  readonly kind: PersonalDataKind;
  readonly value: string;
}

/** Where a name is in a text. */
export interface LocatedName extends Range {
  readonly kind: PersonalDataKind;
}

/** Returns names without repetitions: a guardrail may report a name as often as it occurs. */
export function uniqueNames(names: readonly FoundName[]): FoundName[] {
  return [...new Map(names.map((name) => [`${name.kind}\0${name.value}`, name])).values()];
}

/**
 * Returns where names are in each of some texts. A guardrail doesn't say in which text it has found a name, so it is located in
 * all of them: as a whole word, and as a part of one (`ray` of `array`) only if it is nowhere a whole word.
 * @throws LambentError `guardrail_unavailable` for a name that is in no text: what can't be replaced must not be sent
 */
export function locateNames(names: readonly FoundName[], texts: readonly string[]): (readonly LocatedName[])[] {
  const located = texts.map((): LocatedName[] => []);
  for (const { kind, value } of uniqueNames(names)) {
    const all = texts.map((text) => [...findOccurrences(text, value)]);
    if (all.every(({ length }) => length === 0))
      throw new LambentError('guardrail_unavailable', 'A guardrail has found personal data that can not be located');
    const hasWhole = all.some((occurrences) => occurrences.some(({ isWhole }) => isWhole));
    for (const [index, occurrences] of all.entries())
      for (const { start, end, isWhole } of occurrences)
        if (isWhole || !hasWhole) located[index]?.push({ kind, start, end });
  }
  return located;
}

interface Occurrence extends Range {
  /** True if it isn't a part of a longer word. */
  readonly isWhole: boolean;
}

function* findOccurrences(text: string, value: string): Generator<Occurrence> {
  for (let start = text.indexOf(value); start !== -1; start = text.indexOf(value, start + value.length)) {
    const end = start + value.length;
    yield { start, end, isWhole: !isBegunBefore(text, start) && !isContinued(text, end) };
  }
}

/**
 * Letters of words that are separated by spaces and hardly change, and digits. In other scripts nothing separates words, or names
 * get endings and particles.
 */
const LETTER = '[\\p{Script=Latin}\\p{N}]';
const BEGINS = new RegExp(`^${LETTER}`, 'u');
const ENDS = new RegExp(`${LETTER}\\p{M}*$`, 'u');
const CONTINUES = new RegExp(`^(?:${LETTER}|\\p{M})`, 'u');
/** An escape of JSON or a URL, which ends with a letter or digit but stands for another character. */
const ESCAPE = /(?:\\(?:[nrtbf]|u[\dA-Fa-f]{4}|x[\dA-Fa-f]{2})|%[\dA-Fa-f]{2})$/;
/** More characters aren't needed to see what is beside an index. */
const CONTEXT = 8;

/** Returns whether a word at an index begins before it. */
function isBegunBefore(text: string, index: number): boolean {
  const before = text.slice(Math.max(0, index - CONTEXT), index);
  return ENDS.test(before) && BEGINS.test(text.slice(index, index + CONTEXT)) && !ESCAPE.test(before);
}

/** Returns whether a word that ends at an index goes on after it. */
function isContinued(text: string, index: number): boolean {
  return (
    CONTINUES.test(text.slice(index, index + CONTEXT)) && ENDS.test(text.slice(Math.max(0, index - CONTEXT), index))
  );
}
