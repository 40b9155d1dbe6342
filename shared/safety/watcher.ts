/** Decides which part of a text of an answer may be sent, while the text arrives in pieces. */
export interface Watcher {
  /**
   * Takes the next piece of the text.
   * @throws LambentError if the text can't be checked
   */
  push(text: string): void | Promise<void>;
  /** Decides about all of the text so far, because it ends here. More may follow nevertheless. Throws as `push`. */
  end(): void | Promise<void>;
  /** The offset up to which the text may be sent. */
  readonly heldFrom: number;
  /** True if nothing more may be sent. */
  readonly isRefused: boolean;
}
