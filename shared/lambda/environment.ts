/**
 * State of this execution environment: whether it has served an invocation, and how long its start took. All pipelines
 * of a process share it, so that each cold start is counted once.
 */

let initMs = 0;
let served = false;

/**
 * Marks the end of the init phase. Pipelines call it when they are created, as the last step of a function's module.
 */
export function markInitEnd(): void {
  initMs = performance.now();
}

export interface InvocationStart {
  /** True for the environment's first invocation. */
  readonly cold: boolean;
  /** Milliseconds from the start of the process until its handler was ready. */
  readonly initMs: number;
}

/** Marks the start of an invocation. Returns whether it is the environment's first; all later ones are warm. */
export function beginInvocation(): InvocationStart {
  const cold = !served;
  served = true;
  return { cold, initMs };
}
