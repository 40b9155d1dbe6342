import type { LambentError } from '../../../core/errors.ts';
import { omitUndefined } from '../../../core/objects.ts';
import { UpstreamError } from '../../model.ts';
import { cutAnswerError, isConnectionFailure } from '../openai-compatible/errors.ts';

/**
 * When a failure counts against its worker, so that the worker becomes suspect and gets no work until a probe succeeds:
 * - `always`: nothing answers at the worker's address;
 * - `oncePerCall`: the worker is silent for a probe, too, or reports that it is loading or shutting down. The request
 *   may be the cause if several workers do this. So the call's first such failure counts at once, and the others if
 *   another worker then answers;
 * - `ifAnotherAnswers`: the worker failed on a request that another worker then answers;
 * - `ifRepeated`: the caller gave up before the first token and before a probe was answered, for the second time in a
 *   row on this worker;
 * - `never`: the worker is healthy.
 */
export type Blame = 'always' | 'oncePerCall' | 'ifAnotherAnswers' | 'ifRepeated' | 'never';

/** A failed call of one worker. */
export class WorkerFailure extends Error {
  override readonly name = 'WorkerFailure';
  /** The error to report if no other worker answers. */
  readonly error: UpstreamError;
  readonly blame: Blame;
  /** False if every worker would fail the same way. */
  readonly canRetryElsewhere: boolean;

  constructor(error: UpstreamError, blame: Blame, canRetryElsewhere = true) {
    super(error.message, { cause: error });
    this.error = error;
    this.blame = blame;
    this.canRetryElsewhere = canRetryElsewhere;
  }
}

interface Stall {
  /** Milliseconds of silence that were allowed. */
  readonly allowedMs: number;
  /** True if the worker has sent a token before. */
  readonly hasStarted: boolean;
  /** True if the worker has answered a probe meanwhile. */
  readonly isAlive: boolean;
}

/** The failure of a worker that sent nothing for too long. It counts against the worker unless a probe was answered. */
export function stalledFailure({ allowedMs, hasStarted, isAlive }: Stall): WorkerFailure {
  const message = `The worker sent no token for ${allowedMs} ms`;
  const error = hasStarted
    ? cutAnswerError(message)
    : new UpstreamError('upstream_timeout', message, { recovery: 'nextTarget' });
  return new WorkerFailure(error, isAlive ? 'never' : 'oncePerCall');
}

/** True for the reason of an abort by the router's first-token timeout. */
export function isTimeout(reason: unknown): reason is UpstreamError {
  return reason instanceof UpstreamError && reason.code === 'upstream_timeout';
}

/**
 * The failure of a worker that was silent until the router's first-token timeout.
 * @param isAlive true if the worker has answered a probe meanwhile
 */
export function timedOutFailure(reason: UpstreamError, isAlive: boolean): WorkerFailure {
  return new WorkerFailure(reason, isAlive ? 'never' : 'ifRepeated', false);
}

/** The failure of a call whose lease is lost: the worker was restarted or deregistered, or its slot was given away. */
export function lostLeaseFailure(reason: LambentError): WorkerFailure {
  return new WorkerFailure(cutAnswerError(reason.message, reason), 'never');
}

/**
 * Classifies an error of a worker's endpoint. Only the errors of a dead or starting engine count against the worker
 * immediately. The request may be the cause of a 500, and a caller who repeats such a request must not take one worker
 * after another out of service.
 * @throws `thrown` itself if it is not an `UpstreamError`
 */
export function classifyFailure(thrown: unknown): WorkerFailure {
  if (!(thrown instanceof UpstreamError)) throw thrown;
  if (thrown.recovery === 'fail') return new WorkerFailure(thrown, 'never', false);
  if (isConnectionFailure(thrown)) {
    const error = isBrokenConnection(thrown) ? brokenConnectionError(thrown) : thrown;
    return new WorkerFailure(withoutRetry(error), 'always');
  }
  const status = Number.parseInt(thrown.upstream ?? '', 10);
  if (STARTING_OR_DYING.has(status)) return new WorkerFailure(withoutRetry(thrown), 'oncePerCall');
  return new WorkerFailure(withoutRetry(thrown), status >= 500 ? 'ifAnotherAnswers' : 'never');
}

/** llama.cpp and SGLang answer 503 while they load; a proxy in front of a dead engine answers any of the three. */
const STARTING_OR_DYING: ReadonlySet<number> = new Set([502, 503, 504]);

/** True for an established connection that broke; false for a connection that could not be made. */
function isBrokenConnection({ code, upstream }: UpstreamError): boolean {
  return code === 'upstream_unavailable' && (upstream === 'ECONNRESET' || upstream === 'EPIPE');
}

/**
 * The error of a connection that broke before the first token. Its code differs because the request may have killed the
 * worker.
 */
export function brokenConnectionError({ upstream = '', cause }: UpstreamError): UpstreamError {
  const message = 'The worker closed the connection before its first token';
  return new UpstreamError('upstream_cut', message, { recovery: 'retry', upstream, cause });
}

/**
 * Returns the same error with the recovery `nextTarget`: when it is reported, the call has tried the other workers.
 */
function withoutRetry(error: UpstreamError): UpstreamError {
  if (error.recovery === 'nextTarget') return error;
  const { code, message, upstream, retryAfterMs } = error;
  return new UpstreamError(code, message, {
    recovery: 'nextTarget',
    cause: error,
    ...omitUndefined({ upstream, retryAfterMs }),
  });
}
