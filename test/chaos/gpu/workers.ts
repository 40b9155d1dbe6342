import { type ChildProcess, spawn } from 'node:child_process';
import { randomInt, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { EngineServerOptions } from '../../../local/engine/server.ts';
import { WORKER_DEFAULTS } from '../../../local/engine/workers.ts';
import { listen } from '../../../local/listen.ts';
import type { EngineCall } from './engine-call.ts';
import { readJournals } from './journal.ts';

export interface GpuWorkersOptions {
  /** Number of processes that serve. */
  readonly count: number;
  readonly slots: number;
  /** Speed of each relative to its GPU. */
  readonly speed: number;
  /** Folder of their journals. */
  readonly journals: string;
  /** 0 up to 1. */
  readonly random: () => number;
}

/** An address for a worker. There are twice as many as workers, so that a worker can restart at another one. */
export interface Address {
  readonly id: string;
  readonly url: string;
  readonly slots: number;
}

/** A serving process. */
export interface RunningWorker {
  /** Its address id and its number at that address: `gpu-2.3`. */
  readonly start: string;
  readonly pid: number;
  readonly isStopped: boolean;
}

/** Engine processes that die, return and hang on command. */
export interface GpuWorkers {
  readonly addresses: readonly Address[];
  /** The key that all workers require. Another run has another key, so workers refuse its requests. */
  readonly apiKey: string;
  running(): RunningWorker[];
  /** Kills a process. Another one starts `awayMs` later, at the same address or at a free one. */
  kill(start: string, awayMs: number, elsewhere: boolean): void;
  /** Stops a process and resumes it `ms` later. */
  hang(start: string, ms: number): void;
  /** Waits until all processes serve again. */
  waitUntilAllServe(): Promise<void>;
  /** Reads all calls until now. */
  calls(): Promise<EngineCall[]>;
  close(): Promise<void>;
}

/** Below the ephemeral ports: an address has to stay free while no worker serves there. */
const PORTS = { first: 20_000, count: 10_000 };
const RETRY_MS = 250;
const SETTLED_EVERY_MS = 50;

/**
 * Starts workers.
 * @throws Error if there are too few free ports
 */
export async function startGpuWorkers({
  count,
  slots,
  speed,
  journals,
  random,
}: GpuWorkersOptions): Promise<GpuWorkers> {
  const apiKey = randomUUID();
  const shared = { slots, speed, journals, apiKey };
  const ports = await findFreePorts(2 * count);
  const workerAddresses = ports.map((port, index) => new WorkerAddress(`gpu-${index + 1}`, port, shared));
  const timers = new Set<NodeJS.Timeout>();
  let closed = false;

  function schedule(ms: number, act: () => void | Promise<void>): void {
    const timer = setTimeout(() => {
      timers.delete(timer);
      void act();
    }, ms);
    timers.add(timer);
  }

  function pickFreeAddress(but?: WorkerAddress): WorkerAddress | undefined {
    const free = workerAddresses.filter((address) => address !== but && !address.isTaken);
    return free[Math.floor(random() * free.length)];
  }

  /** Starts a worker at an address, or at another one if it is taken. */
  async function serve(wanted: WorkerAddress | undefined): Promise<void> {
    for (let address = wanted; !closed; address = pickFreeAddress()) {
      if (address !== undefined && !address.isTaken && (await address.start())) return;
      await sleep(RETRY_MS);
    }
  }

  // A process that is stopped when this one exits would stay stopped.
  const endAll = (): void => {
    for (const address of workerAddresses) address.kill();
  };
  process.once('exit', endAll);
  const findAddress = (start: string): WorkerAddress | undefined =>
    workerAddresses.find((address) => address.name === start);
  const workers: GpuWorkers = {
    addresses: workerAddresses.map(({ id, url }) => ({ id, url, slots })),
    apiKey,
    running: () => workerAddresses.flatMap((address) => address.running ?? []),
    kill(start, awayMs, elsewhere) {
      const address = findAddress(start);
      const exited = address?.kill();
      if (address === undefined || exited === undefined) return;
      schedule(awayMs, async () => {
        await exited;
        await serve(elsewhere ? pickFreeAddress(address) : address);
      });
    },
    hang(start, ms) {
      const address = findAddress(start);
      if (address?.stop() === true) schedule(ms, () => address.resume(start));
    },
    async waitUntilAllServe() {
      while (timers.size > 0 || workers.running().length < count) await sleep(SETTLED_EVERY_MS);
    },
    calls: () => readJournals(journals),
    async close() {
      closed = true;
      process.off('exit', endAll);
      for (const timer of timers) clearTimeout(timer);
      await Promise.all(workerAddresses.map((address) => address.close()));
    },
  };
  await Promise.all(workerAddresses.slice(0, count).map((address) => serve(address)));
  return workers;
}

type Shared = Required<Pick<EngineServerOptions, 'slots' | 'speed' | 'apiKey'>> & { readonly journals: string };

/** An address and the process that serves there. */
class WorkerAddress {
  readonly id: string;
  readonly #port: number;
  readonly #shared: Shared;
  #child: ChildProcess | undefined;
  #serves = false;
  #starts = 0;
  #stopped = false;

  constructor(id: string, port: number, shared: Shared) {
    this.id = id;
    this.#port = port;
    this.#shared = shared;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}/v1`;
  }

  /** Name of the current or last process here. */
  get name(): string {
    return `${this.id}.${this.#starts}`;
  }

  get isTaken(): boolean {
    return this.#child !== undefined;
  }

  get running(): RunningWorker | undefined {
    const pid = this.#child?.pid;
    return pid === undefined || !this.#serves ? undefined : { start: this.name, pid, isStopped: this.#stopped };
  }

  /** Starts a process. Returns false if it exited before it served. */
  async start(): Promise<boolean> {
    this.#starts += 1;
    const { model, gpu, contextTokens } = WORKER_DEFAULTS;
    const settings = { model, gpu, contextTokens, port: this.#port, start: this.name, ...this.#shared };
    const child = spawn(process.execPath, [join(import.meta.dirname, 'worker-process.ts')], {
      argv0: `gpu-worker:${this.name}`,
      env: { PATH: process.env['PATH'] ?? '', WORKER_SETTINGS: JSON.stringify(settings) },
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    this.#child = child;
    child.once('exit', () => this.#clear());
    const ready = once(child, 'message').then(() => true);
    const ended = once(child, 'exit').then(() => false);
    this.#serves = await Promise.race([ready, ended]).catch(() => false);
    if (!this.#serves) this.#clear();
    return this.#serves;
  }

  #clear(): void {
    this.#child = undefined;
    this.#serves = false;
    this.#stopped = false;
  }

  /** Kills the process. The result resolves when it is gone, and is undefined if none serves here. */
  kill(): Promise<unknown> | undefined {
    const child = this.#child;
    if (child === undefined || !this.#serves) return undefined;
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    this.#serves = false;
    return exited;
  }

  stop(): boolean {
    if (this.running === undefined || this.#stopped) return false;
    this.#stopped = true;
    this.#child?.kill('SIGSTOP');
    return true;
  }

  /** @param start name of the stopped process: another may serve here by now */
  resume(start: string): void {
    if (this.name !== start || !this.#stopped) return;
    this.#stopped = false;
    this.#child?.kill('SIGCONT');
  }

  async close(): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  }
}

/** Finds random free ports. They do not depend on the seed, because two runs may share a machine. */
async function findFreePorts(count: number): Promise<number[]> {
  const found: number[] = [];
  for (let tries = 0; found.length < count && tries < 100 * count; tries += 1) {
    const port = PORTS.first + randomInt(PORTS.count);
    if (!found.includes(port) && (await isFree(port))) found.push(port);
  }
  if (found.length < count) throw new Error(`Fewer than ${count} free ports were found from ${PORTS.first} on`);
  return found;
}

async function isFree(port: number): Promise<boolean> {
  try {
    await (await listen(createServer(), { port })).close();
    return true;
  } catch {
    return false;
  }
}
