import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rename, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';

const REQUIREMENTS = join(import.meta.dirname, 'requirements.txt');
const BUILD = join(import.meta.dirname, '.build');
/** The longest that moto may take to start on a busy machine. */
const START_MS = 120_000;

export interface Moto {
  /** The endpoint of all AWS services, such as `http://127.0.0.1:40123`. */
  readonly url: string;
  stop(): Promise<void>;
}

/** True if Python can run moto here. Where it can't, `.ci/run` must fail, so it counts as true there. */
export const HAS_PYTHON = process.env['CI'] === 'true' || (await isRecentPython());

async function isRecentPython(): Promise<boolean> {
  const check = spawn('python3', ['-c', 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))']);
  const code = await new Promise((resolve) => check.on('error', () => resolve(undefined)).on('exit', resolve));
  if (code !== 0) console.warn('Skipped: the tests with moto need Python 3.11 or newer with venv, as python3.');
  return code === 0;
}

/**
 * Starts moto, a stand-in for AWS, with empty state on a free port. Installs it first if needed (about two minutes).
 * Every request with any credentials is accepted, as account 123456789012.
 * @throws Error if moto can't be installed or doesn't start
 */
export async function startMoto(): Promise<Moto> {
  const python = await installMoto();
  const port = await findFreePort();
  const url = `http://127.0.0.1:${port}`;
  const server = spawn(python, ['-m', 'moto.server', '-H', '127.0.0.1', '-p', String(port)], {
    // moto's Lambda service would run functions in Docker; none is invoked through it.
    env: { ...process.env, MOTO_DOCKER_LAMBDA_IMAGE: 'none' },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let log = '';
  server.stderr.setEncoding('utf8').on('data', (text: string) => {
    log = (log + text).slice(-4_000);
  });
  try {
    await waitForAnswer(url, server);
  } catch (error) {
    server.kill();
    throw new Error(`moto did not start.\n${log}`, { cause: error });
  }
  return {
    url,
    stop: async () => {
      if (server.exitCode !== null || server.signalCode !== null) return;
      server.kill();
      await once(server, 'exit');
    },
  };
}

/**
 * Installs moto and its dependencies, exactly as `requirements.txt` pins them, into a virtual environment of their own.
 * Safe to call from several processes at once.
 * @returns the path of its Python
 * @throws Error if Python or the network is missing
 */
export async function installMoto(): Promise<string> {
  const digest = createHash('sha256')
    .update(await readFile(REQUIREMENTS))
    .digest('hex');
  const installed = join(BUILD, `moto-${digest.slice(0, 12)}`);
  const python = join(installed, 'bin/python');
  if (existsSync(python)) return python;
  console.error('Installing moto for the tests against a stand-in for AWS');
  await mkdir(BUILD, { recursive: true });
  const staging = await mkdtemp(join(BUILD, 'install-'));
  try {
    await run('python3', '-m', 'venv', staging);
    // Run as a module: the scripts of a virtual environment name the folder in which it was made.
    const pip = [join(staging, 'bin/python'), '-m', 'pip', '--disable-pip-version-check'] as const;
    await run(...pip, 'install', '--quiet', '--require-hashes', '--requirement', REQUIREMENTS);
    // Another process may have been faster. Its environment is as good.
    await rename(staging, installed).catch((error) => {
      if (!existsSync(python)) throw error;
    });
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
  return python;
}

async function run(command: string, ...args: readonly string[]): Promise<void> {
  const child = spawn(command, args, { stdio: ['ignore', 2, 2] });
  const code = await new Promise((resolve, reject) => child.on('error', reject).on('exit', resolve));
  if (code !== 0) throw new Error(`moto could not be installed: ${command} ${args.slice(0, 3).join(' ')} failed`);
}

async function findFreePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (typeof address !== 'object' || address === null) throw new Error('The system gave no port');
  return address.port;
}

/** Waits for the first HTTP response. Throws if the server ends before, or doesn't answer in time. */
async function waitForAnswer(url: string, server: ChildProcess): Promise<void> {
  const until = performance.now() + START_MS;
  for (;;) {
    if (server.exitCode !== null) throw new Error(`moto ended with code ${server.exitCode}`);
    if (performance.now() > until) throw new Error(`moto gave no answer within ${START_MS / 1000} s`);
    const answer = await fetch(`${url}/moto-api/`).catch(() => undefined);
    if (answer?.ok) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
