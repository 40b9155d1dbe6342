import { chmod, lstat, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { LambentError } from '../shared/core/errors.ts';

/** Folders that this process has locked. A lock file with this process's id may be that of an earlier process. */
const lockedHere = new Set<string>();

const lockSchema = v.pipe(v.string(), v.parseJson(), v.object({ pid: v.number(), startedAt: v.string() }));

/**
 * Locks a state folder for this process, because LevelDB breaks if two processes use it. The lock of a process that was
 * killed is replaced.
 * @returns a function that releases the lock
 * @throws LambentError `configuration` if another instance is using the folder
 */
export async function lockState(stateDir: string): Promise<() => Promise<void>> {
  await mkdir(stateDir, { recursive: true, mode: FOLDER_MODE });
  const lock = join(stateDir, 'lock.json');
  const contents = JSON.stringify({ pid: process.pid, startedAt: await readStartTime(process.pid) });
  for (let attempt = 1; ; attempt += 1) {
    try {
      if (lockedHere.has(stateDir)) throw inUseError(stateDir, process.pid);
      await writeFile(lock, contents, { flag: 'wx' });
      break;
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST') || attempt === 3) throw error;
      const pid = await findHolder(lock);
      if (pid !== undefined) throw inUseError(stateDir, pid);
      await rm(lock, { force: true });
    }
  }
  lockedHere.add(stateDir);
  return async () => {
    lockedHere.delete(stateDir);
    await rm(lock, { force: true });
  };
}

function inUseError(stateDir: string, pid: number): LambentError {
  return new LambentError(
    'configuration',
    `${stateDir} is in use by another instance (process ${pid}). Stop that instance first.`,
  );
}

/** Returns the id of the process that holds a lock; undefined if that process has ended. */
async function findHolder(lock: string): Promise<number | undefined> {
  const holder = v.safeParse(lockSchema, await readFile(lock, 'utf8').catch(() => ''));
  if (!holder.success) return undefined;
  const { pid, startedAt } = holder.output;
  try {
    process.kill(pid, 0);
  } catch {
    return undefined;
  }
  return pid !== process.pid && startedAt === (await readStartTime(pid)) ? pid : undefined;
}

/**
 * Returns the start time of a process, in clock ticks since boot; empty on systems without `/proc`. The id alone
 * doesn't identify a process, because ids are reused, in containers immediately.
 */
async function readStartTime(pid: number): Promise<string> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  // The command's name can contain spaces and parentheses. The start time is the 20th field after it.
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
}

const FOLDER_MODE = 0o700;
const FILE_MODE = 0o600;

/** The files and folders that the local cloud makes in a state folder. */
const OWN_ENTRIES: ReadonlySet<string> = new Set(
  'tables queues objects logs kms.json credentials.json models.json env lock.json'.split(' '),
);

/**
 * Lets only the owner read a state folder: keys, content and logs are in it, some of it not encrypted. It changes what
 * an earlier start made with wider modes. Files of others in the folder keep their modes, and then so does the folder
 * itself, which may be `/tmp`.
 */
export async function narrowModes(stateDir: string): Promise<void> {
  const entries = await readdir(stateDir);
  await Promise.all(entries.filter((name) => OWN_ENTRIES.has(name)).map((name) => narrow(join(stateDir, name))));
  if (entries.every((name) => OWN_ENTRIES.has(name))) await chmod(stateDir, FOLDER_MODE);
}

async function narrow(path: string): Promise<void> {
  const stats = await lstat(path);
  // A link may lead out of the folder.
  if (stats.isSymbolicLink()) return;
  const mode = stats.isDirectory() ? FOLDER_MODE : FILE_MODE;
  if ((stats.mode & 0o777) !== mode) await chmod(path, mode);
  if (stats.isDirectory()) await Promise.all((await readdir(path)).map((name) => narrow(join(path, name))));
}
