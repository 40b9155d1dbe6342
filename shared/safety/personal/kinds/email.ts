import type { FindValues } from '../finding.ts';

/** Letters of alphabets with which addresses are written. Chinese text may touch an address. */
const LETTERS = 'A-Za-z\\u00c0-\\u00d6\\u00d8-\\u024f\\u0370-\\u03ff\\u0400-\\u04ff';
/** Letters of scripts without spaces between words, which are also written with spaces in Korean. */
const EAST_ASIAN = '\\u3005-\\u3007\\u3041-\\u3096\\u30a1-\\u30fa\\u30fc\\u3400-\\u4dbf\\u4e00-\\u9fff\\uac00-\\ud7a3';
const AT = /@|[ ]?[[({]\s?(?:at|@)\s?[\])}][ ]?/gi;
const DOT = '(?:\\.|[ ]?[[({]\\s?(?:dot|\\.)\\s?[\\])}][ ]?)';
const DOMAIN = new RegExp(
  `(?:[${LETTERS}0-9](?:[${LETTERS}0-9-]{0,61}[${LETTERS}0-9])?${DOT}){1,8}[${LETTERS}]{2,24}`,
  'iy',
);
/** The ends of domains beside East Asian letters. Other text may touch them, so only ends that exist are taken. */
const COMMON_END = '(?:com|net|org|info|biz|cn|hk|tw|mo|sg|my|jp|kr|us|uk|eu|de|fr|ca|au|io|co|tv|cc)(?![A-Za-z0-9])';
const EAST_ASIAN_END = `(?:中国|中國|公司|网络|網絡|香港|台湾|台灣|澳门|新加坡|网址|集团|商城|在线|中文网|政务|公益|手机|我爱你|网店|商店|企业|信息|コム|みんな|한국|닷컴|닷넷|${COMMON_END})`;
const EAST_ASIAN_LABEL = `[A-Za-z0-9${EAST_ASIAN}](?:[A-Za-z0-9${EAST_ASIAN}-]{0,61}[A-Za-z0-9${EAST_ASIAN}])?`;
const EAST_ASIAN_DOMAIN = new RegExp(`(?:${EAST_ASIAN_LABEL}\\.){1,8}${EAST_ASIAN_END}`, 'iy');
const KNOWN_END = new RegExp(`${EAST_ASIAN_END}$`, 'i');
const LOCAL = new RegExp(`[${LETTERS}0-9.!_%+'~-]`);
const EAST_ASIAN_LETTER = new RegExp(`[${EAST_ASIAN}]`);
/** Words that touch an address or a mention, and are no part of it. */
const INTRODUCTION =
  /^.*(?:(?:邮箱|邮件|邮址|电邮|信箱|地址|メールアドレス|メール|アドレス|連絡先)(?:是|为|為|は)?|发(?:送)?[到给至往]|發(?:送)?[到給至]|寄[到给至]|抄送给?|转发给?|回复给?|关注|關注|艾特|联系|聯繫)/;
const MAX_LOCAL = 64;
/** Files such as `icon@2x.png`, and the user of Git's addresses. */
const FILE = /^\d+x?\.(?:png|jpe?g|gif|svg|webp|avif|ico|pdf|js|css)$/i;

/** Finds e-mail addresses, also with `[at]` and `[dot]`, with quotes, and with East Asian letters. */
export const findEmails: FindValues = function* (text) {
  for (const { 0: at, index } of text.matchAll(AT)) {
    const domainStart = index + at.length;
    const domain = matchAt(DOMAIN, text, domainStart) ?? matchAt(EAST_ASIAN_DOMAIN, text, domainStart);
    if (domain === undefined || FILE.test(domain)) continue;
    const start = findLocal(text, index);
    const local = text.slice(start, index);
    // Decorators such as `@app.route` may follow Chinese text.
    if (EAST_ASIAN_LETTER.test(text[index - 1] ?? '') && !KNOWN_END.test(domain)) continue;
    if (local === '' || local.endsWith('.') || (local === 'git' && at === '@')) continue;
    yield { start, end: domainStart + domain.length };
  }
};

function matchAt(pattern: RegExp, text: string, index: number): string | undefined {
  pattern.lastIndex = index;
  return pattern.exec(text)?.[0];
}

/** Returns where the part before the `@` begins, or where it ends if there is none. */
function findLocal(text: string, end: number): number {
  const last = text[end - 1] ?? '';
  if (last === '"') return findQuoted(text, end);
  const isEastAsian = EAST_ASIAN_LETTER.test(last);
  let start = end;
  while (start > 0 && end - start < MAX_LOCAL && isLocal(text[start - 1] ?? '', isEastAsian)) start -= 1;
  if (isEastAsian) start += INTRODUCTION.exec(text.slice(start, end))?.[0].length ?? 0;
  while (start < end && /[.'!~-]/.test(text[start] ?? '')) start += 1;
  return start;
}

/** Before letters of an alphabet, Chinese text ends. Before Chinese letters, it may be a part of the name. */
function isLocal(character: string, isEastAsian: boolean): boolean {
  return LOCAL.test(character) || (isEastAsian && EAST_ASIAN_LETTER.test(character));
}

/** Returns where a name in quotes begins, with the escape of the quote in JSON. */
function findQuoted(text: string, end: number): number {
  const from = Math.max(0, end - MAX_LOCAL);
  const match = /\\?"[A-Za-z0-9][^"\n@]{0,61}"$/.exec(text.slice(from, end));
  return match === null ? end : from + match.index;
}
