import type { LambentError } from '../../../core/errors.ts';
import { UpstreamError } from '../../model.ts';
import { cut, isConnectionFailure } from '../openai-compatible/errors.ts';

/**
 * How sure a failure makes that its worker is ill: `surely` (nobody answers at its address), `perhaps` (it is silent, or says
 * so itself: that may as well be the request's doing), `alone` (if another worker answers what it has tripped over), `repeated` (if
 * it comes to nothing twice in a row), or not at all.
 */
export type Illness = 'surely' | 'perhaps' | 'alone' | 'repeated' | 'no';

/** What a call of one worker failed of. */
export class WorkerFailure extends Error {
  override readonly name = 'WorkerFailure';
  /** What the caller hears if no other worker does better. */
  readonly error: UpstreamError;
  readonly ill: Illness;
  /** Whether another worker may do better. */
  readonly elsewhere: boolean;

  constructor(error: UpstreamError, ill: Illness, elsewhere = true) {
    super(error.message, { cause: error });
    this.error = error;
    this.ill = ill;
    this.elsewhere = elsewhere;
  }
}

/** The worker said nothing for as long as one may: milliseconds. */
export function silence(allowedMs: number, begun: boolean): WorkerFailure {
  const message = `The worker sent no token for ${allowedMs} ms`;
  const error = begun ? cut(message) : new UpstreamError('upstream_timeout', message, { recovery: 'nextTarget' });
  return new WorkerFailure(error, 'perhaps');
}

/**
 * What the caller gave up on before the first token: the same error, and a doubt about the worker if it was silent for as long
 * as one may be that has nothing to compute before, and the reason was just that.
 */
export function givenUp(reason: unknown, silentMs: number, stallMs: number): unknown {
  const isSilence = reason instanceof UpstreamError && reason.code === 'upstream_timeout';
  return isSilence && silentMs >= stallMs ? new WorkerFailure(reason, 'repeated', false) : reason;
}

/** The lease is lost: the worker has started anew or was deregistered, or another has the slot by now. */
export function lostLease(reason: LambentError): WorkerFailure {
  return new WorkerFailure(cut(reason.message, reason), 'no');
}

/**
 * Judges what a worker's endpoint failed of. Only what a dead or a starting engine does makes it suspect by itself: an engine
 * answers 500 to a request that it trips over too, and no caller is to take out a fleet, a worker with each call.
 * @throws what is no upstream's failure
 */
export function failureOf(thrown: unknown): WorkerFailure {
  if (!(thrown instanceof UpstreamError)) throw thrown;
  if (thrown.recovery === 'fail') return new WorkerFailure(thrown, 'no', false);
  if (isConnectionFailure(thrown))
    return new WorkerFailure(settled(hasBroken(thrown) ? brokenOff(thrown) : thrown), 'surely');
  const status = Number.parseInt(thrown.upstream ?? '', 10);
  return new WorkerFailure(settled(thrown), STARTING_OR_DYING.has(status) ? 'perhaps' : status >= 500 ? 'alone' : 'no');
}

/** Whether a connection broke that had been made for the request. */
function hasBroken({ code, upstream }: UpstreamError): boolean {
  return code === 'upstream_unavailable' && (upstream === 'ECONNRESET' || upstream === 'EPIPE');
}

/** Told apart from an address where nobody was: it may be the request that kills whoever takes it. */
export function brokenOff({ upstream = '', cause }: UpstreamError): UpstreamError {
  const message = 'The worker broke off before its first token';
  return new UpstreamError('upstream_cut', message, { recovery: 'retry', upstream, cause });
}

/** llama.cpp and SGLang answer 503 while they load; a proxy in front of an engine answers all three for a dead one. */
const STARTING_OR_DYING: ReadonlySet<number> = new Set([502, 503, 504]);

/** By the time that a caller hears of it other workers have been tried: the same target has no more to offer. */
function settled(error: UpstreamError): UpstreamError {
  if (error.recovery === 'nextTarget') return error;
  const { code, message, upstream, retryAfterMs } = error;
  return new UpstreamError(code, message, {
    recovery: 'nextTarget',
    cause: error,
    ...(upstream === undefined ? {} : { upstream }),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });
}
