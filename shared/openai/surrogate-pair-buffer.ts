/**
 * Makes text that comes in pieces safe to send piece by piece. A piece may end in the middle of a surrogate pair; its
 * half is kept until the other half comes, since a client that decodes each frame by itself would lose both. What
 * never becomes a pair is replaced by U+FFFD: joined, the pieces are `toWellFormed()` of the whole text.
 */
export class SurrogatePairBuffer {
  #half = '';

  /** What can be sent now that `piece` has come; may be empty. */
  push(piece: string): string {
    const text = this.#half === '' ? piece : this.#half + piece;
    if (isHighSurrogate(text.charCodeAt(text.length - 1))) {
      this.#half = text.slice(-1);
      return text.slice(0, -1).toWellFormed();
    }
    this.#half = '';
    return text.toWellFormed();
  }

  /** What is left when no more pieces come. */
  flush(): string {
    const half = this.#half;
    this.#half = '';
    return half.toWellFormed();
  }
}

function isHighSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit <= 0xdbff;
}
