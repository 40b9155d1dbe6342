/** A text in a form that is easier to search, and where its characters come from. */
export interface FoldedText {
  readonly text: string;
  /** Returns the index in the original text of the character at an index of `text`, or of its end. */
  readonly toOriginal: (index: number) => number;
}

/**
 * Folds the forms in which the characters of personal data appear: full-width and other digits and punctuation, dashes,
 * white space, invisible characters, and the escapes of JSON, URLs and HTML.
 */
export function foldText(text: string): FoldedText {
  if (text.search(FOLDED) === -1) return { text, toOriginal: (index) => index };
  const pieces: string[] = [];
  // The origins of the characters. Absent as long as each has the index of its original. A folded text is never longer.
  let origins: Int32Array | undefined;
  let length = 0;
  let end = 0;
  const append = (piece: string, start: number): void => {
    if (piece === '') return;
    pieces.push(piece);
    if (origins !== undefined) for (let at = 0; at < piece.length; at++) origins[length + at] = start + at;
    length += piece.length;
  };
  for (const match of text.matchAll(FOLDED)) {
    const [original] = match;
    append(text.slice(end, match.index), end);
    const replaced = foldOne(original);
    if (replaced.length !== original.length) origins ??= Int32Array.from({ length: text.length }, (_, index) => index);
    append(replaced, match.index);
    end = match.index + original.length;
  }
  append(text.slice(end), end);
  if (origins === undefined) return { text: pieces.join(''), toOriginal: (index) => index };
  const all = origins;
  return { text: pieces.join(''), toOriginal: (index) => (index < length ? (all[index] ?? text.length) : text.length) };
}

/** The characters that Unicode gives no form (`Default_Ignorable_Code_Point`), and the marks of interlinear annotations. */
const INVISIBLE =
  '\\u00ad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f\\u200b-\\u200f\\u202a-\\u202e\\u2060-\\u206f\\u3164\\ufe00-\\ufe0f\\ufeff\\uffa0\\ufff0-\\ufffb';

const FOLDED = new RegExp(
  [
    `[${INVISIBLE}]|[\\udb40-\\udb43][\\udc00-\\udfff]`,
    // Spaces, the multiplication sign and the Cyrillic letters that look like an X.
    '[\\u00a0\\u00d7\\u0425\\u0445\\u0660-\\u0669\\u06f0-\\u06f9\\u0966-\\u096f\\u2000-\\u200a\\u2010-\\u2015\\u202f\\u205f\\u2212\\u3000]',
    '[\\ufe52\\ufe55\\ufe58\\ufe63\\ufe6b\\uff01-\\uff5e]',
    // Mathematical digits.
    '\\ud835[\\udfce-\\udfff]',
    '\\\\u[0-9A-Fa-f]{4}|\\\\x[0-9A-Fa-f]{2}|\\\\[nrtbf]',
    // An odd number of backslashes: the escape of JSON, or of JSON within JSON.
    '(?<!\\\\)\\\\(?:\\\\\\\\){0,3}["/]',
    // The bytes of one character in UTF-8.
    '%[C-Fc-f][0-9A-Fa-f](?:%[89ABab][0-9A-Fa-f]){1,3}|%[0-9A-Fa-f]{2}',
    '&#x[0-9A-Fa-f]{1,5};|&#[0-9]{1,6};|&(?:commat|period|nbsp|colon|plus|amp|quot|lt|gt);',
  ].join('|'),
  'g',
);

/** Returns one character in the place of an escape or a special form, or none for an invisible character. */
function foldOne(original: string): string {
  const [first] = original;
  if (first === '\\') return foldEscape(original);
  if (first === '%') return toPlain(Buffer.from(original.replaceAll('%', ''), 'hex').toString());
  if (first === '&') return foldEntity(original);
  if (original.length === 2) return foldPair(original.codePointAt(0) ?? 0);
  return foldUnit(original.charCodeAt(0));
}

/** Returns the digit of a mathematical one, or none for a tag or a selector of variations, which are invisible. */
function foldPair(codePoint: number): string {
  return codePoint < 0xe0000 ? String((codePoint - 0x1d7ce) % 10) : '';
}

function foldEscape(original: string): string {
  if (/["/]$/.test(original)) return original.slice(-1);
  const kind = original[1];
  return kind === 'u' || kind === 'x' ? toPlain(String.fromCharCode(Number.parseInt(original.slice(2), 16))) : '\n';
}

function foldEntity(original: string): string {
  const name = original.slice(1, -1);
  if (name.startsWith('#x')) return toPlain(String.fromCodePoint(Number.parseInt(name.slice(2), 16)));
  if (name.startsWith('#')) return toPlain(String.fromCodePoint(Number(name.slice(1))));
  return ENTITIES[name] ?? original;
}

const ENTITIES: Readonly<Record<string, string>> = {
  commat: '@',
  period: '.',
  nbsp: ' ',
  colon: ':',
  plus: '+',
  amp: '&',
  quot: '"',
  lt: '<',
  gt: '>',
};

/** Returns the folded form of a character that an escape names. */
function toPlain(character: string): string {
  return character.length > 1 ? character : foldUnit(character.charCodeAt(0));
}

function foldUnit(code: number): string {
  if (code >= 0xff01 && code <= 0xff5e) return String.fromCharCode(code - 0xfee0);
  if (code >= 0x660 && code <= 0x669) return String(code - 0x660);
  if (code >= 0x6f0 && code <= 0x6f9) return String(code - 0x6f0);
  if (code >= 0x966 && code <= 0x96f) return String(code - 0x966);
  if (code === 0xd7 || code === 0x425 || code === 0x445) return 'X';
  if ((code >= 0x2010 && code <= 0x2015) || code === 0x2212 || code === 0xfe58 || code === 0xfe63) return '-';
  if (code === 0xa0 || code === 0x3000 || code === 0x202f || code === 0x205f || (code >= 0x2000 && code <= 0x200a))
    return ' ';
  if (code === 0xfe52) return '.';
  if (code === 0xfe55) return ':';
  if (code === 0xfe6b) return '@';
  const unit = String.fromCharCode(code);
  return INVISIBLE_UNIT.test(unit) ? '' : unit;
}

const INVISIBLE_UNIT = new RegExp(`[${INVISIBLE}]`);
