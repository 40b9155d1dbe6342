import { type ErrorCode, LambentError, toLambentError } from '../core/errors.ts';
import type { Telemetry } from '../core/telemetry.ts';
import { type Candidate, findCandidates } from './candidates.ts';
import type { Capability } from './capabilities.ts';
import { CircuitBreaker } from './circuit-breaker.ts';
import type { GenerationEvent, GenerationRequest, Usage } from './generation.ts';
import { type Model, UpstreamError } from './model.ts';
import { reportEnd, reportFailedAttempt, reportFirstEvent } from './observe.ts';
import type { ModelRegistry, Target } from './registry.ts';

/** A started answer. Its first event has arrived, so the request can't be retried any more. */
export interface Generation {
  /**
   * The complete answer, first event included. The last event is `finish`.
   * @throws LambentError if the answer ends before `finish`: the target's failure (`upstream_cut`), `deadline_exceeded`
   * or the reason of the caller's cancel
   */
  readonly events: AsyncIterable<GenerationEvent>;
}

export interface GenerateOptions {
  /** Aborts when the caller cancels. */
  readonly signal: AbortSignal;
  /** Epoch milliseconds at which the function must have answered. */
  readonly deadlineAt: number;
  readonly streamed: boolean;
  /** Whether a target that throttles is asked again. False for callers that pace their calls. Default: true. */
  readonly retriesThrottled?: boolean;
  /** The telemetry of the request. Nothing is logged or counted if undefined. */
  readonly telemetry?: Telemetry | undefined;
}

export interface Router {
  /**
   * Sends `request` to a target and waits for the first event. Until then, it retries and falls back to other targets.
   * @throws LambentError the failure of a target, or the reason why no target can serve the request
   */
  generate(request: GenerationRequest, options: GenerateOptions): Promise<Generation>;
}

export interface RouterOptions {
  readonly registry: ModelRegistry;
  /** Creates the model behind a target. Called once per target and environment, when the target is first tried. */
  readonly createModel: (candidate: Candidate) => Promise<Model>;
  readonly getCapabilities: (target: Target) => ReadonlySet<Capability>;
  /** Epoch milliseconds. */
  readonly now?: () => number;
  /** 0 up to 1. */
  readonly random?: () => number;
}

/** Maximum number of attempts at one target before the router moves to the next. */
const ATTEMPTS_PER_TARGET = 3;
/** First backoff before a target is retried; doubles with each retry. */
const BACKOFF_MS = 200;
/** If a target asks for a longer pause, the router moves to the next target, if there is one. */
const MAX_PAUSE_MS = 2_000;

/**
 * Creates the router of one environment. It keeps a circuit breaker, a model and the capabilities of each target, so
 * its memory is bounded by the registry.
 */
export function createRouter(options: RouterOptions): Router {
  const { registry, now = Date.now, random = Math.random } = options;
  const breakers = new Map<string, CircuitBreaker>();
  const models = new Map<string, Promise<Model>>();
  const capabilities = new Map<Target, ReadonlySet<Capability>>();

  const getCapabilities = (target: Target): ReadonlySet<Capability> =>
    getOrCreate(capabilities, target, () => options.getCapabilities(target));
  const getBreaker = ({ key }: Candidate): CircuitBreaker => getOrCreate(breakers, key, () => new CircuitBreaker());
  const getModel = async (candidate: Candidate): Promise<Model> => {
    try {
      return await getOrCreate(models, candidate.key, () => options.createModel(candidate));
    } catch (thrown) {
      // Failures aren't cached: a missing secret, for instance, may exist the next time.
      models.delete(candidate.key);
      throw thrown;
    }
  };

  /** Calls a target once and waits for its first event. */
  async function attempt(
    candidate: Candidate,
    model: Model,
    request: GenerationRequest,
    call: Call,
  ): Promise<StartedAnswer> {
    const cancel = new AbortController();
    const firstToken = call.streamed
      ? setTimeout(() => cancel.abort(new FirstTokenTimeoutError(candidate)), candidate.alias.firstTokenTimeoutMs)
      : undefined;
    const signal = AbortSignal.any([call.signal, cancel.signal]);
    const { streamed, telemetry } = call;
    const iterator = model.generate(request, { signal, streamed, telemetry })[Symbol.asyncIterator]();
    try {
      const first = await iterator.next();
      if (first.done) throw missingFinishError();
      return { first: first.value, iterator, managesOwnHealth: model.managesOwnHealth ?? false };
    } catch (thrown) {
      // A provider may report an abort as a closed connection: throw the abort's reason instead.
      throw call.signal.aborted ? call.signal.reason : cancel.signal.aborted ? cancel.signal.reason : thrown;
    } finally {
      clearTimeout(firstToken);
    }
  }

  /** Calls a target, with retries, until its answer starts. Throws the last failure, or the abort's reason. */
  async function callWithRetries(
    candidate: Candidate,
    request: GenerationRequest,
    call: Call,
    isLast: boolean,
  ): Promise<StartedAnswer> {
    const breaker = getBreaker(candidate);
    for (let attempts = 1; ; attempts += 1) {
      const startedAt = now();
      let managesOwnHealth = false;
      try {
        const model = await getModel(candidate);
        managesOwnHealth = model.managesOwnHealth ?? false;
        const started = await attempt(candidate, model, request, call);
        reportFirstEvent(call.telemetry, { candidate, attempts, ms: now() - startedAt });
        return started;
      } catch (thrown) {
        const error = toLambentError(thrown);
        if (call.signal.aborted) throw error;
        reportFailedAttempt(call.telemetry, { candidate, error, ms: now() - startedAt });
        if (!managesOwnHealth && countsAgainstTarget(error, getCapabilities(candidate.target)))
          breaker.recordFailure(request.tenant, now());
        const retries =
          mayRetry(error, attempts) &&
          (call.retriesThrottled !== false || !THROTTLED.has(error.code)) &&
          breaker.getWaitMs(request.tenant, now()) === 0;
        const pauseMs = (error.retryAfterMs ?? BACKOFF_MS * 2 ** (attempts - 1)) + BACKOFF_MS * random();
        if (!retries || now() + pauseMs >= call.deadlineAt || (!isLast && pauseMs > MAX_PAUSE_MS)) throw error;
        await pause(pauseMs, call.signal);
      }
    }
  }

  return {
    async generate(request, { signal, deadlineAt, ...options }) {
      const candidates = findCandidates(request, registry, getCapabilities);
      const until = Math.min(deadlineAt, now() + (registry.models[request.model]?.timeoutMs ?? 0));
      const total = new AbortController();
      const timer = setTimeout(
        () => total.abort(new LambentError('deadline_exceeded', 'The deadline of the request has passed')),
        Math.max(0, until - now()),
      );
      const call: Call = { ...options, signal: AbortSignal.any([signal, total.signal]), deadlineAt: until };
      try {
        const available = excludeOpenBreakers(candidates, request.tenant);
        let failure: LambentError | undefined;
        for (const [index, candidate] of available.entries()) {
          try {
            const started = await callWithRetries(candidate, request, call, index === available.length - 1);
            return { events: streamAnswer(started, candidate, request.tenant, call, () => clearTimeout(timer)) };
          } catch (thrown) {
            const error = toLambentError(thrown);
            if (call.signal.aborted || (error instanceof UpstreamError && error.recovery === 'fail')) throw error;
            // A retryable failure is more useful to the caller than one that only the operator can fix.
            if (failure === undefined || !failure.retryable) failure = error;
          }
        }
        throw failure ?? new LambentError('internal', 'No candidate was tried');
      } catch (thrown) {
        clearTimeout(timer);
        throw thrown;
      }
    },
  };

  /**
   * Returns the candidates whose circuit breaker allows a call of the tenant.
   * @throws LambentError `overloaded` if there is none, with the time until the first one may be called
   */
  function excludeOpenBreakers(candidates: readonly Candidate[], tenant: string): Candidate[] {
    const waits = candidates.map((candidate) => getBreaker(candidate).getWaitMs(tenant, now()));
    const allowed = candidates.filter((_, index) => waits[index] === 0);
    if (allowed.length > 0) return allowed;
    const retryAfterMs = Math.min(...waits);
    throw new LambentError('overloaded', 'All targets of the model have failed repeatedly and are paused', {
      retryAfterMs,
    });
  }

  /** Yields the answer from its first event on, and records how it ended. */
  async function* streamAnswer(
    started: StartedAnswer,
    candidate: Candidate,
    tenant: string,
    { signal, telemetry }: Call,
    onEnd: () => void,
  ): AsyncGenerator<GenerationEvent> {
    const startedAt = now();
    let usage: Usage | undefined;
    let whole = false;
    try {
      for (let event = started.first; ; ) {
        if (event.type === 'finish') {
          whole = true;
          usage = event.usage;
          getBreaker(candidate).recordSuccess(tenant);
        }
        yield event;
        if (whole) return;
        const next = await started.iterator.next();
        if (next.done) throw missingFinishError();
        event = next.value;
      }
    } catch (thrown) {
      if (signal.aborted) throw toLambentError(signal.reason);
      const error = toLambentError(thrown);
      if (!started.managesOwnHealth) getBreaker(candidate).recordFailure(tenant, now());
      reportFailedAttempt(telemetry, { candidate, error, ms: now() - startedAt });
      throw error;
    } finally {
      onEnd();
      await started.iterator.return?.();
      reportEnd(telemetry, { candidate, usage, whole });
    }
  }
}

/** The caller's options; `signal` and `deadlineAt` include the alias's own timeout. */
type Call = GenerateOptions;

interface StartedAnswer {
  readonly first: GenerationEvent;
  readonly iterator: AsyncIterator<GenerationEvent>;
  /** As in `Model`. */
  readonly managesOwnHealth: boolean;
}

function missingFinishError(): UpstreamError {
  return new UpstreamError('upstream_cut', 'The upstream ended before it finished its answer', { recovery: 'retry' });
}

/** A target sent no token for too long. */
class FirstTokenTimeoutError extends UpstreamError {
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

/**
 * True if a failure shows that the target is unhealthy. An invalid request doesn't. Nor does throttling: the target
 * works, and says when to retry. Nor does a late first token of a model that reasons before it.
 */
function countsAgainstTarget(error: LambentError, capabilities: ReadonlySet<Capability>): boolean {
  if (error instanceof FirstTokenTimeoutError && capabilities.has('reasoning')) return false;
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

function getOrCreate<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  const known = map.get(key);
  if (known !== undefined) return known;
  const made = make();
  map.set(key, made);
  return made;
}
