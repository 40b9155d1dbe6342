import { availableParallelism } from 'node:os';
import { Environment, type EnvironmentEvents, type EnvironmentOptions } from './environment.ts';
import type { FunctionError } from './errors.ts';
import type { Invocation } from './invocation.ts';

/**
 * Milliseconds that an invocation waits for an environment that is about to poll, before another environment starts.
 * The poll comes within a fraction of a millisecond, unless the handler continues after its response or the machine is
 * busy. Starting another environment takes about as long as this.
 */
const POLL_GRACE_MS = 100;

/**
 * Maximum number of a function's environments that start at the same time. Lambda starts hundreds, each with a
 * processor of its own. A laptop has a few processors, and each start keeps one busy for a tenth of a second. Starting
 * many at once would make callers wait, and waiting callers would start even more environments, although one that is
 * ready could have served them all.
 */
const MAX_STARTING = Math.max(1, Math.floor(availableParallelism() / 2));

const CLOSED = 'The runner has been closed';

export interface PoolOptions {
  /** Maximum number of environments. */
  readonly maxEnvironments: number;
  /** Maximum number of invocations that one environment runs at once. */
  readonly maxConcurrency: number;
  /** Milliseconds without work after which an environment ends. */
  readonly idleMs: number;
  /** Returns the options of a new environment. May fetch credentials for it. */
  prepare(): Promise<EnvironmentOptions>;
  onLog: EnvironmentEvents['onLog'];
}

/** The environments of one function. Invocations wait in order for an environment that polls. */
export class Pool implements EnvironmentEvents {
  readonly #options: PoolOptions;
  readonly #environments = new Map<string, Environment>();
  readonly #waiting: { readonly invocation: Invocation; readonly since: number }[] = [];
  /** Number of environments whose options are being prepared. */
  #preparing = 0;
  #recheck: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: PoolOptions) {
    this.#options = options;
  }

  /** Hands `invocation` to an environment that polls, now or as soon as there is one. */
  run(invocation: Invocation): void {
    if (this.#closed) {
      invocation.fail(new Error(CLOSED));
      return;
    }
    const environment = this.#findReady();
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

  /** Ends environments that have been idle for `idleMs`. */
  reap(now: number): void {
    for (const environment of this.#environments.values()) {
      const { phase, load, idleSince } = environment;
      if (phase === 'ready' && load === 0 && now - idleSince >= this.#options.idleMs) environment.retire();
    }
  }

  /** Ends all environments. Resolves when their processes have ended. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#recheck);
    for (const { invocation } of this.#waiting.splice(0)) invocation.fail(new Error(CLOSED));
    const environments = this.environments();
    for (const environment of environments) environment.kill();
    await Promise.all(environments.map(({ exited }) => exited));
  }

  onPoll(environment: Environment): void {
    if (environment.expired) {
      environment.retire();
      this.#grow();
      return;
    }
    const next = this.#waiting.shift();
    if (next === undefined) return;
    environment.run(next.invocation);
    this.#grow();
  }

  onGone(environment: Environment, failure: FunctionError | undefined): void {
    this.#environments.delete(environment.id);
    // A failed start fails as many invocations as the environment could have served: those that have waited longest.
    if (failure !== undefined) this.#failWaiting(failure);
    this.#grow();
  }

  onLog(line: Parameters<EnvironmentEvents['onLog']>[0]): void {
    this.#options.onLog(line);
  }

  /**
   * Returns the ready environment with the fewest invocations. Of several idle ones it is the one that became idle
   * last, so that surplus environments stay idle and are ended.
   */
  #findReady(): Environment | undefined {
    let found: Environment | undefined;
    for (const environment of this.#environments.values()) {
      if (environment.phase !== 'ready') continue;
      if (environment.expired) environment.retire();
      else if (found === undefined || isPreferred(environment, found)) found = environment;
    }
    return found;
  }

  #failWaiting(failure: Error): void {
    const failed = this.#waiting.splice(0, this.#options.maxConcurrency);
    for (const { invocation } of failed) invocation.fail(failure);
  }

  /** Starts environments for waiting invocations that no other environment is expected to serve, up to the maxima. */
  #grow(): void {
    if (this.#closed || this.#waiting.length === 0) return;
    const { maxConcurrency, maxEnvironments } = this.#options;
    const environments = this.environments().filter(({ phase }) => phase !== 'retiring');
    const starting = this.#preparing + environments.filter(({ phase }) => phase === 'starting').length;
    const betweenPolls = environments.filter(({ phase }) => phase === 'between-polls');
    const expectedPolls = betweenPolls.reduce((sum, { room }) => sum + room, 0);
    const unserved = Math.max(this.#waiting.length - expectedPolls, this.#countOverdue()) - starting * maxConcurrency;
    const room = maxEnvironments - environments.length - this.#preparing;
    const starts = Math.min(Math.ceil(unserved / maxConcurrency), room, MAX_STARTING - starting);
    for (let count = starts; count > 0; count -= 1) void this.#start();
    if (betweenPolls.length > 0) this.#recheck ??= setTimeout(() => this.#growAgain(), POLL_GRACE_MS);
  }

  /** Returns the number of invocations that have waited so long for a poll that they need another environment. */
  #countOverdue(): number {
    // With many pollers, a handler can't delay the poll. Only a busy machine can, and another process wouldn't help.
    if (this.#options.maxConcurrency > 1) return 0;
    return this.#waiting.filter(({ since }) => performance.now() - since >= POLL_GRACE_MS).length;
  }

  #growAgain(): void {
    this.#recheck = undefined;
    this.#grow();
  }

  async #start(): Promise<void> {
    this.#preparing += 1;
    let failure: Error | undefined;
    try {
      const options = await this.#options.prepare();
      if (!this.#closed) {
        const environment = new Environment(options, this);
        this.#environments.set(environment.id, environment);
      }
    } catch (error) {
      failure = error instanceof Error ? error : new Error(String(error));
    }
    this.#preparing -= 1;
    if (failure === undefined) return;
    this.#failWaiting(failure);
    // The other waiting invocations need starts of their own, which no event of an environment would cause.
    this.#grow();
  }
}

function isPreferred(candidate: Environment, other: Environment): boolean {
  if (candidate.load !== other.load) return candidate.load < other.load;
  return candidate.load === 0 && candidate.idleSince > other.idleSince;
}
