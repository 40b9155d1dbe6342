import { LambentError, toLambentError } from '../core/errors.ts';
import type { Telemetry } from '../core/telemetry.ts';
import { CircuitBreaker } from './breaker.ts';
import { type Candidate, findCandidates } from './candidates.ts';
import type { Capability } from './capabilities.ts';
import type { GenerationEvent, GenerationRequest, Usage } from './generation.ts';
import { type Model, UpstreamError } from './model.ts';
import { reportEnd, reportFailedAttempt, reportFirstEvent } from './observe.ts';
import type { ModelRegistry, Target } from './registry.ts';

/** An answer that has begun: its first event has arrived, so nothing can be retried any more. */
export interface Generation {
  /**
   * The whole answer, first event included. Ends after `finish`; throws a LambentError (`upstream_cut`,
   * `deadline_exceeded`) when it stops before it.
   */
  readonly events: AsyncIterable<GenerationEvent>;
}

export interface GenerateOptions {
  /** An explicit cancel. */
  readonly signal: AbortSignal;
  /** Epoch milliseconds by which the function must have answered. */
  readonly deadlineAt: number;
  readonly streamed: boolean;
  /** The telemetry of the request. Nothing is logged or counted if undefined. */
  readonly telemetry?: Telemetry | undefined;
}

export interface Router {
  /**
   * Finds a target for `request` and waits for its first event, retrying and falling back until then.
   * @throws LambentError what the last target said, or why none could serve it
   */
  generate(request: GenerationRequest, options: GenerateOptions): Promise<Generation>;
}

export interface RouterOptions {
  readonly registry: ModelRegistry;
  /** Makes (once per target and environment) the model behind a target; called when the target is first tried. */
  readonly createModel: (candidate: Candidate) => Promise<Model>;
  readonly getCapabilities: (target: Target) => ReadonlySet<Capability>;
  /** Epoch milliseconds. */
  readonly now?: () => number;
  /** 0 up to 1. */
  readonly random?: () => number;
}

/** Tries of one target before the next one's turn. */
const ATTEMPTS_PER_TARGET = 3;
/** First pause before a target is tried again; doubles each time. */
const BACKOFF_MS = 200;
/** A target that asks for a longer pause than this is left for another, if there is one. */
const PATIENCE_MS = 2_000;

/** Makes the router of one environment: it holds the circuit breakers and the models made so far. */
export function createRouter(options: RouterOptions): Router {
  const { registry, now = Date.now, random = Math.random } = options;
  const breakers = new Map<string, CircuitBreaker>();
  const models = new Map<string, Promise<Model>>();
  const capabilities = new Map<Target, ReadonlySet<Capability>>();

  const capabilitiesOf = (target: Target): ReadonlySet<Capability> =>
    getOrCreate(capabilities, target, () => options.getCapabilities(target));
  const breakerOf = ({ key }: Candidate): CircuitBreaker => getOrCreate(breakers, key, () => new CircuitBreaker());
  const modelOf = async (candidate: Candidate): Promise<Model> => {
    try {
      return await getOrCreate(models, candidate.key, () => options.createModel(candidate));
    } catch (thrown) {
      // Not remembered: what was missing (a secret, say) may be there the next time.
      models.delete(candidate.key);
      throw thrown;
    }
  };

  /** One call of one target, up to its first event. */
  async function attempt(
    candidate: Candidate,
    model: Model,
    request: GenerationRequest,
    call: Call,
  ): Promise<StartedAnswer> {
    const cancel = new AbortController();
    const firstToken = call.streamed
      ? setTimeout(() => cancel.abort(firstTokenTimeoutError(candidate)), candidate.alias.firstTokenTimeoutMs)
      : undefined;
    const signal = AbortSignal.any([call.signal, cancel.signal]);
    const { streamed, telemetry } = call;
    const iterator = model.generate(request, { signal, streamed, telemetry })[Symbol.asyncIterator]();
    try {
      const first = await iterator.next();
      if (first.done) throw missingFinishError();
      return { first: first.value, iterator, healsItself: model.managesOwnHealth ?? false };
    } catch (thrown) {
      // An abort may surface as the provider's own words for a closed connection: what caused it is the error.
      throw call.signal.aborted ? call.signal.reason : cancel.signal.aborted ? cancel.signal.reason : thrown;
    } finally {
      clearTimeout(firstToken);
    }
  }

  /** Tries one target until it begins to answer, or until another one's turn comes. */
  async function persist(
    candidate: Candidate,
    request: GenerationRequest,
    call: Call,
    isLast: boolean,
  ): Promise<StartedAnswer> {
    const breaker = breakerOf(candidate);
    for (let tries = 1; ; tries += 1) {
      const startedAt = now();
      let healsItself = false;
      try {
        const model = await modelOf(candidate);
        healsItself = model.managesOwnHealth ?? false;
        const begun = await attempt(candidate, model, request, call);
        reportFirstEvent(call.telemetry, { candidate, attempts: tries, ms: now() - startedAt });
        return begun;
      } catch (thrown) {
        const error = toLambentError(thrown);
        if (call.signal.aborted) throw error;
        reportFailedAttempt(call.telemetry, { candidate, error, ms: now() - startedAt });
        if (!healsItself && countsAgainstTarget(error)) breaker.recordFailure(now());
        const again = mayRetry(error, tries) && breaker.getWaitMs(now()) === 0;
        const pauseMs = (error.retryAfterMs ?? BACKOFF_MS * 2 ** (tries - 1)) + BACKOFF_MS * random();
        if (!again || now() + pauseMs >= call.deadlineAt || (!isLast && pauseMs > PATIENCE_MS)) throw error;
        await pause(pauseMs, call.signal);
      }
    }
  }

  return {
    async generate(request, { signal, deadlineAt, streamed, telemetry }) {
      const candidates = findCandidates(request, registry, capabilitiesOf);
      const until = Math.min(deadlineAt, now() + (registry.models[request.model]?.timeoutMs ?? 0));
      const total = new AbortController();
      const timer = setTimeout(
        () => total.abort(new LambentError('deadline_exceeded', 'The total deadline has passed')),
        Math.max(0, until - now()),
      );
      const call: Call = { signal: AbortSignal.any([signal, total.signal]), deadlineAt: until, streamed, telemetry };
      try {
        const open = closedBreakersFirst(candidates);
        let failure: LambentError | undefined;
        for (const [index, candidate] of open.entries()) {
          try {
            const begun = await persist(candidate, request, call, index === open.length - 1);
            return { events: rest(begun, candidate, call, () => clearTimeout(timer)) };
          } catch (thrown) {
            const error = toLambentError(thrown);
            if (call.signal.aborted || (error instanceof UpstreamError && error.recovery === 'fail')) throw error;
            // What a caller can wait out says more than what only the operator can mend.
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
   * Leaves out targets whose breaker is open.
   * @throws LambentError `overloaded` when that leaves none, with the time until one may be tried
   */
  function closedBreakersFirst(candidates: readonly Candidate[]): Candidate[] {
    const allowed = candidates.filter((candidate) => breakerOf(candidate).getWaitMs(now()) === 0);
    if (allowed.length > 0) return allowed;
    const retryAfterMs = Math.min(...candidates.map((candidate) => breakerOf(candidate).getWaitMs(now())));
    throw new LambentError('overloaded', 'Every target of the model has failed repeatedly and is given a rest', {
      retryAfterMs,
    });
  }

  /** The answer from its first event on, watched to its end. */
  async function* rest(
    begun: StartedAnswer,
    candidate: Candidate,
    { signal, telemetry }: Call,
    done: () => void,
  ): AsyncGenerator<GenerationEvent> {
    const startedAt = now();
    let usage: Usage | undefined;
    let whole = false;
    try {
      for (let event = begun.first; ; ) {
        if (event.type === 'finish') {
          whole = true;
          usage = event.usage;
          breakerOf(candidate).recordSuccess();
        }
        yield event;
        if (whole) return;
        const next = await begun.iterator.next();
        if (next.done) throw missingFinishError();
        event = next.value;
      }
    } catch (thrown) {
      if (signal.aborted) throw toLambentError(signal.reason);
      const error = toLambentError(thrown);
      if (!begun.healsItself) breakerOf(candidate).recordFailure(now());
      reportFailedAttempt(telemetry, { candidate, error, ms: now() - startedAt });
      throw error;
    } finally {
      done();
      await begun.iterator.return?.();
      reportEnd(telemetry, { candidate, usage, whole });
    }
  }
}

/** The caller's options; `signal` and `deadlineAt` include the alias's own timeout. */
type Call = GenerateOptions;

interface StartedAnswer {
  readonly first: GenerationEvent;
  readonly iterator: AsyncIterator<GenerationEvent>;
  /** As its model says. */
  readonly healsItself: boolean;
}

function missingFinishError(): UpstreamError {
  return new UpstreamError('upstream_cut', 'The upstream ended without finishing its answer', { recovery: 'retry' });
}

function firstTokenTimeoutError({ alias }: Candidate): UpstreamError {
  return new UpstreamError('upstream_timeout', `No first token within ${alias.firstTokenTimeoutMs} ms`, {
    recovery: 'nextTarget',
  });
}

function mayRetry(error: LambentError, tries: number): boolean {
  if (!(error instanceof UpstreamError)) return false;
  return (error.recovery === 'retry' && tries < ATTEMPTS_PER_TARGET) || (error.recovery === 'retryOnce' && tries < 2);
}

/**
 * Whether a failure says something about the target's health. A request that is at fault doesn't, nor does a throttle:
 * that target works, and says itself when to come back.
 */
function countsAgainstTarget(error: LambentError): boolean {
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
