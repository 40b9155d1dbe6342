import { availableParallelism } from 'node:os';
import type { Concurrency } from './concurrency.ts';
import { Environment, type EnvironmentEvents, type EnvironmentOptions } from './environment.ts';
import type { FunctionError } from './errors.ts';
import type { Invocation } from './invocation.ts';

/**
 * How long a call waits for an environment whose answer is whole, before it starts another: such a one asks for work
 * within a fraction of a millisecond, unless its handler goes on after its answer, or the machine is busy and lets its process
 * wait. To start another one would take as long as this.
 */
const FINISHING_GRACE_MS = 100;

/**
 * Environments of a function that start at once. Lambda starts hundreds, each with a processor of its own. A laptop has a few
 * for all, and a start keeps one busy for a tenth of a second: those that start together make callers wait, whose waiting
 * starts more, while one that is ready could have served them all.
 */
const STARTING_AT_ONCE = Math.max(1, Math.floor(availableParallelism() / 2));

const CLOSED = 'The runner has been closed';

export interface PoolOptions {
  readonly concurrency: Concurrency;
  /** Milliseconds without work after which an environment ends. */
  readonly idleMs: number;
  /** Makes the options of a new environment; may have to fetch credentials. */
  prepare(): Promise<EnvironmentOptions>;
  onLog: EnvironmentEvents['onLog'];
}

/** The environments of one function. Calls wait in order; an idle environment takes the first. */
export class Pool implements EnvironmentEvents {
  readonly #options: PoolOptions;
  readonly #environments = new Map<string, Environment>();
  /** The one that became idle last is used first, so that the surplus goes cold and ends. */
  readonly #idle: Environment[] = [];
  readonly #waiting: { readonly invocation: Invocation; readonly since: number }[] = [];
  /** Environments that are being prepared and don't exist yet. */
  #preparing = 0;
  #recheck: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: PoolOptions) {
    this.#options = options;
  }

  /** Serves `invocation` with an idle environment, or with the next that becomes idle. */
  run(invocation: Invocation): void {
    if (this.#closed) {
      invocation.fail(new Error(CLOSED));
      return;
    }
    const environment = this.#takeIdle();
    if (environment === undefined) {
      this.#waiting.push({ invocation, since: performance.now() });
      this.#grow();
    } else environment.run(invocation);
  }

  find(environmentId: string): Environment | undefined {
    return this.#environments.get(environmentId);
  }

  environments(): Environment[] {
    return [...this.#environments.values()];
  }

  /** Ends environments that have been idle for too long. */
  reap(now: number): void {
    const kept = this.#idle.filter((environment) => {
      const stays = now - environment.idleSince < this.#options.idleMs;
      if (!stays) environment.kill();
      return stays;
    });
    this.#idle.splice(0, this.#idle.length, ...kept);
  }

  /** Ends every environment, and waits until their processes are gone. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#recheck);
    for (const { invocation } of this.#waiting.splice(0)) invocation.fail(new Error(CLOSED));
    const environments = this.environments();
    for (const environment of environments) environment.kill();
    await Promise.all(environments.map(({ exited }) => exited));
  }

  onIdle(environment: Environment): void {
    if (environment.expired) {
      environment.kill();
      this.#grow();
      return;
    }
    const next = this.#waiting.shift();
    if (next === undefined) {
      this.#idle.push(environment);
      return;
    }
    environment.run(next.invocation);
    this.#grow();
  }

  onGone(environment: Environment, failure: FunctionError | undefined): void {
    this.#environments.delete(environment.id);
    const index = this.#idle.indexOf(environment);
    if (index !== -1) this.#idle.splice(index, 1);
    // Nobody can tell which call a start that failed was meant for: the one that has waited longest.
    if (failure !== undefined) this.#waiting.shift()?.invocation.fail(failure);
    this.#grow();
  }

  onLog(line: Parameters<EnvironmentEvents['onLog']>[0]): void {
    this.#options.onLog(line);
  }

  #takeIdle(): Environment | undefined {
    for (let environment = this.#idle.pop(); environment !== undefined; environment = this.#idle.pop()) {
      if (!environment.expired) return environment;
      environment.kill();
    }
    return undefined;
  }

  /** Starts environments until there is one to come for each waiting call, or as many start as may at once. */
  #grow(): void {
    if (this.#closed || this.#waiting.length === 0) return;
    const phases = this.environments().map(({ phase }) => phase);
    const starting = this.#preparing + phases.filter((phase) => phase === 'starting').length;
    const finishing = phases.filter((phase) => phase === 'finishing').length;
    const overdue = this.#waiting.filter(({ since }) => performance.now() - since >= FINISHING_GRACE_MS).length;
    const missing = Math.max(this.#waiting.length - starting - finishing, overdue - starting);
    const room = this.#options.concurrency.limit - this.#environments.size - this.#preparing;
    const starts = Math.min(missing, room, STARTING_AT_ONCE - starting);
    for (let count = starts; count > 0; count -= 1) void this.#start();
    if (finishing > 0) this.#recheck ??= setTimeout(() => this.#growAgain(), FINISHING_GRACE_MS);
  }

  #growAgain(): void {
    this.#recheck = undefined;
    this.#grow();
  }

  async #start(): Promise<void> {
    this.#preparing += 1;
    try {
      const options = await this.#options.prepare();
      if (this.#closed) return;
      const environment = new Environment(options, this);
      this.#environments.set(environment.id, environment);
    } catch (error) {
      this.#waiting.shift()?.invocation.fail(error instanceof Error ? error : new Error(String(error)));
    } finally {
      this.#preparing -= 1;
    }
  }
}
