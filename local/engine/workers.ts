import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import * as v from 'valibot';
import type { EngineServerOptions } from './server.ts';
import { workerReadySchema } from './worker-settings.ts';

export interface WorkersOptions extends Partial<Omit<EngineServerOptions, 'port'>> {
  /** How many to start. */
  readonly count: number;
}

/** A worker, whatever process serves it at the moment. */
export interface LocalWorker {
  /** `gpu-1`… */
  readonly id: string;
  /** The API's base. It stays the same over restarts. */
  readonly url: string;
  readonly slots: number;
}

export interface Workers {
  readonly workers: readonly LocalWorker[];
  /** Process id of a worker; undefined while it has none. */
  getPid(id: string): number | undefined;
  /** Has a listener hear each time that a worker which had ended serves again. */
  onRestart(listener: () => void): void;
  /** Ends them for good. */
  close(): Promise<void>;
}

/** A small worker at the pace of a large GPU, so that a first token comes in some ten milliseconds. */
export const WORKER_DEFAULTS = { model: 'stand-in', gpu: 'h100', speed: 1, slots: 8, contextTokens: 32_768 } as const;

/** Until a worker is started again: at first, and at most when it keeps ending. */
const RESTART_MS = 250;
const MAX_RESTART_MS = 5_000;

/**
 * Starts workers as processes of their own, titled `gpu-worker:<id>`, and starts each again, at the same address, when it
 * ends: as ECS does with a task.
 * @throws Error when one does not start
 */
export async function startWorkers({ count, ...options }: WorkersOptions): Promise<Workers> {
  const ids = Array.from({ length: count }, (_, index) => `gpu-${index + 1}`);
  const settings = { ...WORKER_DEFAULTS, ...options };
  const listeners: (() => void)[] = [];
  const restarted = () => listeners.forEach((listener) => void listener());
  const started = await Promise.allSettled(ids.map((id) => SupervisedWorker.start(id, settings, restarted)));
  const supervised = started.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  const close = async () => void (await Promise.all(supervised.map((worker) => worker.close())));
  const failed = started.find((result) => result.status === 'rejected');
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

/** One worker and whoever serves it. */
class SupervisedWorker {
  readonly id: string;
  readonly #settings: Settings;
  readonly #restarted: () => void;
  #port = 0;
  #child: ChildProcess | undefined;
  #restart: NodeJS.Timeout | undefined;
  #restartMs = RESTART_MS;
  #closed = false;

  static async start(id: string, settings: Settings, restarted: () => void): Promise<SupervisedWorker> {
    const worker = new SupervisedWorker(id, settings, restarted);
    await worker.#run();
    return worker;
  }

  private constructor(id: string, settings: Settings, restarted: () => void) {
    this.id = id;
    this.#settings = settings;
    this.#restarted = restarted;
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

  /** Starts a process, and resolves when it serves. */
  async #run(): Promise<void> {
    const settings = JSON.stringify({ ...this.#settings, port: this.#port });
    const child = spawn(process.execPath, [join(import.meta.dirname, 'worker.ts')], {
      argv0: `gpu-worker:${this.id}`,
      // It has no use for the user's own environment, and its key is for nobody's list of processes.
      env: { PATH: process.env['PATH'] ?? '', WORKER_SETTINGS: settings },
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    this.#child = child;
    const ended = new Promise<never>((_, reject) => {
      child.once('error', reject);
      child.once('exit', (code, signal) => reject(new Error(`The GPU worker ${this.id} ended: ${signal ?? code}`)));
    });
    const ready = once(child, 'message').then(([message]) => v.parse(workerReadySchema, message));
    const { port } = await Promise.race([ready, ended]);
    this.#port = port;
    const servedSince = performance.now();
    child.once('exit', () => {
      // One that served for a while did not end of something that will end the next one too.
      if (performance.now() - servedSince > MAX_RESTART_MS) this.#restartMs = RESTART_MS;
      this.#runAgain();
    });
    ended.catch(() => undefined);
  }

  #runAgain(): void {
    this.#child = undefined;
    if (this.#closed) return;
    const restart = () => this.#run().then(this.#restarted, () => this.#runAgain());
    this.#restart = setTimeout(() => void restart(), this.#restartMs);
    this.#restartMs = Math.min(2 * this.#restartMs, MAX_RESTART_MS);
  }
}
