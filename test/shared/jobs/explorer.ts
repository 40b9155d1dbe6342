/**
 * A small explorer of interleavings. Processes are plain async code that reaches the world through calls; a process is
 * therefore its program and what its calls were answered so far, in which order. The explorer keeps a state as data (the
 * world, and each process's history), walks every order in which pending calls can be answered, and meets each state
 * once. A program is run only to learn what it calls next after a history that is new.
 */

export interface Call {
  /** Numbered in the order in which the process made them. */
  readonly id: number;
  readonly method: string;
  readonly args: readonly unknown[];
  /** The process's clock when it made the call. */
  readonly madeAt: number;
}

/** How a call was answered. Plain JSON, since it is part of a state. */
export interface Answer {
  readonly call: number;
  readonly value?: unknown;
  readonly error?: string;
  /** The world's clock then: what the process reads as the time from now on. */
  readonly now: number;
}

/** What a program reaches the world with. */
export interface Reach {
  readonly name: string;
  now(): number;
  /** Makes a call. With a signal, an abort answers it at once: by a rejection, or for `sleep` by resolving. */
  call(method: string, args: readonly unknown[], signal?: AbortSignal): Promise<unknown>;
}

export type Program = (reach: Reach) => Promise<unknown>;

/** Where a process stands: what it waits for. Nothing, when it has ended. */
export interface Standing {
  readonly pending: readonly Call[];
  /** What it threw, if it did. */
  readonly failure?: string;
  /** Whether it has read its clock since its last answer: only then does it matter when that came. */
  readonly readClock: boolean;
}

/** Runs a program through a history. Returns the request that it waits for then. */
export async function follow(
  program: Program,
  name: string,
  startedAt: number,
  history: readonly Answer[],
): Promise<Standing> {
  const pending = new Map<number, Call & { resolve(value: unknown): void; reject(error: unknown): void }>();
  let clock = startedAt;
  let readClock = false;
  let made = 0;
  let failure: string | undefined;
  const reach: Reach = {
    name,
    now() {
      readClock = true;
      return clock;
    },
    call(method, args, signal) {
      const id = made;
      made += 1;
      if (method === 'sleep') readClock = true;
      return new Promise((resolve, reject) => {
        const onAbort = (): void => {
          pending.delete(id);
          if (method === 'sleep') resolve(undefined);
          else reject(signal?.reason);
        };
        if (signal?.aborted) return onAbort();
        signal?.addEventListener('abort', onAbort);
        pending.set(id, { id, method, args: structuredClone(args), madeAt: clock, resolve, reject });
      });
    },
  };
  program(reach).catch((thrown: unknown) => {
    failure = String(thrown);
  });
  await settled();
  for (const { call, value, error, now } of history) {
    const answered = pending.get(call);
    if (answered === undefined) throw new Error(`${name} does not wait for call ${call}: it is not deterministic`);
    clock = now;
    readClock = false;
    pending.delete(call);
    if (error === undefined) answered.resolve(structuredClone(value));
    else answered.reject(Object.assign(new Error(error), { $metadata: {} }));
    await settled();
  }
  const calls = [...pending.values()].map(({ id, method, args, madeAt }) => ({ id, method, args, madeAt }));
  return { pending: calls, readClock, ...(failure === undefined ? {} : { failure }) };
}

/** Every promise that can settle has: nothing but calls can keep a program waiting. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Remembers where processes stand, by their histories, which share their beginnings. */
export class Histories {
  readonly #program: (name: string) => Program;
  readonly #nodes: { name: string; startedAt: number; history: readonly Answer[]; standing?: Standing }[] = [];
  readonly #ids = new Map<string, number>();

  constructor(program: (name: string) => Program) {
    this.#program = program;
  }

  begin(name: string, startedAt: number): number {
    return this.#node(`${name}@${startedAt}`, () => ({ name, startedAt, history: [] }));
  }

  async after(id: number, answer: Answer): Promise<number> {
    const timeless = `${id}:${answer.call}:${answer.error}:${JSON.stringify(answer.value)}`;
    const known = this.#ids.get(timeless);
    if (known !== undefined) return known;
    const after = this.#node(`${timeless}@${answer.now}`, () => {
      const { name, startedAt, history } = this.#at(id);
      return { name, startedAt, history: [...history, answer] };
    });
    if (!(await this.standing(after)).readClock) this.#ids.set(timeless, after);
    return after;
  }

  async standing(id: number): Promise<Standing> {
    const node = this.#at(id);
    node.standing ??= await follow(this.#program(node.name), node.name, node.startedAt, node.history);
    return node.standing;
  }

  nameOf(id: number): string {
    return this.#at(id).name;
  }

  get size(): number {
    return this.#nodes.length;
  }

  #node(key: string, make: () => { name: string; startedAt: number; history: readonly Answer[] }): number {
    const known = this.#ids.get(key);
    if (known !== undefined) return known;
    this.#nodes.push(make());
    this.#ids.set(key, this.#nodes.length - 1);
    return this.#nodes.length - 1;
  }

  #at(id: number) {
    const node = this.#nodes[id];
    if (node === undefined) throw new Error(`No history ${id}`);
    return node;
  }
}

/** One thing that may happen next in a state. */
export interface Step<State> {
  readonly label: string;
  take(): Promise<State>;
}

export interface Exploration<State> {
  readonly start: State;
  /** Two states of the same key have the same future. */
  key(state: State): string;
  /** Everything that may happen next. */
  steps(state: State): Promise<readonly Step<State>[]>;
  /**
   * Throws if something is wrong with a state. A step may throw too.
   * @param before the state before the step; absent for the first
   */
  check(state: State, before: State | undefined): Promise<void>;
}

/** Some minutes. */
const MAX_STEPS = 3_000_000;

/**
 * Walks every state that can be reached.
 * @returns how many there are, and how many steps lead to them
 * @throws what `check` throws, with the steps that led there
 */
export async function explore<State>({ start, key, steps, check }: Exploration<State>) {
  const met = new Set([key(start)]);
  const stack: { state: State; path: Path }[] = [{ state: start, path: undefined }];
  let taken = 0;
  await check(start, undefined);
  for (let here = stack.pop(); here !== undefined; here = stack.pop()) {
    for (const step of await steps(here.state)) {
      const path = { label: step.label, before: here.path };
      taken += 1;
      if (taken > MAX_STEPS) throw new Error(`More than ${MAX_STEPS} steps: the budget is too large`);
      let state: State;
      try {
        state = await step.take();
        await check(state, here.state);
      } catch (thrown) {
        throw new Error(`${thrown instanceof Error ? thrown.message : thrown}\nafter:\n${describePath(path)}`);
      }
      const name = key(state);
      if (met.has(name)) continue;
      met.add(name);
      stack.push({ state, path });
    }
  }
  return { states: met.size, steps: taken };
}

type Path = { readonly label: string; readonly before: Path } | undefined;

function describePath(path: Path): string {
  const labels: string[] = [];
  for (let at = path; at !== undefined; at = at.before) labels.unshift(at.label);
  return labels.map((label) => `  ${label}`).join('\n');
}
