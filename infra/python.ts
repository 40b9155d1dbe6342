import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rename, rm } from 'node:fs/promises';
import { join, relative } from 'node:path';

const ROOT = join(import.meta.dirname, '..');

/** Fails if Python is older than the requirements files are made for, or can't make virtual environments. */
const PROBE = 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))';

/**
 * Returns true if tools in Python must run here: `python3` is 3.11 or newer and can make virtual environments, or `CI`
 * is set. CI may skip nothing, so there the installation fails if Python is missing.
 */
export async function mustRunPython(env: NodeJS.ProcessEnv = process.env): Promise<boolean> {
  return env['CI'] === 'true' || (await run('python3', ['-c', PROBE], env));
}

/**
 * Installs what a folder's `requirements.txt` pins into a virtual environment in its `.build`, unless it is there
 * already. Each version of the file has an environment of its own. Safe to call from several processes at once.
 * @param folder absolute path
 * @returns path of the environment's Python
 * @throws Error if Python is missing or pip fails, for example without a network or because a hash differs
 */
export async function installRequirements(folder: string): Promise<string> {
  const requirements = join(folder, 'requirements.txt');
  const digest = createHash('sha256')
    .update(await readFile(requirements))
    .digest('hex');
  const build = join(folder, '.build');
  const installed = join(build, `python-${digest.slice(0, 12)}`);
  const python = join(installed, 'bin/python');
  if (existsSync(python)) return python;
  const name = relative(ROOT, folder);
  console.error(`Installing the Python packages of ${name}`);
  await mkdir(build, { recursive: true });
  const staging = await mkdtemp(join(build, 'install-'));
  try {
    if (!(await run('python3', ['-m', 'venv', staging])))
      throw new Error(`The Python packages of ${name} need python3, 3.11 or newer, with its module venv`);
    // As a module: the scripts of a virtual environment contain the path at which it was made.
    const pip = ['-m', 'pip', '--disable-pip-version-check', 'install', '--quiet', '--require-hashes'];
    if (!(await run(join(staging, 'bin/python'), [...pip, '--requirement', requirements])))
      throw new Error(`pip install failed for the Python packages of ${name}`);
    // Another process may have been faster. Its environment is as good.
    await rename(staging, installed).catch((error: unknown) => {
      if (!existsSync(python)) throw error;
    });
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
  return python;
}

/** Runs a command with its output on stderr. Returns true if it exists and succeeds. */
async function run(command: string, args: readonly string[], env: NodeJS.ProcessEnv = process.env): Promise<boolean> {
  const child = spawn(command, args, { env, stdio: ['ignore', 2, 2] });
  const code = await new Promise((resolve) => child.on('error', () => resolve(undefined)).on('exit', resolve));
  return code === 0;
}
