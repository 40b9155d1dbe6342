import { toLambentError } from '../core/errors.ts';
import { findCandidates } from './candidates.ts';
import type { Capability } from './capabilities.ts';
import {
  type Accepted,
  type CallOptions,
  Failover,
  type FailoverOptions,
  FirstTokenTimeoutError,
  getOrCreate,
} from './failover.ts';
import type { GenerationEvent, GenerationRequest, Usage } from './generation.ts';
import { type Model, UpstreamError } from './model.ts';
import { reportEnd, reportFailedAttempt } from './observe.ts';
import { limitOutput } from './output-limit.ts';
import type { Target } from './registry.ts';

/** A started answer. Its first event has arrived, so the request can't be retried any more. */
export interface Generation {
  /**
   * The complete answer, first event included. The last event is `finish`.
   * @throws LambentError if the answer ends before `finish`: the target's failure (`upstream_cut`), `deadline_exceeded`
   * or the reason of the caller's cancel
   */
  readonly events: AsyncIterable<GenerationEvent>;
  /** The caller's parameters that the target doesn't support and that the answer doesn't need; absent if none. */
  readonly ignored?: readonly string[];
}

export type GenerateOptions = CallOptions;

export interface Router {
  /**
   * Sends `request` to a target and waits for the first event. Until then, it retries and falls back to other targets.
   * @throws LambentError the failure of a target, or the reason why no target can serve the request
   */
  generate(request: GenerationRequest, options: GenerateOptions): Promise<Generation>;
}

export type RouterOptions = Omit<FailoverOptions<Model>, 'now' | 'random'> &
  Partial<Pick<FailoverOptions<Model>, 'now' | 'random'>>;

/** Creates the router of one environment. It caches the capabilities of each target. */
export function createRouter(options: RouterOptions): Router {
  const { registry, now = Date.now, random = Math.random } = options;
  const capabilities = new Map<Target, ReadonlySet<Capability>>();
  const getCapabilities = (target: Target): ReadonlySet<Capability> =>
    getOrCreate(capabilities, target, () => options.getCapabilities(target));
  const failover = new Failover({ ...options, getCapabilities, now, random });

  return {
    async generate(request, call) {
      const candidates = findCandidates(request, registry, getCapabilities);
      const { streamed, telemetry } = call;
      const accepted = await failover.call(request, candidates, call, async (candidate, model, signal) => {
        const cancel = new AbortController();
        const firstToken =
          streamed && !model.answersAtOnce?.(request)
            ? setTimeout(() => cancel.abort(new FirstTokenTimeoutError(candidate)), candidate.alias.firstTokenTimeoutMs)
            : undefined;
        const either = AbortSignal.any([signal, cancel.signal]);
        const iterator = model
          .generate(limitOutput(request, candidate), { signal: either, streamed, telemetry })
          [Symbol.asyncIterator]();
        try {
          const first = await iterator.next();
          if (first.done) throw missingFinishError();
          return { first: first.value, iterator };
        } catch (thrown) {
          // A provider may report an abort as a closed connection: throw the abort's reason instead.
          throw signal.aborted ? signal.reason : cancel.signal.aborted ? cancel.signal.reason : thrown;
        } finally {
          clearTimeout(firstToken);
        }
      });
      return { events: streamAnswer(accepted, request.tenant, call) };
    },
  };

  /** Yields the answer from its first event on, and records how it ended. */
  async function* streamAnswer(
    { result: started, candidate, signal, managesOwnHealth, end }: Accepted<StartedAnswer>,
    tenant: string,
    { telemetry }: GenerateOptions,
  ): AsyncGenerator<GenerationEvent> {
    const startedAt = now();
    const breaker = failover.getBreaker(candidate);
    let usage: Usage | undefined;
    let whole = false;
    try {
      for (let event = started.first; ; ) {
        if (event.type === 'finish') {
          whole = true;
          usage = event.usage;
          breaker.recordSuccess(tenant);
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
      if (!managesOwnHealth) breaker.recordFailure(tenant, now());
      reportFailedAttempt(telemetry, { candidate, error, ms: now() - startedAt });
      throw error;
    } finally {
      end();
      await started.iterator.return?.();
      reportEnd(telemetry, { candidate, usage, whole });
    }
  }
}

interface StartedAnswer {
  readonly first: GenerationEvent;
  readonly iterator: AsyncIterator<GenerationEvent>;
}

function missingFinishError(): UpstreamError {
  return new UpstreamError('upstream_cut', 'The upstream ended before it finished its answer', { recovery: 'retry' });
}
