import { type FindValues, findMatches } from '../finding.ts';

/** Begins and ends numbers that are no part of a word, a longer number or a fraction. */
const BEGIN = '(?<![A-Za-z0-9])(?<!\\d[.,])';
const END = '(?![A-Za-z0-9])(?![.,]\\d)';

const CARDS = new RegExp(
  `${BEGIN}(?:\\d{13,19}|\\d{8}[ -]\\d{8}|\\d{4}([ .-]|[ ]{2})\\d{4}\\1\\d{4}\\1\\d{4}(?:\\1\\d{3})?|\\d{4}([ -])\\d{6}\\2\\d{4,5})${END}`,
  'g',
);
/** The number ranges of Visa, Mastercard, American Express, Diners, Discover, JCB, UnionPay, Maestro, Mir and RuPay. */
const CARD_NUMBER =
  /^(?:4(?:\d{12}|\d{15}|\d{18})|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d{2}|7[01]\d|720)\d{12}|3[47]\d{13}|3(?:0[0-5]|[689]\d)\d{11,13}|6(?:011|4[4-9]\d|5\d{2})\d{12}|35(?:2[89]|[3-8]\d)\d{12}|62\d{14,17}|81\d{14}|(?:50|5[6-9]|6[37])\d{14,17}|220[0-4]\d{12}|(?:508[5-9]|60\d{2}|652\d|653\d)\d{12})$/;

/** Finds the numbers of payment cards: in their issuers' ranges, with Luhn's check digit. */
export const findCards: FindValues = function* (text) {
  for (const { 0: value, index, 1: separator } of text.matchAll(CARDS)) {
    if (isCard(value)) yield { start: index, end: index + value.length };
    else if (separator !== undefined && value.length === 23 && isCard(value.slice(0, 19)))
      // The last group is no part of the number, such as the card's security code.
      yield { start: index, end: index + 19 };
  }
};

function isCard(value: string): boolean {
  const digits = value.replaceAll(/[ .-]/g, '');
  return CARD_NUMBER.test(digits) && !/^(\d)\1+$/.test(digits) && computeLuhn(digits) === 0;
}

/** Returns Luhn's sum modulo 10, which is 0 for a number with the right check digit (ISO/IEC 7812-1). */
function computeLuhn(digits: string): number {
  let sum = 0;
  for (let index = 0; index < digits.length; index++) {
    const digit = Number(digits[digits.length - 1 - index]);
    const doubled = index % 2 === 1 ? digit * 2 : digit;
    sum += doubled > 9 ? doubled - 9 : doubled;
  }
  return sum % 10;
}

const RESIDENT_IDS = new RegExp(
  `${BEGIN}\\d{6}[ -]?(?:18|19|20)\\d{2}[ -]?(?:0[1-9]|1[0-2])[ -]?(?:0[1-9]|[12]\\d|3[01])[ -]?\\d{3}[\\dXx]${END}`,
  'g',
);
/** The provinces, by the first two digits (GB/T 2260). */
const PROVINCE = /^(?:1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[1-3]|91)/;
const WEIGHTS = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];

/** Finds the 18 digits of Chinese resident identity cards by their check digit (GB 11643). */
export const findResidentIds: FindValues = (text) =>
  findMatches(text, RESIDENT_IDS, (value) => {
    const digits = value.replaceAll(/[ -]/g, '').toUpperCase();
    if (!PROVINCE.test(digits)) return false;
    const sum = WEIGHTS.reduce((total, weight, index) => total + weight * Number(digits[index]), 0);
    return '10X98765432'[sum % 11] === digits[17];
  });

const SSNS = new RegExp(`${BEGIN}(?<!\\d-)(?!000|666|9)\\d{3}([ .-]?)(?!00)\\d{2}\\1(?!0000)\\d{4}${END}(?!-\\d)`, 'g');
const SSN_CONTEXT = /ssn|social.{0,3}security|社会安全|社安/i;

/** Finds US social security numbers: with dashes, or in any form after their name. */
export const findSsns: FindValues = (text) =>
  findMatches(
    text,
    SSNS,
    (_, match) => match[1] === '-' || SSN_CONTEXT.test(text.slice(Math.max(0, match.index - 40), match.index)),
  );
