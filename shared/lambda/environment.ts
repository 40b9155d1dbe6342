/**
 * What is known about this execution environment: whether it has served yet, and how long it took to start. Every
 * pipeline asks it, so that a cold start is counted once, whoever came first.
 */

let initMs = 0;
let served = false;

/** Called by a pipeline as it is built, the last thing that a function's module does: what went before is its init. */
export function markInitEnd(): void {
  initMs = performance.now();
}

export interface InvocationStart {
  /** Whether this is the environment's first invocation. */
  readonly cold: boolean;
  /** Milliseconds from the start of the process until its handler was ready. */
  readonly initMs: number;
}

/** Tells whether this invocation is the first, and makes every later one warm. */
export function beginInvocation(): InvocationStart {
  const cold = !served;
  served = true;
  return { cold, initMs };
}
