import { createHmac, type KeyObject } from 'node:crypto';
import type { Finding } from './detector.ts';

/** Number of characters after the label: 40 bits. */
const HASH_LENGTH = 8;
const ALPHABET = 'abcdefghijklmnopqrstuvwxyz234567';

/**
 * Matches the end of what looks like a placeholder. It has no part for the rest of the label: a search would try that again at
 * each letter of upper-case text, such as a DNA sequence.
 */
const ENDING = new RegExp(`(?<=[A-Z0-9])-[a-z2-7]{${HASH_LENGTH}}`, 'g');

/** Returns the hashes, with their hyphens, of what looks like a placeholder in a text, also in text of the caller or the model. */
export function listHashes(text: string): string[] {
  return text.match(ENDING) ?? [];
}

/** The form of placeholders with known labels. */
export class PlaceholderForm {
  readonly #one: RegExp;
  readonly #only: RegExp;

  /** @param labels of letters and digits; at least one */
  constructor(labels: readonly string[]) {
    const one = `(${labels.join('|')})-[a-z2-7]{${HASH_LENGTH}}`;
    this.#one = new RegExp(one, 'g');
    this.#only = new RegExp(`^[^A-Za-z0-9]*(?:${one}[^A-Za-z0-9]*)+$`);
  }

  /** Returns whether a text consists of placeholders, and nothing else but punctuation. */
  isMatch(text: string): boolean {
    return this.#only.test(text);
  }

  /** Returns the placeholders in a text, as findings without an action. */
  findAll(text: string): Finding[] {
    return [...text.matchAll(this.#one)].map(({ 0: all, 1: label = '', index }) => {
      return { label, action: 'off', start: index, end: index + all.length };
    });
  }
}

/**
 * Makes placeholders such as `EMAIL-k3f9q2xa` for the values of one request. They consist of letters, digits and a hyphen,
 * so that they can be part of names, URLs, code and Markdown without an escape, and their length is that of their label and
 * nine.
 *
 * The same value always gets the same placeholder under the same key, so nothing has to be stored, and a prompt cache finds
 * earlier turns. Without the key, a placeholder says nothing about its value.
 */
export class Placeholders {
  readonly #key: KeyObject;
  readonly #reserved: ReadonlySet<string>;
  readonly #byValue = new Map<string, string>();
  readonly #values = new Map<string, string>();

  /** @param reserved the hashes of what looks like a placeholder in the request's own text; no value gets them */
  constructor(key: KeyObject, reserved: ReadonlySet<string>) {
    this.#key = key;
    this.#reserved = reserved;
  }

  /** The values by their placeholders. */
  get values(): ReadonlyMap<string, string> {
    return this.#values;
  }

  /** Returns the placeholder of a value. */
  get(label: string, value: string): string {
    const id = `${label}\0${value}`;
    const known = this.#byValue.get(id);
    if (known !== undefined) return known;
    for (let attempt = 0; ; attempt++) {
      const hash = this.#hash(`${id}\0${attempt}`);
      const placeholder = label + hash;
      if (this.#reserved.has(hash) || this.#values.has(placeholder)) continue;
      this.#byValue.set(id, placeholder);
      this.#values.set(placeholder, value);
      return placeholder;
    }
  }

  /** Returns the end of a placeholder: a hyphen and the hash. */
  #hash(text: string): string {
    const digest = createHmac('sha256', this.#key).update(text).digest();
    let hash = '-';
    for (let index = 0; index < HASH_LENGTH; index++) hash += ALPHABET[(digest[index] ?? 0) % ALPHABET.length];
    return hash;
  }
}
