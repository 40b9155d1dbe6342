import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { getCompileCacheDir } from 'node:module';
import { join } from 'node:path';
import * as v from 'valibot';
import type { EngineServerOptions } from './server.ts';
import { workerReadySchema } from './worker-settings.ts';

export interface WorkersOptions extends Partial<Omit<EngineServerOptions, 'port'>> {
  /** Number of workers to start. */
  readonly count: number;
}

/** A local worker. It keeps its id and address when its process is restarted. */
export interface LocalWorker {
  /** `gpu-1`, `gpu-2`… */
  readonly id: string;
  /** The API's base. */
  readonly url: string;
  readonly slots: number;
}

export interface Workers {
  readonly workers: readonly LocalWorker[];
  /** Returns the process id of a worker; undefined while it has no process. */
  getPid(id: string): number | undefined;
  /** Adds a listener that is called each time a restarted worker serves requests again. */
  onRestart(listener: () => void): void;
  /** Stops all workers for good. */
  close(): Promise<void>;
}

/** A small worker with the speed of a large GPU: a first token takes tens of milliseconds. */
export const WORKER_DEFAULTS = { model: 'stand-in', gpu: 'h100', speed: 1, slots: 8, contextTokens: 32_768 } as const;

/** Delay before a worker is restarted. It doubles up to the maximum while the worker keeps exiting. */
const RESTART_MS = 250;
const MAX_RESTART_MS = 5_000;

/**
 * Starts workers as processes titled `gpu-worker:<id>`. Restarts each one at the same address when it exits, as ECS
 * does with a task.
 * @throws Error if one of them does not start
 */
export async function startWorkers({ count, ...options }: WorkersOptions): Promise<Workers> {
  const ids = Array.from({ length: count }, (_, index) => `gpu-${index + 1}`);
  const settings = { ...WORKER_DEFAULTS, ...options };
  const listeners: (() => void)[] = [];
  const notifyRestart = () => listeners.forEach((listener) => void listener());
  const results = await Promise.allSettled(ids.map((id) => SupervisedWorker.start(id, settings, notifyRestart)));
  const supervised = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  const close = async () => void (await Promise.all(supervised.map((worker) => worker.close())));
  const failed = results.find((result) => result.status === 'rejected');
  if (failed !== undefined) {
    await close();
    throw failed.reason;
  }
  return {
    workers: supervised.map(({ id, url }) => ({ id, url, slots: settings.slots })),
    getPid: (id) => supervised.find((worker) => worker.id === id)?.pid,
    onRestart: (listener) => void listeners.push(listener),
    close,
  };
}

type Settings = Omit<EngineServerOptions, 'port'>;

/** A worker and the process that serves it at the moment. */
class SupervisedWorker {
  readonly id: string;
  readonly #settings: Settings;
  readonly #onRestart: () => void;
  #port = 0;
  #child: ChildProcess | undefined;
  #restart: NodeJS.Timeout | undefined;
  #restartMs = RESTART_MS;
  #closed = false;

  static async start(id: string, settings: Settings, onRestart: () => void): Promise<SupervisedWorker> {
    const worker = new SupervisedWorker(id, settings, onRestart);
    await worker.#startProcess();
    return worker;
  }

  private constructor(id: string, settings: Settings, onRestart: () => void) {
    this.id = id;
    this.#settings = settings;
    this.#onRestart = onRestart;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}/v1`;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#restart);
    const child = this.#child;
    if (child === undefined) return;
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  }

  /** Starts a process. Resolves when it serves requests. */
  async #startProcess(): Promise<void> {
    const settings = JSON.stringify({ ...this.#settings, port: this.#port });
    const child = spawn(process.execPath, [join(import.meta.dirname, 'worker.ts')], {
      argv0: `gpu-worker:${this.id}`,
      // A worker needs no other variable of the user. The settings contain the API key, which process lists would show
      // if it were an argument.
      env: {
        PATH: process.env['PATH'] ?? '',
        WORKER_SETTINGS: settings,
        // The parent's compile cache, if there is one, makes the start faster.
        NODE_COMPILE_CACHE: getCompileCacheDir() ?? '',
      },
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    this.#child = child;
    const exited = new Promise<never>((_, reject) => {
      child.once('error', reject);
      child.once('exit', (code, signal) => reject(new Error(`The GPU worker ${this.id} exited: ${signal ?? code}`)));
    });
    const ready = once(child, 'message').then(([message]) => v.parse(workerReadySchema, message));
    const { port } = await Promise.race([ready, exited]);
    this.#port = port;
    const readyAt = performance.now();
    child.once('exit', () => {
      // A process that served for a while did not exit because of its settings, so the next one starts soon.
      if (performance.now() - readyAt > MAX_RESTART_MS) this.#restartMs = RESTART_MS;
      this.#scheduleRestart();
    });
    exited.catch(() => undefined);
  }

  #scheduleRestart(): void {
    this.#child = undefined;
    if (this.#closed) return;
    const restart = () => this.#startProcess().then(this.#onRestart, () => this.#scheduleRestart());
    this.#restart = setTimeout(() => void restart(), this.#restartMs);
    this.#restartMs = Math.min(2 * this.#restartMs, MAX_RESTART_MS);
  }
}
