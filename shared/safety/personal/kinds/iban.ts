import type { FindValues } from '../finding.ts';

const HEAD = /(?:(?<![A-Za-z0-9])|(?<=(?<![A-Za-z0-9])IBAN))[A-Za-z]{2}\d{2}(?=(?:[.-]|\s{1,2})?[A-Za-z0-9])/g;
const CHARACTER = /(?:[.-]|\s{1,2})?[A-Za-z0-9]/y;

/** The countries by the length of their numbers (SWIFT's IBAN registry). */
const LENGTHS: ReadonlyMap<string, number> = new Map(
  Object.entries({
    15: 'NO',
    16: 'BE',
    18: 'DK FI FK FO GL NL SD',
    19: 'MK SI',
    20: 'AT BA EE KZ LT LU MN XK',
    21: 'CH HR LI LV',
    22: 'BG BH CR DE GB GE IE ME RS VA',
    23: 'AE GI IL IQ OM SO TL',
    24: 'AD CZ ES MD PK RO SA SE SK TN VG',
    25: 'LY MZ PT',
    26: 'DZ IR IS TR',
    27: 'BI DJ FR GR IT MC MR SM',
    28: 'AL AZ BY CY DO GT HN HU LB MA NI PL SV',
    29: 'BR EG PS QA UA',
    30: 'JO KW MU YE',
    31: 'MT SC',
    32: 'LC',
    33: 'RU',
  }).flatMap(([length, countries]) => countries.split(' ').map((country) => [country, Number(length)] as const)),
);

/** Finds international bank account numbers by their country's length and their check digits (ISO 13616). */
export const findIbans: FindValues = function* (text) {
  for (const { 0: head, index } of text.matchAll(HEAD)) {
    const length = LENGTHS.get(head.slice(0, 2).toUpperCase());
    if (length === undefined) continue;
    let number = head;
    let end = index + head.length;
    while (number.length < length) {
      CHARACTER.lastIndex = end;
      const next = CHARACTER.exec(text)?.[0];
      if (next === undefined) break;
      end += next.length;
      number += next.at(-1);
    }
    const isWhole = number.length === length && !/[A-Za-z0-9]/.test(text[end] ?? '');
    if (isWhole && computeRemainder(number.toUpperCase()) === 1) yield { start: index, end };
  }
};

/** Returns the number modulo 97 that the account number stands for: 1 for one with the right check digits. */
function computeRemainder(number: string): number {
  let remainder = 0;
  for (const character of number.slice(4) + number.slice(0, 4)) {
    const value = Number.parseInt(character, 36);
    remainder = (remainder * (value > 9 ? 100 : 10) + value) % 97;
  }
  return remainder;
}
