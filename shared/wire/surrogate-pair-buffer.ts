/**
 * Splits streamed text at character boundaries. If a chunk ends in the middle of a surrogate pair, the high surrogate
 * is held until the next chunk, because a client that decodes each frame separately would lose both halves. Unpaired
 * surrogates become U+FFFD: the joined results equal `toWellFormed()` of the whole text.
 */
export class SurrogatePairBuffer {
  #highSurrogate = '';

  /** Adds a chunk and returns the text that can be sent, which may be empty. */
  push(chunk: string): string {
    const text = this.#highSurrogate === '' ? chunk : this.#highSurrogate + chunk;
    if (isHighSurrogate(text.charCodeAt(text.length - 1))) {
      this.#highSurrogate = text.slice(-1);
      return text.slice(0, -1).toWellFormed();
    }
    this.#highSurrogate = '';
    return text.toWellFormed();
  }

  /** Returns the text that is still held after the last chunk: U+FFFD or ''. */
  flush(): string {
    const highSurrogate = this.#highSurrogate;
    this.#highSurrogate = '';
    return highSurrogate.toWellFormed();
  }
}

function isHighSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit <= 0xdbff;
}
