import parsePhoneNumber, { type CountryCode } from 'libphonenumber-js/min';
import { type FindValues, findMatches, type Range } from '../finding.ts';

const BEGIN = '(?<![A-Za-z0-9])(?<!\\d[.,])';
const END = '(?![A-Za-z0-9])(?![.,]\\d)';
const END_OR_EXTENSION = '(?![A-WYZa-wyz0-9]|[xX](?!\\d))(?![.,]\\d)';

/** With a country code. Digits may follow that are no part of the number. */
const INTERNATIONAL = /(?<![0-9+])(?:\+|(?<![A-Za-z0-9.,+-])00)[ ]?[1-9](?:[ ().\-/]{0,2}\d){6,14}/g;
const CHINESE_MOBILE = new RegExp(
  `(?:${BEGIN}|(?<=tel|phone|mobile|cell))(?:86[ -]?)?1[3-9]\\d(?:([ .-]?)\\d{4}\\1\\d{4}|-\\d{3}-\\d{5}|([ -])\\d{2}\\2\\d{2}\\2\\d{2}\\2\\d{2}|\\d{2}[ -]\\d{6})${END_OR_EXTENSION}`,
  'gi',
);
/** What precedes eleven digits that are the begin of a hash. */
const HASH_NAME = /\b(?:commit|revision|rev|sha\d{0,3}|hash)[ :#=]{1,2}$/i;
const CHINESE_HOTLINE = new RegExp(`${BEGIN}(?<!\\d-)400(?:([ -])\\d{3}\\1\\d{4}|-\\d{4}-\\d{3})${END}(?!-\\d)`, 'g');
/** With spaces, which other numbers have, too. */
const SPACED_AMERICAN = new RegExp(`(?<!\\d[-. ])${BEGIN}[2-9]\\d{2}[ ][2-9]\\d{2}[ ]\\d{4}${END}(?![ -]\\d)`, 'g');
const PHONE_NAME =
  /(?:phone|mobile|cell|call|dial|fax|\btel\.?|whatsapp|reach (?:me|us)|电话|手机|致电|拨打)[^0-9\n]{0,24}$/i;
const NATIONAL: readonly (readonly [RegExp, CountryCode])[] = [
  // North America, with separators.
  [
    new RegExp(
      `(?<!\\d[-.])${BEGIN}(?:1[-. ])?(?:\\([2-9]\\d{2}\\)[ ]?[2-9]\\d{2}[-. ]|[2-9]\\d{2}(?:([-.])[2-9]\\d{2}\\1|/[2-9]\\d{2}-))\\d{4}${END}(?!-\\d)`,
      'g',
    ),
    'US',
  ],
  // Chinese land lines, with the area code set apart.
  [
    new RegExp(
      `${BEGIN}(?<!\\d-)(?:\\(0(?:10|2\\d|[3-9]\\d{2})\\)[ -]?|0(?:10|2\\d|[3-9]\\d{2})[- ])[2-9](?:\\d{6,7}|\\d{2,3}[ -]\\d{4})${END}(?!-\\d)`,
      'g',
    ),
    'CN',
  ],
];

/**
 * Finds phone numbers with a country code, Chinese mobile numbers, land lines and hotlines, and North American numbers with
 * separators, or with spaces after a word such as `phone`.
 */
export const findPhones: FindValues = function* (text) {
  for (const { 0: value, index } of text.matchAll(INTERNATIONAL)) {
    const found = findInternational(value, index, text);
    if (found !== undefined) yield found;
  }
  yield* findMatches(
    text,
    CHINESE_MOBILE,
    (_, { index }) => !HASH_NAME.test(text.slice(Math.max(0, index - 12), index)),
  );
  yield* findMatches(text, CHINESE_HOTLINE);
  yield* findMatches(
    text,
    SPACED_AMERICAN,
    (value, { index }) =>
      PHONE_NAME.test(text.slice(Math.max(0, index - 40), index)) && parsePhoneNumber(value, 'US')?.isValid() === true,
  );
  for (const [pattern, country] of NATIONAL) {
    for (const { 0: value, index } of text.matchAll(pattern))
      if (parsePhoneNumber(value, country)?.isValid()) yield { start: index, end: index + value.length };
  }
};

/**
 * Returns the range of the number at the begin of a candidate: without the last groups if they make it invalid. A number
 * that isn't assigned to anybody, but has a possible length, is taken as a whole.
 */
function findInternational(candidate: string, start: number, text: string): Range | undefined {
  if (/^00\d+$/.test(candidate) && !/^00861[3-9]/.test(candidate)) return undefined;
  const isCut = /[0-9]/.test(text[start + candidate.length] ?? '');
  for (let length = candidate.length; length >= MIN_LENGTH; ) {
    const isWhole = length < candidate.length || !isCut;
    if (isWhole && parse(candidate.slice(0, length))?.isValid()) return { start, end: start + length };
    length = candidate.slice(0, length).search(/[ ().\-/]{1,2}\d+$/);
  }
  const isPossible = !isCut && parse(candidate)?.isPossible();
  return isPossible ? { start, end: start + candidate.length } : undefined;
}

function parse(value: string) {
  return parsePhoneNumber(value.replace(/^00/, '+'));
}

const MIN_LENGTH = 8;
