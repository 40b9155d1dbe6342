import { createHash } from 'node:crypto';

const CHARACTERS_PER_TOKEN = 4;

/** Returns about the number of a text's tokens. */
export function countTokens(text: string): number {
  return Math.ceil(text.length / CHARACTERS_PER_TOKEN);
}

/**
 * Returns a vector of length 1: the sum of the hashes of the text's words and their parts. Texts with common words are near
 * each other.
 */
export function embedText(text: string, dimensions: number): number[] {
  const vector = new Array<number>(dimensions).fill(0);
  const add = (feature: string, weight: number): void => {
    const hash = createHash('sha256').update(feature).digest();
    const index = hash.readUInt32LE(0) % dimensions;
    vector[index] = (vector[index] ?? 0) + (hash.readUInt8(4) % 2 === 0 ? weight : -weight);
  };
  for (const word of text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [text]) {
    add(word, 1);
    for (let start = 0; start + 3 < word.length; start += 1) add(`part ${word.slice(start, start + 4)}`, 0.5);
  }
  const length = Math.hypot(...vector) || 1;
  return vector.map((value) => value / length);
}
