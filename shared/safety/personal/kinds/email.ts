import type { FindValues } from '../finding.ts';

/** Letters of alphabets with which addresses are written. Chinese text may touch an address. */
const LETTERS = 'A-Za-z\\u00c0-\\u00d6\\u00d8-\\u024f\\u0370-\\u03ff\\u0400-\\u04ff';
const AT = /@|[ ]?[[({]\s?(?:at|@)\s?[\])}][ ]?/gi;
const DOT = '(?:\\.|[ ]?[[({]\\s?(?:dot|\\.)\\s?[\\])}][ ]?)';
const DOMAIN = new RegExp(
  `(?:[${LETTERS}0-9](?:[${LETTERS}0-9-]{0,61}[${LETTERS}0-9])?${DOT}){1,8}[${LETTERS}]{2,24}`,
  'iy',
);
const LOCAL = new RegExp(`[${LETTERS}0-9.!_%+'~-]`);
const MAX_LOCAL = 64;
/** Files such as `icon@2x.png`, and the user of Git's addresses. */
const FILE = /^\d+x?\.(?:png|jpe?g|gif|svg|webp|avif|ico|pdf|js|css)$/i;

/** Finds e-mail addresses, also with `[at]` and `[dot]`. */
export const findEmails: FindValues = function* (text) {
  for (const at of text.matchAll(AT)) {
    const domainStart = at.index + at[0].length;
    DOMAIN.lastIndex = domainStart;
    const domain = DOMAIN.exec(text)?.[0];
    if (domain === undefined || FILE.test(domain)) continue;
    let start = at.index;
    while (start > 0 && at.index - start < MAX_LOCAL && LOCAL.test(text[start - 1] ?? '')) start -= 1;
    while (start < at.index && /[.'!~-]/.test(text[start] ?? '')) start += 1;
    const local = text.slice(start, at.index);
    if (local === '' || local.endsWith('.') || (local === 'git' && at[0] === '@')) continue;
    yield { start, end: domainStart + domain.length };
  }
};
