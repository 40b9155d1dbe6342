/** Returns the arguments of a call of a custom tool, whose text is `input`. */
export function encodeCustomInput(input: string): string {
  return JSON.stringify({ input });
}

/** Begins and ends the arguments of a call of a custom tool, around fragments of `escapeCustomInput`. */
export const CUSTOM_INPUT_FRAME = ['{"input":"', '"}'] as const;

/** Returns a fragment of the text as a fragment of the arguments. */
export function escapeCustomInput(fragment: string): string {
  return JSON.stringify(fragment).slice(1, -1);
}

/** `{"input":"`, with any white space. */
const HEAD = /^\s*\{\s*"input"\s*:\s*"/;
/** The longest text that is looked through for the head. */
const MAX_HEAD = 64;

/**
 * Reads the text of a call of a custom tool from the arguments of a function call, as they arrive. A model may write
 * another form: then the text is that of the only string in the arguments, or the arguments themselves.
 */
export class CustomInputReader {
  #state: 'head' | 'text' | 'ended' | 'other' = 'head';
  /** The characters that are not read yet; all of them in another form. */
  #pending = '';

  /** Adds a fragment of the arguments, and returns the text that it completes. */
  push(fragment: string): string {
    if (this.#state === 'ended') return '';
    this.#pending += fragment;
    if (this.#state === 'head') {
      const head = HEAD.exec(this.#pending);
      if (head !== null) {
        this.#state = 'text';
        this.#pending = this.#pending.slice(head[0].length);
      } else if (this.#pending.length > MAX_HEAD) this.#state = 'other';
    }
    return this.#state === 'text' ? this.#readText() : '';
  }

  /** Ends the call, and returns the rest of its text. */
  end(): string {
    const isOther = this.#state === 'head' || this.#state === 'other';
    this.#state = 'ended';
    return isOther ? readOtherForm(this.#pending) : '';
  }

  /** Returns the string's next characters, without an escape sequence that isn't complete. */
  #readText(): string {
    const pending = this.#pending;
    let text = '';
    let at = 0;
    while (at < pending.length) {
      SPECIAL.lastIndex = at;
      const special = SPECIAL.exec(pending)?.index ?? pending.length;
      text += pending.slice(at, special);
      at = special;
      if (pending[at] !== '\\') break;
      const length = pending[at + 1] === 'u' ? UNICODE_ESCAPE : 2;
      if (pending.length < at + length) break;
      text += decodeEscape(pending.slice(at + 1, at + length));
      at += length;
    }
    if (pending[at] === '"') this.#state = 'ended';
    this.#pending = pending.slice(at);
    return text;
  }
}

const SPECIAL = /["\\]/g;
/** Length of an escape sequence such as `\u00e9`. */
const UNICODE_ESCAPE = 6;

/** Decodes an escape sequence, without its backslash. Models also escape characters that JSON doesn't. */
function decodeEscape(sequence: string): string {
  if (sequence.length === 1) return ESCAPES.get(sequence) ?? sequence;
  const code = Number.parseInt(sequence.slice(1), 16);
  return Number.isNaN(code) ? sequence : String.fromCharCode(code);
}

const ESCAPES: ReadonlyMap<string, string> = new Map([
  ['n', '\n'],
  ['t', '\t'],
  ['r', '\r'],
  ['b', '\b'],
  ['f', '\f'],
]);

function readOtherForm(text: string): string {
  if (text.trim() === '') return '';
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'string') return value;
    if (typeof value !== 'object' || value === null) return text;
    const fields = Object.entries(value);
    const input = fields.find(([name]) => name === 'input') ?? (fields.length === 1 ? fields[0] : undefined);
    if (typeof input?.[1] === 'string') return input[1];
    return fields.length === 0 ? '' : text;
  } catch {
    return text;
  }
}

/** Returns the text of a call of a custom tool. */
export function decodeCustomInput(text: string): string {
  const reader = new CustomInputReader();
  return reader.push(text) + reader.end();
}
