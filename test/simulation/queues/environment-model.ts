import type { VirtualTime } from '../virtual-time.ts';

/**
 * An execution environment of Lambda. It serves one invocation at a time, is frozen between invocations, and can be
 * killed. JavaScript can't stop a function from outside, so a function in this model must reach the world (queues,
 * stores, models, timers) only through guarded objects: once the environment is killed, their calls have no effect and
 * never settle, and neither do those that were under way. While it is frozen, results wait for the next invocation.
 * https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
 */
export class EnvironmentModel {
  /** Unique for its event source. */
  readonly id: number;
  #state: 'running' | 'frozen' | 'killed' = 'frozen';
  #thaw: (() => void)[] = [];
  #killed = Promise.withResolvers<void>();
  readonly #time: VirtualTime;

  constructor(time: VirtualTime, id: number) {
    this.#time = time;
    this.id = id;
  }

  get isKilled(): boolean {
    return this.#state === 'killed';
  }

  /** Resolves once the environment is killed. */
  get whenKilled(): Promise<void> {
    return this.#killed.promise;
  }

  /** Ends the environment and its invocation, as a timeout or an exhausted memory does. */
  kill(): void {
    this.#state = 'killed';
    this.#thaw = [];
    this.#killed.resolve();
    this.#time.settled();
  }

  /** Begins an invocation: code that waited while the environment was frozen goes on. */
  start(): void {
    if (this.#state !== 'frozen') throw new Error(`Environment ${this.id} is ${this.#state}.`);
    this.#state = 'running';
    const thaw = this.#thaw;
    this.#thaw = [];
    for (const resume of thaw) resume();
    this.#time.settled();
  }

  /** Ends an invocation: code that is still under way waits for the next one. */
  freeze(): void {
    if (this.#state === 'running') this.#state = 'frozen';
  }

  /**
   * Returns `port` with methods that only have an effect while the environment lives. Methods that return promises stop;
   * others, such as a clock, are passed through.
   */
  guard<T extends object>(port: T): T {
    return new Proxy(port, {
      get: (target, name) => {
        const member: unknown = Reflect.get(target, name, target);
        return typeof member === 'function' ? this.#guardFunction(member, target) : member;
      },
    });
  }

  #guardFunction(member: CallableFunction, target: object) {
    return (...parameters: unknown[]): unknown => {
      if (this.isKilled) return new Promise(() => undefined);
      const result: unknown = Reflect.apply(member, target, parameters);
      return result instanceof Promise ? this.#hold(result) : result;
    };
  }

  /** Settles like `result`, but only while an invocation runs. */
  async #hold<T>(result: Promise<T>): Promise<T> {
    const [settled] = await Promise.allSettled([result]);
    while (this.#state !== 'running') {
      const { promise, resolve } = Promise.withResolvers<void>();
      if (this.#state === 'frozen') this.#thaw.push(resolve);
      await promise;
    }
    if (settled.status === 'rejected') throw settled.reason;
    return settled.value;
  }
}
