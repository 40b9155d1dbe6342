import { toLambentError } from '../../../core/errors.ts';
import type { Slot } from '../../../gpu/placement/leasing.ts';
import type { GenerationEvent, GenerationRequest, Usage } from '../../generation.ts';
import { type Model, type ModelCall, UpstreamError } from '../../model.ts';
import { isConnectionFailure } from '../openai-compatible/errors.ts';
import { brokenOff, failureOf, givenUp, lostLease, silence } from './failure.ts';

export interface WorkerCall {
  /** The caller's. */
  readonly signal: AbortSignal;
  /** Milliseconds without a token after which the worker is taken to hang, beside what it has to compute before the first. */
  readonly stallMs: number;
  /** Hears the usage of a whole answer. */
  readonly onUsage: (usage: Usage) => void;
  readonly telemetry: ModelCall['telemetry'];
}

/**
 * Milliseconds of prefill a prompt token that are waited for beside `stallMs`: what an A10G takes for a model of eight billion
 * parameters (`docs/gpu.md`), about the slowest worker worth having.
 */
const PREFILL_MS_PER_TOKEN = 1 / 3;
/** Engines hold a tool call back until its parser has understood it: this many times as long may an answer fall silent for one. */
const TOOL_PATIENCE = 3;

/** Kept connections that may turn out to be closed, one after the other, before their worker counts as gone. */
const MOST_STALE = 2;
/** A kept connection that was closed says so at once. One that breaks later does so under the request. */
const STALE_MS = 1_000;

/**
 * Asks a leased worker and gives its slot back at the end, whatever that is. Always streamed: closing the connection
 * stops the engine then, and its first token is seen.
 * @param endpoint the model at the worker's address
 * @throws WorkerFailure; the signal's reason
 */
export async function* callWorker(
  slot: Slot,
  endpoint: Model,
  request: GenerationRequest,
  { signal, stallMs, onUsage, telemetry }: WorkerCall,
): AsyncGenerator<GenerationEvent> {
  const firstMs = stallMs + Math.ceil(slot.prefillTokens * PREFILL_MS_PER_TOKEN);
  const patienceMs = stallMs * (request.tools.length > 0 ? TOOL_PATIENCE : 1);
  const watch = createWatch(firstMs);
  const startedAt = performance.now();
  let begun: Promise<void> | undefined;
  try {
    const call: ModelCall = {
      signal: AbortSignal.any([signal, slot.lost, watch.stalled]),
      streamed: true,
      // The role comes first, with the first token, and has no event.
      onFirstChunk: () => watch.allow(patienceMs),
      telemetry,
    };
    for await (const event of watched(answerOf(endpoint, request, call), watch)) {
      begun ??= slot.markFirstToken();
      if (event.type === 'finish') {
        // Before it is told: the next request needn't wait until this one has been read to its end.
        void slot.release();
        if (event.usage !== undefined) onUsage(event.usage);
      }
      yield event;
    }
  } catch (thrown) {
    if (signal.aborted)
      throw begun === undefined ? givenUp(signal.reason, performance.now() - startedAt, stallMs) : signal.reason;
    if (slot.lost.aborted) throw lostLease(toLambentError(slot.lost.reason));
    throw watch.stalled.aborted ? silence(watch.allowedMs(), begun !== undefined) : failureOf(thrown);
  } finally {
    await Promise.all([begun, slot.release()]);
  }
}

/** The worker's answer. A connection that was kept and is found closed says nothing of the worker: it is made anew. */
async function* answerOf(
  endpoint: Model,
  request: GenerationRequest,
  call: ModelCall,
): AsyncGenerator<GenerationEvent> {
  for (let stale = 0; ; stale += 1) {
    const startedAt = performance.now();
    try {
      return yield* endpoint.generate(request, call);
    } catch (thrown) {
      if (!(thrown instanceof UpstreamError && isConnectionFailure(thrown))) throw thrown;
      const isLate = performance.now() - startedAt > STALE_MS;
      if (isStale(thrown) && !isLate && stale < MOST_STALE) continue;
      // Whoever died so soon that it seemed a closed connection, or only after a while, died under the request.
      throw stale > 0 || isStale(thrown) ? brokenOff(thrown) : thrown;
    }
  }
}

/** What the transport says of a connection that was used before: nothing has come back, so nothing was generated. */
function isStale({ retryAfterMs }: UpstreamError): boolean {
  return retryAfterMs === 0;
}

/** Watches over silence while an event is waited for. */
interface Watch {
  /** Aborts when one has been waited for too long. */
  readonly stalled: AbortSignal;
  /** Milliseconds that one may be waited for. */
  allowedMs(): number;
  /** Waits from now on for `ms` at most. */
  allow(ms: number): void;
  begin(): void;
  end(): void;
}

function createWatch(firstMs: number): Watch {
  const stalled = new AbortController();
  let allowedMs = firstMs;
  let timer: NodeJS.Timeout | undefined;
  const end = (): void => {
    clearTimeout(timer);
    timer = undefined;
  };
  const begin = (): void => {
    end();
    timer = setTimeout(() => stalled.abort(), allowedMs);
  };
  return {
    stalled: stalled.signal,
    allowedMs: () => allowedMs,
    allow(ms) {
      allowedMs = ms;
      if (timer !== undefined) begin();
    },
    begin,
    end,
  };
}

/** The same events, watched. Time that the reader takes doesn't count. */
async function* watched<T>(events: AsyncIterable<T>, watch: Watch): AsyncGenerator<T> {
  const iterator = events[Symbol.asyncIterator]();
  try {
    for (;;) {
      watch.begin();
      const next = await iterator.next().finally(() => watch.end());
      if (next.done) return;
      yield next.value;
    }
  } finally {
    await iterator.return?.();
  }
}
