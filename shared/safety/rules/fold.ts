/**
 * Folds texts for comparison, so that a term is found in any case, width, ligature and normalisation form, with any white space
 * for its own, and with invisible characters in it. Accents count: `ano` is not `año`.
 */

/** Unicode's limit for streams: no writing system needs more marks in a row. (UAX #15, Stream-Safe Text Format) */
const MAX_MARKS = 30;

/** Marks, and the vowels and final consonants of Hangul: each changes the character before it. */
const EXTENDER = /^[\p{M}\u1160-\u11FF]$/u;
const MARK = /^\p{M}$/u;
/** Unicode's characters without a form, and the marks of interlinear annotations. */
const IGNORED = /^[\p{Default_Ignorable_Code_Point}\uFFF9-\uFFFB]$/u;
const WORD = /^[\p{L}\p{N}]$/u;
/** White space of Unicode. */
const SPACE = /^[\s\u0085]$/;

/** The symbols of ASCII, which most texts consist of. */
const ASCII = Array.from({ length: 0x80 }, (_, code) => [toSpace(String.fromCharCode(code).toLowerCase())]);
const ASCII_WORDS = ASCII.map(([symbol = '']) => WORD.test(symbol));

/** Returns the folded symbols of a text, each one code point. */
export function fold(text: string): readonly string[] {
  const ascii = text.length === 1 ? ASCII[text.charCodeAt(0)] : undefined;
  if (ascii !== undefined) return ascii;
  // By code point, because the lower case of a word's last sigma differs from that of others.
  return [...text.normalize('NFKD')].flatMap((each) => {
    if (IGNORED.test(each)) return [];
    if (SPACE.test(each)) return [' '];
    // In lower case first: the upper case of the capital sharp s is itself, and that of the small one is SS.
    return [...each.toLowerCase().toUpperCase()].flatMap((upper) => [...upper.toLowerCase().normalize('NFKD')]);
  });
}

/** Returns the folded symbols of a term: a run of white space is one symbol. */
export function foldTerm(text: string): readonly string[] {
  return fold(text).filter(
    (symbol, index, all) => symbol !== ' ' || all[index - 1] !== ' ' || MARK.test(all[index + 1] ?? ''),
  );
}

function toSpace(character: string): string {
  return SPACE.test(character) ? ' ' : character;
}

/** Returns whether a symbol changes the one before it, so that a term which ends before it isn't found. */
export function isExtender(symbol: string): boolean {
  return symbol >= '\u0300' && EXTENDER.test(symbol);
}

/** Returns whether a symbol is a letter or a digit. */
export function isWordSymbol(symbol: string): boolean {
  return ASCII_WORDS[symbol.length === 1 ? symbol.charCodeAt(0) : -1] ?? WORD.test(symbol);
}

/** A character of a text with all its marks, whose order doesn't matter. */
export interface Segment {
  readonly text: string;
  /** Offset in the text. */
  readonly start: number;
  /** Number of marks after the first code point. */
  readonly marks: number;
}

/**
 * Adds a code point to the segment before it.
 * @returns the longer segment; undefined if the code point begins another one
 */
export function extendSegment(segment: Segment | undefined, codePoint: string): Segment | undefined {
  if (segment === undefined || codePoint < '\u0300' || segment.marks >= MAX_MARKS || !MARK.test(codePoint))
    return undefined;
  return { ...segment, text: segment.text + codePoint, marks: segment.marks + 1 };
}
