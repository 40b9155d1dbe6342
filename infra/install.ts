import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdir, mkdtemp, readFile, rename, rm } from 'node:fs/promises';
import { join, relative } from 'node:path';

const ROOT = join(import.meta.dirname, '..');

/** The part of a lockfile that is compared with `node_modules/.package-lock.json`, which has the same format. */
interface Lockfile {
  readonly packages: Readonly<Record<string, LockedPackage>>;
}

interface LockedPackage {
  readonly version?: string;
  readonly integrity?: string;
  /** True if npm leaves the package out where the operating system or processor doesn't match. */
  readonly optional?: boolean;
}

/**
 * Installs the dependencies of a folder that has a `package.json` and a lockfile apart from the repository's, unless
 * `node_modules` there already matches the lockfile. Install scripts don't run. Safe to call from several processes at
 * once: each installs into a temporary folder and moves the finished tree into place.
 * @param folder absolute path
 * @param command `install` if the lockfile may lack optional packages, of other systems than the one where it was made
 * @throws Error if npm fails, for example without a network
 */
export async function installDependencies(folder: string, command: 'ci' | 'install' = 'ci'): Promise<void> {
  if (await isInstalled(folder)) return;
  console.error(`Installing the dependencies of ${relative(ROOT, folder)}`);
  await mkdir(join(folder, '.build'), { recursive: true });
  const staging = await mkdtemp(join(folder, '.build/install-'));
  try {
    for (const file of ['package.json', 'package-lock.json', '.npmrc'])
      await cp(join(folder, file), join(staging, file));
    const install = spawn('npm', [command, '--ignore-scripts'], { cwd: staging, stdio: ['ignore', 2, 2] });
    const [code] = await once(install, 'exit');
    if (code !== 0) throw new Error(`npm ${command} failed for the dependencies of ${relative(ROOT, folder)}`);
    await moveIntoPlace(staging, folder);
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
}

async function moveIntoPlace(staging: string, folder: string): Promise<void> {
  const installed = join(folder, 'node_modules');
  // Another process may have been faster. Its tree is as good, and may already be in use.
  if (await isInstalled(folder)) return;
  await rename(installed, join(staging, 'replaced')).catch(ignoreMissing);
  await rename(join(staging, 'node_modules'), installed);
}

/**
 * Returns true if `node_modules` holds the packages and versions that the lockfile names, and besides them only optional
 * ones, which a lockfile lacks if the registry didn't have them where it was made.
 */
async function isInstalled(folder: string): Promise<boolean> {
  const [locked, installed] = await Promise.all([
    readLockfile(join(folder, 'package-lock.json')),
    readLockfile(join(folder, 'node_modules/.package-lock.json')).catch(ignoreMissing),
  ]);
  if (installed === undefined) return false;
  const missing = Object.entries(locked.packages).some(
    ([path, entry]) => path !== '' && !isSame(entry, installed.packages[path]),
  );
  const isExtra = ([path, { optional }]: [string, LockedPackage]): boolean =>
    !(path in locked.packages) && optional !== true;
  return !missing && !Object.entries(installed.packages).some(isExtra);
}

function isSame(locked: LockedPackage, installed: LockedPackage | undefined): boolean {
  if (installed === undefined) return locked.optional === true;
  return locked.version === installed.version && locked.integrity === installed.integrity;
}

async function readLockfile(file: string): Promise<Lockfile> {
  return JSON.parse(await readFile(file, 'utf8'));
}

function ignoreMissing(error: unknown): undefined {
  if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
  throw error;
}

if (import.meta.main) {
  for (const folder of process.argv.slice(2)) await installDependencies(join(process.cwd(), folder));
}
