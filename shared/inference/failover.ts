import { type ErrorCode, LambentError, toLambentError } from '../core/errors.ts';
import { getOrCreate } from '../core/get-or-create.ts';
import type { Telemetry } from '../core/telemetry.ts';
import type { Candidate } from './candidates.ts';
import type { Capability } from './capabilities.ts';
import { CircuitBreaker } from './circuit-breaker.ts';
import { noteDestination } from './destinations.ts';
import { type Callable, UpstreamError } from './model.ts';
import { type EndedAnswer, reportFailedAttempt, reportFirstEvent } from './observe.ts';
import type { ModelRegistry, Target } from './registry.ts';

export interface FailoverOptions<M extends Callable> {
  readonly registry: ModelRegistry;
  /** Creates the model behind a target. Called once per target and environment, when the target is first tried. */
  readonly createModel: (candidate: Candidate) => Promise<M>;
  readonly getCapabilities: (target: Target) => ReadonlySet<Capability>;
  /** Epoch milliseconds. */
  readonly now: () => number;
  /** 0 up to 1. */
  readonly random: () => number;
}

export interface CallOptions {
  /** Aborts when the caller cancels. */
  readonly signal: AbortSignal;
  /** Epoch milliseconds at which the function must have answered. */
  readonly deadlineAt: number;
  readonly streamed: boolean;
  /** True for queued work, which the queue orders by its tier. Default: false. */
  readonly queued?: boolean;
  /** True if the answer is used only when it is complete, although the call is streamed. Default: false. */
  readonly heldBack?: boolean;
  /** Whether a target that throttles is asked again. False for callers that pace their calls. Default: true. */
  readonly retriesThrottled?: boolean;
  /** The telemetry of the request. Nothing is logged or counted if undefined. */
  readonly telemetry?: Telemetry | undefined;
  /**
   * Called before each attempt, with the failure of the attempt before at the same target. The attempt is not made if it throws: its
   * error counts as that of the target.
   */
  readonly admit?: ((candidate: Candidate, failure: LambentError | undefined) => Promise<void>) | undefined;
  /** Called after an attempt that failed before its answer began, unless the whole call has ended by then. */
  readonly onFailedAttempt?: ((candidate: Candidate, error: LambentError) => void) | undefined;
  /** Called when an answer has ended. A call may have several: one that breaks a schema is repeated. */
  readonly onEnd?: ((answer: EndedAnswer) => void) | undefined;
}

/** Calls a model once. `signal` includes the alias's own timeout. */
export type Attempt<M extends Callable, T> = (candidate: Candidate, model: M, signal: AbortSignal) => Promise<T>;

/** A call that a target has accepted. */
export interface Accepted<T> {
  readonly result: T;
  readonly candidate: Candidate;
  /** Aborts as `CallOptions.signal` does, and at the alias's timeout. */
  readonly signal: AbortSignal;
  /** As in `Callable`. */
  readonly managesOwnHealth: boolean;
  /** Stops the timer of the alias's timeout. */
  readonly end: () => void;
}

/** Maximum number of attempts at one target before the next one is called. */
const ATTEMPTS_PER_TARGET = 3;
/** First backoff before a target is retried; doubles with each retry. */
const BACKOFF_MS = 200;
/** If a target asks for a longer pause, the next target is called, if there is one. */
const MAX_PAUSE_MS = 2_000;

/**
 * Calls the targets of a request until one accepts it: with retries, fallbacks, a circuit breaker per target and the total
 * timeout of the alias. One per environment. It keeps a breaker and a model for each target, so its memory is bounded by the
 * registry.
 */
export class Failover<M extends Callable> {
  readonly #options: FailoverOptions<M>;
  readonly #breakers = new Map<string, CircuitBreaker>();
  readonly #models = new Map<string, Promise<M>>();

  constructor(options: FailoverOptions<M>) {
    this.#options = options;
  }

  getBreaker({ key }: Candidate): CircuitBreaker {
    return getOrCreate(this.#breakers, key, () => new CircuitBreaker());
  }

  /**
   * @param candidates the targets to call, best first
   * @throws LambentError the failure of a target, `overloaded` if all are paused, or the reason of an abort
   */
  async call<T>(
    { tenant, model }: { readonly tenant: string; readonly model: string },
    candidates: readonly Candidate[],
    options: CallOptions,
    attempt: Attempt<M, T>,
  ): Promise<Accepted<T>> {
    const { registry, now } = this.#options;
    const until = Math.min(options.deadlineAt, now() + (registry.models[model]?.timeoutMs ?? 0));
    const total = new AbortController();
    const timer = setTimeout(
      () => total.abort(new LambentError('deadline_exceeded', 'The deadline of the request has passed')),
      Math.max(0, until - now()),
    );
    const call = { ...options, signal: AbortSignal.any([options.signal, total.signal]), deadlineAt: until };
    const end = (): void => clearTimeout(timer);
    const patience = { leftMs: registry.models[model]?.maxRetryWaitMs ?? 0 };
    try {
      const available = this.#excludeOpenBreakers(candidates, tenant);
      let failure: LambentError | undefined;
      for (const [index, candidate] of available.entries()) {
        const isLast = index === available.length - 1;
        try {
          return {
            ...(await this.#callWithRetries(candidate, tenant, { ...call, isLast, patience }, attempt)),
            signal: call.signal,
            end,
          };
        } catch (thrown) {
          const error = toLambentError(thrown);
          if (call.signal.aborted || (error instanceof UpstreamError && error.recovery === 'fail')) throw error;
          failure = failure === undefined ? error : chooseFailure(failure, error);
        }
      }
      throw failure ?? new LambentError('internal', 'No candidate was tried');
    } catch (thrown) {
      end();
      throw thrown;
    }
  }

  /** Calls a target until it accepts. Throws the last failure, or the abort's reason. */
  async #callWithRetries<T>(
    candidate: Candidate,
    tenant: string,
    call: CallOptions & TargetOptions,
    attempt: Attempt<M, T>,
  ): Promise<Omit<Accepted<T>, 'signal' | 'end'>> {
    const { now, random, getCapabilities } = this.#options;
    const breaker = this.getBreaker(candidate);
    let failure: LambentError | undefined;
    for (let attempts = 1; ; attempts += 1) {
      await call.admit?.(candidate, failure);
      const startedAt = now();
      let managesOwnHealth = false;
      try {
        const model = await this.#getModel(candidate);
        managesOwnHealth = model.managesOwnHealth ?? false;
        noteDestination(call.telemetry, candidate.target);
        const result = await attempt(candidate, model, call.signal);
        reportFirstEvent(call.telemetry, { candidate, attempts, ms: now() - startedAt });
        return { result, candidate, managesOwnHealth };
      } catch (thrown) {
        const error = toLambentError(thrown);
        if (call.signal.aborted) throw error;
        await reportFailedAttempt(call.telemetry, { candidate, error, ms: now() - startedAt });
        call.onFailedAttempt?.(candidate, error);
        if (!managesOwnHealth && countsAgainstTarget(error, getCapabilities(candidate.target)))
          breaker.recordFailure(tenant, now());
        const retries =
          mayRetry(error, attempts) &&
          (call.retriesThrottled !== false || !THROTTLED.has(error.code)) &&
          breaker.getWaitMs(tenant, now()) === 0;
        const pauseMs = (error.retryAfterMs ?? BACKOFF_MS * 2 ** (attempts - 1)) + BACKOFF_MS * random();
        const isTooLong = pauseMs > call.patience.leftMs || (!call.isLast && pauseMs > MAX_PAUSE_MS);
        if (!retries || isTooLong || now() + pauseMs >= call.deadlineAt) throw error;
        failure = error;
        call.patience.leftMs -= pauseMs;
        await pause(pauseMs, call.signal);
      }
    }
  }

  async #getModel(candidate: Candidate): Promise<M> {
    try {
      return await getOrCreate(this.#models, candidate.key, () => this.#options.createModel(candidate));
    } catch (thrown) {
      // Failures aren't cached: a missing secret, for instance, may exist the next time.
      this.#models.delete(candidate.key);
      throw thrown;
    }
  }

  /**
   * Returns the candidates whose circuit breaker allows a call of the tenant.
   * @throws LambentError `overloaded` if there is none, with the time until the first one may be called
   */
  #excludeOpenBreakers(candidates: readonly Candidate[], tenant: string): Candidate[] {
    const { now } = this.#options;
    const waits = candidates.map((candidate) => this.getBreaker(candidate).getWaitMs(tenant, now()));
    const allowed = candidates.filter((_, index) => waits[index] === 0);
    if (allowed.length > 0) return allowed;
    const retryAfterMs = Math.min(...waits);
    throw new LambentError('overloaded', 'All targets of the model have failed repeatedly and are paused', {
      retryAfterMs,
    });
  }
}

interface TargetOptions {
  /** True if no other target can be called instead. */
  readonly isLast: boolean;
  /** Milliseconds that the request may still wait before retries, at all its targets together. */
  readonly patience: { leftMs: number };
}

/**
 * Chooses the failure to report. One that a retry can resolve is more useful to the caller than one that only the operator
 * can fix; among those, the one with the shortest `retryAfterMs`.
 */
function chooseFailure(earlier: LambentError, later: LambentError): LambentError {
  if (!earlier.retryable) return later;
  const isSooner = later.retryable && (later.retryAfterMs ?? Infinity) < (earlier.retryAfterMs ?? 0);
  return isSooner ? later : earlier;
}

/** A target sent no token for too long. */
export class FirstTokenTimeoutError extends UpstreamError {
  constructor({ alias }: Candidate) {
    const message = `No first token within ${alias.firstTokenTimeoutMs} ms`;
    super('upstream_timeout', message, { recovery: 'nextTarget' });
  }
}

const THROTTLED: ReadonlySet<ErrorCode> = new Set(['rate_limit_exceeded', 'overloaded']);

function mayRetry(error: LambentError, attempts: number): boolean {
  if (!(error instanceof UpstreamError)) return false;
  if (error.recovery === 'retryOnce') return attempts < 2;
  return error.recovery === 'retry' && attempts < ATTEMPTS_PER_TARGET;
}

/** What a provider refuses before it calls the target: the request asks for something that this model can't do. */
const UNSUPPORTED: ReadonlySet<ErrorCode> = new Set(['invalid_value', 'unsupported_value', 'unsupported_parameter']);

/**
 * True if a failure shows that the target is unhealthy. An invalid request doesn't, nor one that the model doesn't support.
 * Nor does throttling: the target works, and says when to retry. Nor does a late first token of a model that reasons
 * before it.
 */
function countsAgainstTarget(error: LambentError, capabilities: ReadonlySet<Capability>): boolean {
  if (error instanceof FirstTokenTimeoutError && capabilities.has('reasoning')) return false;
  if (UNSUPPORTED.has(error.code)) return false;
  return !(error instanceof UpstreamError) || (error.recovery !== 'fail' && error.code !== 'rate_limit_exceeded');
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', aborted);
      resolve();
    }, ms);
    const aborted = (): void => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    signal.addEventListener('abort', aborted, { once: true });
  });
}
