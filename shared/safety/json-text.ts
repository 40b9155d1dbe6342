import { isJson } from '../core/is-json.ts';

/** The characters that JSON writes as a backslash and a letter. */
const ESCAPES: Readonly<Record<string, string>> = { b: '\b', f: '\f', n: '\n', r: '\r', t: '\t' };

/** An escape by its code, an escape that the text may complete later, or an escape of one character. */
const ESCAPE = /\\(?:u([\da-fA-F]{4})|(u[\da-fA-F]{0,3}$|$)|(.))/gs;

/** Escapes by code, with those of JSON within JSON, which have more backslashes. A run of backslashes is read once. */
const CODE = /(?<!\\)\\+u([\da-fA-F]{4})/g;

/** Returns a text with the characters that its escapes such as `\u0046` stand for. Other escapes stay, which may be paths. */
export function decodeCodes(text: string): string {
  return text.replaceAll(CODE, (_, code: string) => String.fromCharCode(Number.parseInt(code, 16)));
}

/** Returns a text as a model reads it: JSON without its escapes, and other text without escapes by code. */
export function decodeEscapes(text: string): string {
  if (!text.includes('\\')) return text;
  return decodeCodes(isJson(text) ? new JsonText().push(text) : text);
}

/**
 * Decodes the escapes of JSON that arrives in pieces, so that `\u0046` is checked as the letter it stands for. All other text
 * stays as it is.
 */
export class JsonText {
  /** An escape that isn't complete yet. */
  #escape = '';

  /** Returns the decoded text of the next piece, without an incomplete escape at its end. */
  push(piece: string): string {
    const json = this.#escape + piece;
    this.#escape = '';
    return json.replaceAll(ESCAPE, (sequence: string, code?: string, rest?: string, character = '') => {
      if (code !== undefined) return String.fromCharCode(Number.parseInt(code, 16));
      if (rest === undefined) return ESCAPES[character] ?? character;
      this.#escape = sequence;
      return '';
    });
  }

  /** True while the text so far ends within an escape. */
  get isWithinEscape(): boolean {
    return this.#escape !== '';
  }
}
