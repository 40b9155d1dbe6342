const PREFIX = 'lambent start: ';

/** A part of a start, in milliseconds since the process began. Phases can overlap. */
export interface Phase {
  readonly name: string;
  readonly startMs: number;
  readonly endMs: number;
}

/** Runs a part of the start, and records it. */
export async function runPhase<T>(name: string, work: () => T | Promise<T>): Promise<T> {
  const startMs = performance.now();
  const result = await work();
  recordPhase(name, startMs);
  return result;
}

/** Records a part of the start that ends now, in Node's performance timeline. */
export function recordPhase(name: string, startMs: number): void {
  performance.measure(PREFIX + name, { start: startMs, end: performance.now() });
}

/** Lists the phases of this process's start, in the order in which they began. */
export function listPhases(): Phase[] {
  return performance
    .getEntriesByType('measure')
    .filter(({ name }) => name.startsWith(PREFIX))
    .map(({ name, startTime, duration }) => ({
      name: name.slice(PREFIX.length),
      startMs: startTime,
      endMs: startTime + duration,
    }))
    .sort((a, b) => a.startMs - b.startMs);
}
