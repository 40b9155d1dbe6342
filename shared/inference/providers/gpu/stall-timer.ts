export interface StallTimerOptions {
  /** Milliseconds that the first item may take. */
  readonly allowedMs: number;
  /** Milliseconds of silence after which `onSilence` is called. */
  readonly silenceMs: number;
  readonly onSilence: () => void;
  /** Called when an item ends a wait. */
  readonly onItem: () => void;
}

/** Limits how long a stream may be silent. Time that the reader takes between two items does not count. */
export class StallTimer {
  readonly #options: StallTimerOptions;
  readonly #stalled = new AbortController();
  #allowedMs: number;
  #timers: readonly NodeJS.Timeout[] = [];

  constructor(options: StallTimerOptions) {
    this.#options = options;
    this.#allowedMs = options.allowedMs;
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
    if (this.#timers.length > 0) this.#start();
  }

  /** Yields the same items, and runs the timers while it waits for one. */
  async *watch<Item>(items: AsyncIterable<Item>): AsyncGenerator<Item> {
    const iterator = items[Symbol.asyncIterator]();
    try {
      for (;;) {
        this.#start();
        const next = await iterator.next().finally(() => this.#stop());
        if (next.done) return;
        this.#options.onItem();
        yield next.value;
      }
    } finally {
      await iterator.return?.();
    }
  }

  #start(): void {
    this.#stop();
    const { silenceMs, onSilence } = this.#options;
    this.#timers = [setTimeout(onSilence, silenceMs), setTimeout(() => this.#stalled.abort(), this.#allowedMs)];
  }

  #stop(): void {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers = [];
  }
}
