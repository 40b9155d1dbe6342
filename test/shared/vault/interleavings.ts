/** Runs one actor at a time until its next gate, in the order of `choices`. */
export class Interleaving {
  readonly #choices: readonly number[];
  /** The number of actors that could have run at each step. */
  readonly options: number[] = [];
  readonly #waiting = new Map<string, () => void>();
  #running = 0;

  constructor(choices: readonly number[]) {
    this.#choices = choices;
  }

  /** Runs an actor. Between two of its gates, all other actors wait at theirs. */
  async run<Result>(work: () => Promise<Result>): Promise<Result> {
    this.#running++;
    // All actors that start together must be counted before the first one reaches a gate.
    await Promise.resolve();
    try {
      return await work();
    } finally {
      this.#running--;
      this.#next();
    }
  }

  /** A gate: waits until this actor is chosen. */
  waitForTurn(actor: string): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.set(actor, resolve);
      this.#running--;
      this.#next();
    });
  }

  #next(): void {
    if (this.#running > 0 || this.#waiting.size === 0) return;
    const actors = [...this.#waiting.keys()].sort();
    const actor = actors[this.#choices[this.options.length] ?? 0] ?? '';
    this.options.push(actors.length);
    const resume = this.#waiting.get(actor);
    this.#waiting.delete(actor);
    this.#running++;
    resume?.();
  }
}

/**
 * Runs `scenario` once for every possible order of its actors' steps.
 * @param scenario must start all its actors before it waits for any
 * @returns the number of orders
 */
export async function runInEveryOrder(scenario: (turns: Interleaving) => Promise<void>): Promise<number> {
  let choices: number[] | undefined = [];
  let count = 0;
  while (choices !== undefined) {
    const turns: Interleaving = new Interleaving(choices);
    await scenario(turns);
    count++;
    choices = nextChoices(choices, turns.options);
  }
  return count;
}

/** Returns the choices that follow, like the next number in counting; undefined after the last. */
function nextChoices(choices: readonly number[], options: readonly number[]): number[] | undefined {
  for (let step = options.length - 1; step >= 0; step--) {
    const choice = (choices[step] ?? 0) + 1;
    if (choice < (options[step] ?? 0))
      return [...options.keys()]
        .slice(0, step)
        .map((at) => choices[at] ?? 0)
        .concat(choice);
  }
  return undefined;
}
