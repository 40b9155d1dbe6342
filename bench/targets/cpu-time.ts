import { readFileSync } from 'node:fs';

/** Milliseconds of a tick of the kernel's process accounting, the same on all Linux machines of today. */
const TICK_MS = 10;

/**
 * Returns the processor time that a process has used, in milliseconds. NaN if the process doesn't exist or the system has
 * no `/proc`.
 */
export function readCpuMs(pid: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name, in parentheses, may contain spaces. After it, the state is field 3, and the times are fields 14 and 15.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
  } catch {
    return Number.NaN;
  }
}
