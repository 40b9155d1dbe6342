/** Limits how long a stream may be silent. Time that the reader takes between two items does not count. */
export class StallTimer {
  readonly #stalled = new AbortController();
  #allowedMs: number;
  #timer: NodeJS.Timeout | undefined;

  /** @param allowedMs milliseconds until the first item must arrive */
  constructor(allowedMs: number) {
    this.#allowedMs = allowedMs;
  }

  /** Aborts when the wait for an item exceeds `allowedMs`. */
  get stalled(): AbortSignal {
    return this.#stalled.signal;
  }

  /** Milliseconds that the next item may take. */
  get allowedMs(): number {
    return this.#allowedMs;
  }

  /** Allows `ms` for each further item. A wait that is under way starts over. */
  allow(ms: number): void {
    this.#allowedMs = ms;
    if (this.#timer !== undefined) this.#start();
  }

  /** Yields the same items, and runs the timer while it waits for one. */
  async *watch<Item>(items: AsyncIterable<Item>): AsyncGenerator<Item> {
    const iterator = items[Symbol.asyncIterator]();
    try {
      for (;;) {
        this.#start();
        const next = await iterator.next().finally(() => this.#stop());
        if (next.done) return;
        yield next.value;
      }
    } finally {
      await iterator.return?.();
    }
  }

  #start(): void {
    this.#stop();
    this.#timer = setTimeout(() => this.#stalled.abort(), this.#allowedMs);
  }

  #stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
