/** Lets one actor at a time go on to its next gate, in an order that `choices` decides. */
export class Interleaving {
  readonly #choices: readonly number[];
  /** How many actors could have gone on, each time. */
  readonly options: number[] = [];
  readonly #waiting = new Map<string, () => void>();
  #running = 0;

  constructor(choices: readonly number[]) {
    this.#choices = choices;
  }

  /** Runs an actor: everything between two of its gates happens while all others wait at theirs. */
  async run<Result>(work: () => Promise<Result>): Promise<Result> {
    this.#running++;
    // Those that are started together are all counted before the first of them comes to a gate.
    await Promise.resolve();
    try {
      return await work();
    } finally {
      this.#running--;
      this.#next();
    }
  }

  /** Where an actor waits for its turn. */
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
    const goOn = this.#waiting.get(actor);
    this.#waiting.delete(actor);
    this.#running++;
    goOn?.();
  }
}

/**
 * Runs `scenario` once in every order that its actors' turns can have.
 * @param scenario starts all its actors before it waits for any
 * @returns how many orders there were
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

/** The choices after these, as in counting; undefined after the last. */
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
