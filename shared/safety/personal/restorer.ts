/** Replaces placeholders by their values in texts that may be split anywhere. */
export class Restorer {
  readonly #values: ReadonlyMap<string, string>;
  readonly #pattern: RegExp;
  /** All beginnings of placeholders. */
  readonly #beginnings = new Set<string>();
  readonly #longest: number;

  /** @param values the values by their placeholders; at least one */
  constructor(values: ReadonlyMap<string, string>) {
    this.#values = values;
    const placeholders = [...values.keys()];
    const labels = new Set(placeholders.map((placeholder) => placeholder.slice(0, placeholder.indexOf('-'))));
    this.#pattern = new RegExp(`(?:${[...labels].join('|')})-[a-z2-7]{8}`, 'g');
    for (const placeholder of placeholders)
      for (let length = 1; length < placeholder.length; length++) this.#beginnings.add(placeholder.slice(0, length));
    this.#longest = Math.max(...placeholders.map(({ length }) => length)) - 1;
  }

  /** Restores a whole text. */
  restore(text: string, write: WriteValue = keep): string {
    let restored = '';
    let end = 0;
    this.#pattern.lastIndex = 0;
    for (let match = this.#pattern.exec(text); match !== null; match = this.#pattern.exec(text)) {
      const value = this.#values.get(match[0]);
      // A label may end another one.
      if (value === undefined) this.#pattern.lastIndex = match.index + 1;
      else {
        restored += text.slice(end, match.index) + write(value);
        end = this.#pattern.lastIndex;
      }
    }
    return restored + text.slice(end);
  }

  /** Restores all texts and field names of a JSON value. */
  restoreJson(value: unknown): unknown {
    if (typeof value === 'string') return this.restore(value);
    if (Array.isArray(value)) return value.map((each) => this.restoreJson(each));
    if (typeof value !== 'object' || value === null) return value;
    return Object.fromEntries(
      Object.entries(value).map(([field, each]) => [this.restore(field), this.restoreJson(each)]),
    );
  }

  /** Returns the length of the longest end of a text that can begin a placeholder. */
  findBeginning(text: string): number {
    for (let length = Math.min(this.#longest, text.length); length > 0; length--)
      if (this.#beginnings.has(text.slice(-length))) return length;
    return 0;
  }
}

/** Writes a value in the form of the text around it. */
export type WriteValue = (value: string) => string;

/** Writes a value as it is. */
export const keep: WriteValue = (value) => value;

/** Writes a value as a part of a string in JSON. */
export const escapeJson: WriteValue = (value) => JSON.stringify(value).slice(1, -1);

/**
 * Restores one text that arrives in fragments. It holds back only what can still become a placeholder, which is shorter than
 * the longest one.
 */
export class FragmentRestorer {
  readonly #restorer: Restorer;
  readonly #write: WriteValue;
  #held = '';

  constructor(restorer: Restorer, write: WriteValue = keep) {
    this.#restorer = restorer;
    this.#write = write;
  }

  /** Adds a fragment, and returns what is certain. */
  push(fragment: string): string {
    const text = this.#held + fragment;
    const held = this.#restorer.findBeginning(text);
    this.#held = text.slice(text.length - held);
    return this.#restorer.restore(text.slice(0, text.length - held), this.#write);
  }

  /** Ends the text, and returns the rest. */
  end(): string {
    const rest = this.#held;
    this.#held = '';
    return rest;
  }
}
