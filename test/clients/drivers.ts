import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as v from 'valibot';
import type { Client } from './clients.ts';
import type { Kind } from './targets.ts';

/** The result of one check of a driver. */
export interface Check {
  readonly check: string;
  /** Why the check failed; absent if it passed. */
  readonly error?: string | undefined;
}

export interface DriverInput {
  readonly kind: Kind;
  readonly url: string;
}

/** Runs a client against the service and returns the results of its checks. */
export type Driver = (input: DriverInput) => Promise<readonly Check[]>;

/** Only a program that hangs may run that long. */
const MAX_SECONDS = 600;

/**
 * Returns the driver of a client.
 * @param python path of the Python that has the packages; used for clients in Python only
 */
export async function createDriver({ runtime, driver }: Client, python: string): Promise<Driver> {
  const file = join(import.meta.dirname, runtime === 'program' ? 'programs' : runtime, driver);
  if (runtime === 'go') {
    const binary = join(import.meta.dirname, 'go/.build/driver');
    await mkdir(join(import.meta.dirname, 'go/.build'), { recursive: true });
    await runOrThrow('go', ['build', '-o', binary, '.'], file);
    return (input) => run(binary, [], input);
  }
  const command = runtime === 'python' ? python : process.execPath;
  return (input) => run(command, [file], input);
}

/** Returns true if clients in Go must run here: Go is installed, or `CI` is set, where nothing may be skipped. */
export async function hasGo(): Promise<boolean> {
  return (
    process.env['CI'] === 'true' ||
    (await runOrThrow('go', ['version']).then(
      () => true,
      () => false,
    ))
  );
}

async function runOrThrow(command: string, args: readonly string[], cwd?: string): Promise<void> {
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'inherit'], ...(cwd && { cwd }) });
  const code = await new Promise((resolve) => child.on('error', resolve).on('exit', resolve));
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} failed: ${code}`);
}

/** Runs a driver's process in a home folder of its own, which is empty, and without a way to other servers. */
async function run(command: string, args: readonly string[], { kind, url }: DriverInput): Promise<readonly Check[]> {
  const home = await mkdtemp(join(tmpdir(), 'lambent-client-'));
  try {
    const work = join(home, 'work');
    await mkdir(work);
    const child = spawn(command, args, {
      cwd: work,
      // In a group of its own, so that it can be ended with all that it has started.
      detached: true,
      env: { ...createEnvironment(home), LAMBENT_URL: url, LAMBENT_KEY: 'sk-local', LAMBENT_KIND: kind },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const stop = (): void => {
      try {
        if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
      } catch {
        // The group has ended.
      }
    };
    const timer = setTimeout(stop, MAX_SECONDS * 1_000);
    const output = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'] as const) {
      child[name].setEncoding('utf8').on('data', (chunk: string) => {
        output[name] += chunk;
      });
    }
    const code = await new Promise((resolve) => child.on('error', resolve).on('exit', resolve));
    clearTimeout(timer);
    stop();
    const checks = output.stdout.split('\n').flatMap(readCheck);
    if (code === 0 && checks.length > 0) return checks;
    return [
      ...checks,
      { check: 'end', error: `ended with ${code}: ${(output.stderr || output.stdout).slice(-2_000)}` },
    ];
  } finally {
    await rm(home, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }
}

/** The address of a proxy that doesn't exist. */
const NOWHERE = 'http://127.0.0.1:9';

function createEnvironment(home: string): Readonly<Record<string, string>> {
  return {
    PATH: process.env['PATH'] ?? '',
    HOME: home,
    TMPDIR: home,
    TERM: 'dumb',
    NO_COLOR: '1',
    CI: 'true',
    PYTHONDONTWRITEBYTECODE: '1',
    HTTP_PROXY: NOWHERE,
    HTTPS_PROXY: NOWHERE,
    http_proxy: NOWHERE,
    https_proxy: NOWHERE,
    NO_PROXY: '127.0.0.1,localhost',
    no_proxy: '127.0.0.1,localhost',
    DO_NOT_TRACK: '1',
    OPENAI_AGENTS_DISABLE_TRACING: '1',
    LANGSMITH_TRACING: 'false',
  };
}

const line = v.object({ check: v.string(), error: v.optional(v.string()) });

/** Reads a line of output with a result, as drivers write it. Other output is ignored. */
export function readCheck(text: string): readonly Check[] {
  try {
    return [v.parse(line, JSON.parse(text))];
  } catch {
    return [];
  }
}
