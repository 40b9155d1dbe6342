/**
 * Characters of a text unit, in which Bedrock bills and limits. They are counted here as in UTF-16, which is at least what Bedrock
 * counts. The stand-in, which is stricter than the documentation, starts a new unit with each text.
 * @see https://aws.amazon.com/bedrock/pricing/
 */
const UNIT = 1_000;
/**
 * Text units of one call. By default, Bedrock answers a call with more than 25 as if it was throttled.
 * @see https://github.com/BerriAI/litellm/issues/19501
 */
const MAX_UNITS = 20;
const MAX_CHARACTERS = MAX_UNITS * UNIT;
/** Characters that two calls for one long text have in common, so that what crosses the border is seen. */
const OVERLAP = 500;

/**
 * Joins texts, in their order, into texts that have one text unit, and leaves longer ones as they are. A request has many short
 * texts: each key of a schema is one. Texts without content are left out.
 */
export function joinShortTexts(texts: readonly string[]): string[] {
  const joined: string[] = [];
  for (const text of texts.filter(hasContent)) {
    const last = joined.at(-1);
    if (last === undefined || last.length + 1 + text.length > UNIT) joined.push(text);
    else joined[joined.length - 1] = `${last}\n${text}`;
  }
  return joined;
}

/** Distributes texts over few calls. Texts that are too long for one are cut. Texts without content are left out. */
export function packTexts(texts: readonly string[]): string[][] {
  const calls: string[][] = [];
  let size = MAX_UNITS;
  for (const text of texts.flatMap(cutText)) {
    const units = Math.ceil(text.length / UNIT);
    if (size + units > MAX_UNITS) {
      calls.push([]);
      size = 0;
    }
    calls.at(-1)?.push(text);
    size += units;
  }
  return calls;
}

/** Cuts a text into pieces that overlap. One without content has none. */
export function cutText(text: string): string[] {
  if (!hasContent(text)) return [];
  const pieces: string[] = [];
  for (let start = 0; start === 0 || start + OVERLAP < text.length; start += MAX_CHARACTERS - OVERLAP) {
    pieces.push(text.slice(start, start + MAX_CHARACTERS));
  }
  return pieces;
}

function hasContent(text: string): boolean {
  return text.trim() !== '';
}
