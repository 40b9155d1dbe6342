/**
 * What is known about this execution environment: whether it has served yet, and how long it took to start. Every
 * pipeline asks it, so that a cold start is counted once, whoever came first.
 */

/** Milliseconds from the start of the process to the end of loading this module, the last thing before the first call. */
const initMs = performance.now();
let served = false;

export interface Start {
  /** Whether this is the environment's first invocation. */
  readonly cold: boolean;
  readonly initMs: number;
}

/** Tells whether this invocation is the first, and makes every later one warm. */
export function beginInvocation(): Start {
  const cold = !served;
  served = true;
  return { cold, initMs };
}
