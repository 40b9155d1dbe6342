const PREFIX = 'lambent start: ';

/** A phase of the start. Times are in milliseconds since the process began. Phases can overlap. */
export interface Phase {
  readonly name: string;
  readonly startMs: number;
  readonly endMs: number;
}

/** Runs a phase of the start and records its times. Records nothing if the phase fails. */
export async function runPhase<T>(name: string, work: () => T | Promise<T>): Promise<T> {
  const startMs = performance.now();
  const result = await work();
  recordPhase(name, startMs);
  return result;
}

/** Records a phase that ends now in Node's performance timeline. */
export function recordPhase(name: string, startMs: number): void {
  performance.measure(PREFIX + name, { start: startMs, end: performance.now() });
}

/** Lists the recorded phases in the order in which they began. */
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
