/**
 * Characters of one call. By default, Bedrock answers a call with more than 25 text units of 1,000 characters as if it was
 * throttled.
 * @see https://github.com/BerriAI/litellm/issues/19501
 */
const MAX_CHARACTERS = 20_000;
/** Characters that two calls for one long text have in common, so that what crosses the border is seen. */
const OVERLAP = 500;

/** Distributes texts over few calls. Texts that are too long for one are cut. Texts without content are left out. */
export function packTexts(texts: readonly string[]): string[][] {
  const calls: string[][] = [];
  let size = MAX_CHARACTERS;
  for (const text of texts.flatMap(cutText)) {
    if (size + text.length > MAX_CHARACTERS) {
      calls.push([]);
      size = 0;
    }
    calls.at(-1)?.push(text);
    size += text.length;
  }
  return calls;
}

/** Cuts a text into pieces that overlap. One without content has none. */
export function cutText(text: string): string[] {
  if (text.trim() === '') return [];
  const pieces: string[] = [];
  for (let start = 0; start === 0 || start + OVERLAP < text.length; start += MAX_CHARACTERS - OVERLAP) {
    pieces.push(text.slice(start, start + MAX_CHARACTERS));
  }
  return pieces;
}
