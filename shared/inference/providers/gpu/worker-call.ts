import { toLambentError } from '../../../core/errors.ts';
import type { Slot } from '../../../gpu/placement/slot.ts';
import type { GenerationEvent, GenerationRequest, Usage } from '../../generation.ts';
import { type Model, type ModelCall, UpstreamError } from '../../model.ts';
import { isConnectionFailure } from '../openai-compatible/errors.ts';
import {
  brokenConnectionError,
  classifyFailure,
  isTimeout,
  lostLeaseFailure,
  stalledFailure,
  timedOutFailure,
} from './failure.ts';
import { SilenceProbe } from './silence-probe.ts';
import { StallTimer } from './stall-timer.ts';

export interface WorkerCall {
  /** The caller's signal. */
  readonly signal: AbortSignal;
  /**
   * Milliseconds without a token after which the worker counts as hung. Before the first token, time for the prompt is
   * added.
   */
  readonly stallMs: number;
  /** Called with the usage of a complete answer. */
  readonly onUsage: (usage: Usage) => void;
  readonly telemetry: ModelCall['telemetry'];
}

/**
 * Milliseconds per prompt token that a first token may take in addition to `stallMs`: the prefill of an 8B model on an
 * A10G (`docs/gpu.md`), about the slowest worker that is worth its price.
 */
export const PREFILL_MS_PER_TOKEN = 1 / 3;
/** Factor for the allowed silence of a request with tools: engines send a tool call only once it is parsed. */
const TOOL_CALL_STALL_FACTOR = 3;

/** Share of `stallMs` after which a silent worker gets a probe. The rest is the time that the probe has at least. */
const PROBE_AFTER = 1 / 2;
/**
 * Share of `stallMs` that an unanswered probe has once the silent request is closed. An engine whose slots are all taken
 * runs the probe only then.
 */
const PROBE_GRACE = 1 / 10;

/** Number of times that a call may find its kept-alive connection closed before the worker counts as unreachable. */
const MAX_STALE_CONNECTIONS = 2;
/** A request on a closed connection fails within this time. After it, the request may have broken the connection. */
const STALE_WITHIN_MS = 1_000;

/**
 * Calls a leased worker and yields its answer. Releases the slot at the end of the answer, on failure and on abort. The
 * request is always streamed: only then does closing the connection stop the engine, and only then is the time of the
 * first token known.
 * @param endpoint the model at the worker's address
 * @throws WorkerFailure; or the signal's reason
 */
export async function* callWorker(
  slot: Slot,
  endpoint: Model,
  request: GenerationRequest,
  { signal, stallMs, onUsage, telemetry }: WorkerCall,
): AsyncGenerator<GenerationEvent> {
  const probe = new SilenceProbe(endpoint, request);
  const timer = new StallTimer({
    allowedMs: stallMs + Math.ceil(slot.prefillTokens * PREFILL_MS_PER_TOKEN),
    silenceMs: stallMs * PROBE_AFTER,
    onSilence: () => probe.start(),
    onItem: () => probe.stop(),
  });
  const laterStallMs = stallMs * (request.tools.length > 0 ? TOOL_CALL_STALL_FACTOR : 1);
  const startedAt = performance.now();
  let firstTokenMarked: Promise<void> | undefined;
  try {
    const call: ModelCall = {
      signal: AbortSignal.any([signal, slot.lost, timer.stalled]),
      streamed: true,
      // The first chunk may contain only the role, for which there is no event.
      onFirstChunk: () => timer.allow(laterStallMs),
      telemetry,
    };
    for await (const event of timer.watch(generateWithReconnect(endpoint, request, call))) {
      firstTokenMarked ??= slot.markFirstToken();
      if (event.type === 'finish') {
        // Released before the event is read, so that the next request does not wait for this one's reader.
        void slot.release();
        if (event.usage !== undefined) onUsage(event.usage);
      }
      yield event;
    }
  } catch (thrown) {
    const hasStarted = firstTokenMarked !== undefined;
    const isAlive = () => probe.waitForAnswer(stallMs * PROBE_GRACE);
    if (signal.aborted) {
      const isSilence = !hasStarted && isTimeout(signal.reason) && performance.now() - startedAt >= stallMs;
      throw isSilence ? timedOutFailure(signal.reason, await isAlive()) : signal.reason;
    }
    if (slot.lost.aborted) throw lostLeaseFailure(toLambentError(slot.lost.reason));
    if (!timer.stalled.aborted) throw classifyFailure(thrown);
    throw stalledFailure({ allowedMs: timer.allowedMs, hasStarted, isAlive: await isAlive() });
  } finally {
    probe.stop();
    await Promise.all([firstTokenMarked, slot.release()]);
  }
}

/**
 * Yields the endpoint's answer. Sends the request again if a kept-alive connection turns out to be closed, which says
 * nothing about the worker.
 */
async function* generateWithReconnect(
  endpoint: Model,
  request: GenerationRequest,
  call: ModelCall,
): AsyncGenerator<GenerationEvent> {
  for (let reconnects = 0; ; reconnects += 1) {
    const startedAt = performance.now();
    try {
      return yield* endpoint.generate(request, call);
    } catch (thrown) {
      if (!(thrown instanceof UpstreamError && isConnectionFailure(thrown))) throw thrown;
      const failedAtOnce = performance.now() - startedAt <= STALE_WITHIN_MS;
      if (isStaleConnection(thrown) && failedAtOnce && reconnects < MAX_STALE_CONNECTIONS) continue;
      // If a request kills the worker, that looks like a stale connection, or like one that broke after a while.
      throw reconnects > 0 || isStaleConnection(thrown) ? brokenConnectionError(thrown) : thrown;
    }
  }
}

/** True if a reused connection broke before the upstream sent anything: `connectionError` then sets a delay of 0. */
function isStaleConnection({ retryAfterMs }: UpstreamError): boolean {
  return retryAfterMs === 0;
}
