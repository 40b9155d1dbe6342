import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { LambentError } from '../shared/core/errors.ts';

/** Folders that a cloud of this very process holds: its own process id tells them from those of a former process. */
const heldHere = new Set<string>();

const holderSchema = v.pipe(v.string(), v.parseJson(), v.object({ pid: v.number(), startedAt: v.string() }));

/**
 * Takes a state folder for this process alone; LevelDB would break under two. What a process that was killed left behind
 * is taken over.
 * @returns gives the folder back
 * @throws LambentError `configuration` when another instance is using it
 */
export async function holdState(stateDir: string): Promise<() => Promise<void>> {
  await mkdir(stateDir, { recursive: true });
  const lock = join(stateDir, 'lock.json');
  const me = JSON.stringify({ pid: process.pid, startedAt: await startOf(process.pid) });
  for (let attempt = 1; ; attempt += 1) {
    try {
      if (heldHere.has(stateDir)) throw inUse(stateDir, process.pid);
      await writeFile(lock, me, { flag: 'wx' });
      break;
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST') || attempt === 3) throw error;
      const pid = await livingHolder(lock);
      if (pid !== undefined) throw inUse(stateDir, pid);
      await rm(lock, { force: true });
    }
  }
  heldHere.add(stateDir);
  return async () => {
    heldHere.delete(stateDir);
    await rm(lock, { force: true });
  };
}

function inUse(stateDir: string, pid: number): LambentError {
  return new LambentError(
    'configuration',
    `${stateDir} is in use by another instance (process ${pid}). Stop that one first.`,
  );
}

/** The process that holds the lock, when it is still the one that took it. */
async function livingHolder(lock: string): Promise<number | undefined> {
  const holder = v.safeParse(holderSchema, await readFile(lock, 'utf8').catch(() => ''));
  if (!holder.success) return undefined;
  const { pid, startedAt } = holder.output;
  try {
    process.kill(pid, 0);
  } catch {
    return undefined;
  }
  return pid !== process.pid && startedAt === (await startOf(pid)) ? pid : undefined;
}

/** When a process started, in the kernel's terms, where it says so: process ids come around again, in containers at once. */
async function startOf(pid: number): Promise<string> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  // The command's name may hold spaces and parentheses; the start time is the 20th field after it.
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
}
