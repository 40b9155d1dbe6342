/**
 * Lets many tasks run at once, or one alone. A task that waits to run alone keeps later ones from beginning, so that it isn't
 * starved.
 */
export class Exclusion {
  #running = 0;
  #isAlone = false;
  readonly #waitingAlone: (() => void)[] = [];
  readonly #waiting: (() => void)[] = [];

  /** True while a task runs alone or waits for it, so that another would have to wait. */
  get isBlocked(): boolean {
    return this.#isAlone || this.#waitingAlone.length > 0;
  }

  /** Runs a task beside others. It may call `runAlone` of the object it is given. */
  async run<T>(task: (held: { runAlone: <R>(run: () => Promise<R>) => Promise<R> }) => Promise<T>): Promise<T> {
    await this.#enter();
    try {
      return await task({ runAlone: (run) => this.#runAlone(run) });
    } finally {
      this.#running -= 1;
      this.#wake();
    }
  }

  /** Waits until all other tasks have ended or wait themselves, and runs. The task counts as beside others again afterwards. */
  async #runAlone<R>(run: () => Promise<R>): Promise<R> {
    this.#running -= 1;
    await new Promise<void>((resolve) => {
      this.#waitingAlone.push(resolve);
      this.#wake();
    });
    try {
      return await run();
    } finally {
      this.#isAlone = false;
      this.#running += 1;
      this.#wake();
    }
  }

  async #enter(): Promise<void> {
    if (this.isBlocked) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    } else this.#running += 1;
  }

  #wake(): void {
    if (this.#isAlone) return;
    if (this.#waitingAlone.length > 0) {
      if (this.#running > 0) return;
      this.#isAlone = true;
      this.#waitingAlone.shift()?.();
      return;
    }
    for (const begin of this.#waiting.splice(0)) {
      this.#running += 1;
      begin();
    }
  }
}
